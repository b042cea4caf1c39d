"""The process that indexes and trains: claims jobs until none comes or it is told to stop.

A server starts it (`python -m service.worker`), or a person does (`longmemory worker`). It is never
forked: torch and gRPC threads do not survive a fork. Whatever happens to it, the job's record and the
work folder tell where it was.
"""

import argparse
import os
import signal
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import structlog

from engine.config import EngineConfig
from engine.fail_point import fail_point
from retrieval.crag import Condense
from service.artifacts import StoredArtifacts
from service.config import STATE_VARIABLE, STORE_VARIABLE, Layout, check_rehearsed
from service.cores import CoreShare
from service.errors import ServiceError, fail
from service.file_errors import file_error
from service.job_work import JobWork, Tools
from service.lease import (
    JobCancelledError,
    JobLostError,
    Lease,
    Surroundings,
    WorkerStoppingError,
)
from service.queues import Queue, Queues
from service.state.artifact_store import open_artifacts
from service.state.job import Job
from service.state.jobs import LEASE_SECONDS
from service.state.open_store import agree_on_model, is_shared, open_store
from service.state.patience import is_passing, patiently
from service.telemetry.faults import tell_fault
from service.telemetry.logs import LogSettings, configure_logs
from service.tenants import Tenants

IDLE_SECONDS = 60.0

_POLL_SECONDS = 0.2
_SWEEP_SECONDS, _TIDY_SECONDS = 60.0, 3600.0
_log = structlog.stdlib.get_logger("longmemory.worker")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker is started with; raises ValueError for what does not make sense."""

    engine: EngineConfig  # names the data folder too
    state: str = ""
    store: str = ""
    instant_tokens: int = 4096
    condense: Condense = Condense.EXTRACTS
    rehearse: int = 0  # questions that a corpus is asked of itself once it is indexed
    name: str = field(default_factory=lambda: f"worker-{uuid.uuid4().hex[:8]}")
    idle_seconds: float = float("inf")  # without a job, before it ends
    only_one: bool = False  # ends after one job, or at once where there is none
    lease_seconds: float = LEASE_SECONDS  # how long a silent worker keeps its job
    logs: LogSettings = field(default_factory=LogSettings)

    def __post_init__(self) -> None:
        if not 1 <= self.lease_seconds <= 3600:
            raise ValueError(f"lease is {self.lease_seconds:g}; give 1 to 3600 seconds")
        check_rehearsed(self.rehearse)


class Worker:
    """One loaded model working through the queues of all tenants."""

    def __init__(self, settings: WorkerSettings, around: Surroundings) -> None:
        layout = Layout(settings.engine.data)
        store = open_store(settings.state, layout.database)
        self._settings, self._around = settings, around
        elsewhere = open_artifacts(settings.store, layout.data)
        self._queues = Queues(Tenants(store, layout.data, elsewhere), settings.lease_seconds)
        engine = settings.engine
        self._tools = Tools.load(engine, layout)
        if is_shared(settings.state):
            agree_on_model(store, self._tools.model.fingerprint)
        self._cores = CoreShare(layout.cores, "worker", "server", engine.threads, layout.data)
        self._swept = self._tidied = float("-inf")

    def run(self) -> None:
        """Works until no job has come for a while, or it is told to stop, or its server is gone."""
        try:
            self._run()
        except ServiceError as error:
            if not is_passing(error):
                raise
            _log.warning("stopped while the state store was away", reason=error.reason)

    def _run(self) -> None:
        idle_since = time.monotonic()
        while self._around.pause_for(0):
            claimed = self._waited_for(lambda: self._queues.claim(self._settings.name))
            if claimed is not None:
                self._work(*claimed)
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since >= self._settings.idle_seconds:
                return
            else:
                self._sweep()
                self._around.pause_for(_POLL_SECONDS)
            if self._settings.only_one:
                return

    def _work(self, queue: Queue, job: Job) -> None:
        settings = self._settings
        doing = JobWork(
            self._tools, queue, settings.instant_tokens, settings.condense, settings.rehearse
        )
        _log.info("job started", job=job.id, kind=str(job.kind), attempt=job.attempt)
        fail_point("job.begun")
        is_mine = self._waited_for(self._done(doing, queue, job))
        fail_point("job.committed")
        is_over = is_mine and self._waited_for(lambda: queue.jobs.get(job.id).state.is_final)
        if is_over:
            self._waited_for(lambda: _clear(doing, queue, job))
        _log.info("job left", job=job.id, ended=is_over, lost=not is_mine)

    def _done(self, doing: JobWork, queue: Queue, job: Job) -> Callable[[], bool]:
        """Does a job; what is then to be said of it, which tells whether it was still this worker's."""
        this, jobs = (job.id, job.token), queue.jobs
        try:
            with Lease(jobs, job, self._around, self._cores.take) as lease:
                result = doing.do(job, lease, queue.folders.take(job))
        except JobLostError:  # another worker has the job now, and goes on in its work folder
            return lambda: False
        except JobCancelledError:
            return lambda: jobs.cancelled(*this)
        except WorkerStoppingError:
            return lambda: jobs.give_back(*this)
        except ServiceError as error:
            refused, may_pass = error.record, is_passing(error)
            return lambda: jobs.fail(*this, refused, may_pass)
        except Exception as error:
            _log.exception("job failed", job=job.id)
            told, may_pass = _failure(error)
            return lambda: jobs.fail(*this, told.record, may_pass)
        return lambda: jobs.finish(*this, result)

    def _sweep(self) -> None:
        if time.monotonic() - self._swept < _SWEEP_SECONDS:
            return
        self._swept = time.monotonic()
        self._waited_for(self._queues.sweep)
        if self._settings.store and time.monotonic() - self._tidied >= _TIDY_SECONDS:
            self._tidied = time.monotonic()
            self._waited_for(self._tidy)

    def _tidy(self) -> None:
        """What was brought here for jobs and is needed no more; a server's folder tidies itself."""
        for queue in self._queues.all():
            StoredArtifacts.of(queue).sweep()

    def _waited_for(self, act: Callable[[], T]) -> T:
        return patiently(act, self._around.pause_for)


