"""A server of one's own for as long as a block lasts."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ServerFailedError(Exception):
    """The server ended before it served; the message is what it said last."""


@contextmanager
def running_server(data: Path, log: Path, *options: str) -> Iterator[str]:
    """Starts `longmemory serve` on a free loopback port; yields its address; ends it afterwards.

    Raises:
        ServerFailedError: the server did not come up.
    """
    command = [sys.executable, "-m", "service.cli.main", "serve", "--data", str(data)]
    # No cartridge is made beside what is measured.
    command += ["--listen", "127.0.0.1:0", "--instant-tokens", "0", *options]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            yield _address(process, log)
        finally:
            process.terminate()
            process.wait(30)
            assert process.stdout is not None
            process.stdout.close()


def _address(process: "subprocess.Popen[str]", log: Path) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("longmemory serves at "):
            return line.rsplit(" ", 1)[1].strip()
    said = log.read_text(errors="replace").strip().splitlines()[-5:]
    raise ServerFailedError("the server did not come up:\n" + "\n".join(said))
