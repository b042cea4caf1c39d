"""Two processes on one machine's cores: each says that it works and looks whether the other does.

Two torch thread pools that together want more cores than there are spin against each other and cost
ten times and more; one pool on half the cores beside another costs nothing. So whoever works alone
takes all cores, and whoever works beside the other takes half.
"""

import os
import time
from pathlib import Path

from engine.plain_file import opened_folder, plain_descriptor
from engine.threads import use_threads

_FRESH_SECONDS = 2.0
_TOUCH_SECONDS = 0.5


class CoreShare:
    """One side of the sharing; `take` is called before each piece of work."""

    def __init__(
        self, folder: Path, me: str, other: str, fixed: int = 0, root: Path | None = None
    ) -> None:
        self._root = root or folder
        self._mine, self._others = folder / f"{me}.busy", folder / f"{other}.busy"
        self._fixed = fixed  # a count set by the caller is never changed
        self._touched = 0.0
        with opened_folder(folder, self._root, make=True):
            pass

    def take(self) -> int:
        """Says that this side works now, sets torch's threads, and returns their number."""
        now = time.monotonic()
        if now - self._touched > _TOUCH_SECONDS:
            self._touch()
            self._touched = now
        count = self._fixed or self._fair()
        use_threads(count)
        return count

    def _touch(self) -> None:
        mine = plain_descriptor(self._mine, self._root, os.O_WRONLY | os.O_CREAT)
        os.utime(mine)
        os.close(mine)

    def _fair(self) -> int:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        total = cores or 1
        try:
            age = time.time() - self._others.stat().st_mtime
        except FileNotFoundError:
            return total
        return total if age > _FRESH_SECONDS else max(1, total // 2)
