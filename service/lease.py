"""A job in a worker's hands: its heartbeat, and the word that it was lost, cancelled or is to stop."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from service.errors import ServiceError
from service.state.job import Job
from service.state.jobs import Jobs
from service.state.patience import is_passing

HEARTBEATS = 15
"""In the time of one lease."""


class JobLostError(Exception):
    """Another worker has the job now; whatever this one made must not count."""


class JobCancelledError(Exception):
    """Somebody asked for the job's end."""


class WorkerStoppingError(Exception):
    """This worker is to end; another goes on with the job."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a worker watches beside its job: its parent (0: none), and whether it is told to stop."""

    parent: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def is_orphaned(self) -> bool:
        """Whether the server that started this worker is gone."""
        return self.parent != 0 and os.getppid() != self.parent

    def pause_for(self, seconds: float) -> bool:
        """Waits, less long where the worker is told to stop; whether it is to go on."""
        return not (self.stopping.wait(seconds) or self.is_orphaned)


class Lease:
    """Renews a claimed job's lease beside the work; used as a context manager. While the store is away
    the work goes on: if nobody else has claimed the job meanwhile, it is still this worker's.
    """

    def __init__(
        self,
        jobs: Jobs,
        job: Job,
        around: Surroundings,
        after_report: Callable[[], object] | None = None,
    ) -> None:
        self._after_report = after_report or (lambda: None)
        self._jobs, self.job, self._around = jobs, job, around
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
            WorkerStoppingError: the worker is to end.
        """
        self._renew(progress, message, metrics)
        self.check()
        self._after_report()

    def check(self) -> None:
        """Raises what `report` raises, writing nothing."""
        if self._verdict == "lost":
            raise JobLostError(self.job.id)
        if self._verdict == "cancel":
            raise JobCancelledError(self.job.id)
        if self._around.stopping.is_set():
            raise WorkerStoppingError(self.job.id)

    @contextmanager
    def committing(self) -> Iterator[None]:
        """What is written to the store inside counts if the job is still this worker's, else it is not
        written. Raises JobLostError.
        """
        with self._jobs.transaction():
            if not self._jobs.holds(self.job.id, self.job.token):
                raise JobLostError(self.job.id)
            yield

    def _renew_until_over(self) -> None:
        while not self._over.wait(self._jobs.lease_seconds / HEARTBEATS):
            if self._around.is_orphaned:
                os._exit(75)  # the server is gone: its successor gives the job out again
            self._renew()

    def _renew(
        self,
        progress: float | None = None,
        message: str | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        try:
            verdict = self._jobs.renew(self.job.id, self.job.token, progress, message, metrics)
        except ServiceError as error:
            if not is_passing(error):
                raise
        else:
            if verdict != "ok":
                self._verdict = verdict
