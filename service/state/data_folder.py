"""The data folder of a service that keeps its state in it: one server at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from engine.plain_file import plain_descriptor
from service.errors import fail


class DataFolderLock:
    """The right of one process to serve a data folder; it ends with the process at the latest."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the folder free; safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> DataFolderLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def lock_data_folder(folder: Path) -> DataFolderLock:
    """Lock `folder`/lock for this process.

    Raises DATA_FOLDER_LOCKED when another holds it, FileNotPlainError where the lock is a link.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = plain_descriptor(folder / "lock", folder, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise fail(
            "DATA_FOLDER_LOCKED",
            f"another process (pid {holder}) serves this data folder; stop it, or name another "
            "folder",
            pid=holder,
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return DataFolderLock(descriptor)
