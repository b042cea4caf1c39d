"""Environments of peers: a virtual environment each, made once from a pinned list."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

LOCKS = Path(__file__).parent / "peers"


def peer_python(
    folder: Path, name: str, maker: str = sys.executable, options: Sequence[str] = ()
) -> Path:
    """The interpreter of a peer's environment in `folder`, which is made from `NAME.lock` at need.

    `maker` is the interpreter that makes it, `options` are added to pip's.

    Raises:
        CalledProcessError: the packages cannot be installed.
    """
    python, made = folder / "bin" / "python", folder / ".installed"
    if not made.exists():
        print(f"making the environment of {name}", flush=True)
        subprocess.run([maker, "-m", "venv", folder], check=True)
        listed = str(LOCKS / f"{name}.lock")
        install = [str(python), "-m", "pip", "install", "--quiet", *options]
        install += ["--requirement", listed]
        subprocess.run(install, check=True)
        made.touch()
    return python