def _failure(error: Exception) -> tuple[ServiceError, bool]:
    """What is to be said of a job that broke, and whether it may pass: a disk may have room again, a bug
    stays.
    """
    if known := file_error(error):
        return known, known.reason == "DISK_FULL"
    if isinstance(error, OSError):
        return fail("INTERNAL", f"the worker could not use its files: {error.strerror}"), True
    return fail("INTERNAL", "the worker failed; its log says why"), False


def _clear(doing: JobWork, queue: Queue, job: Job) -> None:
    queue.folders.clear(job.id)
    fail_point("work.cleared")
    doing.forget(job)


def run_worker(settings: WorkerSettings) -> None:
    """Works until a signal: then the job goes back to the queue. A second one ends it at once.

    Raises ServiceError where the state cannot be used.
    """
    configure_logs(settings.logs)
    tell_fault()
    around = Surroundings()

    def stop(number: int, _: object) -> None:
        around.stopping.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    worker = Worker(settings, around)
    _log.info("waiting for jobs", worker=settings.name)
    worker.run()


def main() -> None:
    """Reads the arguments that the supervisor writes."""
    parser = argparse.ArgumentParser(prog="longmemory-worker")
    for name in (
        "--data",
        "--model",
        "--device",
        "--dtype",
        "--name",
        "--condense",
        "--log-format",
        "--log-level",
    ):
        parser.add_argument(name, required=True)
    for name in ("--threads", "--parent", "--instant-tokens", "--rehearse"):
        parser.add_argument(name, required=True, type=int)
    given = parser.parse_args()
    configure_logs(LogSettings(given.log_format, given.log_level))
    tell_fault()
    engine = EngineConfig(Path(given.data), given.model, given.device, given.dtype, given.threads)
    settings = WorkerSettings(
        engine,
        os.environ.get(STATE_VARIABLE, ""),
        os.environ.get(STORE_VARIABLE, ""),
        given.instant_tokens,
        Condense(given.condense),
        given.rehearse,
        given.name,
        IDLE_SECONDS,
    )
    Worker(settings, Surroundings(given.parent)).run()


if __name__ == "__main__":
    main()
