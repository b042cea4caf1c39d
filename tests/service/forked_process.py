"""Processes of the command line that start in a second: forked from one that has imported it all before.

That one has no threads, no model and no connection: what is forked is as good as new.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PRELOADED = ("service.app", "service.worker", "service.cli.main", "sentence_transformers", "faiss")


class ForkedProcess:
    """As much of `subprocess.Popen` as a `Server` and a `WorkerProcess` need."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], out: Path) -> None:
        out.write_bytes(b"")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOADED))
        self._process = context.Process(
            target=_run, args=(list(arguments), dict(environment), str(out)), daemon=True
        )
        self._process.start()
        self.args = list(arguments)
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return code

    def kill(self) -> None:
        self._process.kill()

    def terminate(self) -> None:
        self._process.terminate()

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def _run(arguments: list[str], environment: dict[str, str], out: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    sys.argv = ["longmemory", *arguments]
    from service.cli.main import main

    main()
