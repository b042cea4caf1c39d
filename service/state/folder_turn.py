"""A folder that one thread of one process writes to at a time, on whichever machine it runs."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.plain_file import opened_folder, plain_descriptor


@contextmanager
def turn_in(folder: Path, root: Path) -> Iterator[None]:
    """Inside, nobody else has a turn in the folder, which is made where it is not there.

    Raises FileNotPlainError where its lock is a link, or lies behind one below `root`.
    """
    with opened_folder(folder, root, make=True):
        descriptor = plain_descriptor(folder / "lock", root, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
