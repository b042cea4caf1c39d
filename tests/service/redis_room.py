"""A real redis-server on a free port of this machine, for tests that may kill, pause and fill it."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from process_room import until

WITHOUT = "LONGMEMORY_TESTS_WITHOUT_REDIS"


class RedisServer:
    """A server of its own folder; `url` names its first database."""

    def __init__(self, folder: Path, *settings: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._settings = folder, settings
        self.port = _free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis(port=self.port, socket_timeout=30)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Starts it, with what its folder holds, and waits until it answers."""
        command = [
            "redis-server",
            "--port",
            self.port,
            "--bind",
            "127.0.0.1",
            "--dir",
            self._folder,
        ]
        command += ["--save", "", "--daemonize", "no", *self._settings]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*map(str, command)], stdout=log, stderr=log)
        until(self._answers, "redis-server")

    def kill(self) -> None:
        """Ends it as a power cut would."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(30)

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside, it is there and answers nothing."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(30)
        self.client.close()

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False


@contextmanager
def serving_redis(folder: Path, *settings: str) -> Iterator[RedisServer]:
    """A server that ends with the block."""
    require_redis()
    server = RedisServer(folder, *settings)
    try:
        yield server
    finally:
        server.stop()


def require_redis() -> None:
    """Fails where redis-server is not installed, or skips where that was asked for."""
    if shutil.which("redis-server"):
        return
    if os.environ.get(WITHOUT):
        pytest.skip(f"redis-server is not installed, and {WITHOUT} is set")
    pytest.fail(f"install redis-server (apt-get install redis-server), or set {WITHOUT}=1")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
