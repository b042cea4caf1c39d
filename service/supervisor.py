"""Keeps one worker process alive while there are jobs."""

import os
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import structlog

from engine.plain_file import append_plain, opened_folder
from service.config import STATE_VARIABLE, STORE_VARIABLE, Layout, ServiceConfig
from service.queues import Queues
from service.state.open_store import is_shared

_log = structlog.stdlib.get_logger("longmemory.supervisor")
_CHECK_SECONDS = 1.0
_LONGEST_PAUSE = 30.0
_GRACE_SECONDS = 10.0


class WorkerSupervisor:
    """Starts a worker when a job waits; gives its job out again when it dies."""

    def __init__(self, config: ServiceConfig, queues: Queues) -> None:
        self._config, self._queues = config, queues
        # With a state that others share, their leases say who holds which job.
        self._is_alone = not is_shared(config.state)
        self._woken, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def worker_pid(self) -> int | None:
        """The running worker's process id."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def wake(self) -> None:
        """There may be a new job; returns at once and may be called from any thread."""
        self._woken.set()

    def start(self) -> None:
        """Takes back what an earlier server's worker held, then watches the queue; nothing where the
        workers are processes of their own.
        """
        if self._is_alone:
            self._queues.release_all()
            self._queues.sweep()
        if wanted_workers(self._config):
            self._thread.start()

    def stop(self) -> None:
        """Ends the worker; its job goes on at the next start."""
        self._stopping.set()
        self._woken.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        if self._thread.is_alive():
            self._thread.join()
        if self._is_alone:
            self._queues.release_all()

    def _watch(self) -> None:
        pause = _CHECK_SECONDS
        while not self._stopping.is_set():
            self._woken.clear()
            try:
                went_well = self._serve_queue()
            except Exception:  # a full disk, say; without this thread no job would ever run again
                _log.exception("the worker could not be looked after")
                went_well = False
            pause = _CHECK_SECONDS if went_well else min(2 * pause, _LONGEST_PAUSE)
            if not went_well and not self._stopping.is_set():
                _log.warning("the next worker waits", seconds=pause)
                self._stopping.wait(pause)

    def _serve_queue(self) -> bool:
        """Runs a worker if there is work, else waits a while; False where the worker died."""
        if not self._queues.has_work():
            self._woken.wait(_CHECK_SECONDS)
            return True
        code = self._run_worker()
        if code != 0 and not self._stopping.is_set():
            _log.warning("the worker ended", code=code)
        return code == 0

    def _run_worker(self) -> int:
        """Runs one worker process to its end; returns its exit code."""
        name = f"worker-{uuid.uuid4().hex[:8]}"
        logs = Layout(self._config.data).logs
        with opened_folder(logs, self._config.data, make=True):
            file = append_plain(logs / "worker.log", self._config.data)
        with file as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service.worker", *self._flags(name)],
                env=_environment(self._config),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if self._stopping.is_set():
            self._process.terminate()
        code = self._process.wait()
        self._queues.release_worker(name, is_counted=not self._stopping.is_set())
        self._queues.sweep()
        return code

    def _flags(self, name: str) -> list[str]:
        config = self._config
        values = {
            "data": str(config.data),
            "model": config.model,
            "device": config.device,
            "dtype": config.dtype,
            "threads": str(config.threads),
            "instant-tokens": str(config.instant_tokens),
            "condense": str(config.crag.condense),
            "rehearse": str(config.rehearse),
            "log-format": config.logs.format,
            "log-level": config.logs.level,
            "name": name,
            "parent": str(os.getpid()),
        }
        return [part for key, value in values.items() for part in (f"--{key}", value)]


def wanted_workers(config: ServiceConfig) -> int:
    """How many workers the server starts."""
    return int(not is_shared(config.state)) if config.workers is None else config.workers


def _environment(config: ServiceConfig) -> dict[str, str]:
    """The worker imports this very checkout."""
    root = Path(__file__).parents[1]
    known = os.environ.get("PYTHONPATH", "")
    paths = os.pathsep.join([str(root), *filter(None, [known])])
    own = {"PYTHONPATH": paths, STATE_VARIABLE: config.state, STORE_VARIABLE: config.store}
    return os.environ | own
