"""A job in a worker's hands: its heartbeat, and the word that it was lost or cancelled."""

import os
import threading
from collections.abc import Callable, Mapping

from service.state.job import Job
from service.state.jobs import Jobs

HEARTBEAT_SECONDS = 2.0


class JobLostError(Exception):
    """Another worker has the job now; whatever this one made must not count."""


class JobCancelledError(Exception):
    """Somebody asked for the job's end."""


class Lease:
    """Renews a claimed job's lease beside the work; used as a context manager."""

    def __init__(
        self, jobs: Jobs, job: Job, parent: int, after_report: Callable[[], object] | None = None
    ) -> None:
        self._after_report = after_report or (lambda: None)
        self._jobs, self.job, self._parent = jobs, job, parent
        self._verdict = "ok"
        self._over = threading.Event()
        self._beat = threading.Thread(target=self._renew_until_over, daemon=True)

    def __enter__(self) -> "Lease":
        self._beat.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._beat.join()

    def report(
        self, progress: float, message: str, metrics: Mapping[str, float] | None = None
    ) -> None:
        """Writes progress.

        Raises:
            JobLostError: the lease went to somebody else.
            JobCancelledError: the job is to end.
        """
        self._note(self._jobs.renew(self.job.id, self.job.token, progress, message, metrics))
        self.check()
        self._after_report()

    def check(self) -> None:
        """Raises what `report` raises, writing nothing."""
        if self._verdict == "lost":
            raise JobLostError(self.job.id)
        if self._verdict == "cancel":
            raise JobCancelledError(self.job.id)

    def _renew_until_over(self) -> None:
        while not self._over.wait(HEARTBEAT_SECONDS):
            if os.getppid() != self._parent:
                os._exit(75)  # the server is gone: its successor gives the job out again
            self._note(self._jobs.renew(self.job.id, self.job.token))

    def _note(self, verdict: str) -> None:
        if verdict != "ok":
            self._verdict = verdict
