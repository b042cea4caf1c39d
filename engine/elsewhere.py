"""Where copies of files are kept that other machines need too; by itself, nowhere."""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Protocol


class Elsewhere(Protocol):
    """A place that has files under the names which they have in a data folder.

    Whatever it holds is whole, or as good as not there. Every method may raise what the place itself
    raises where it cannot be reached.
    """

    def keep(self, path: Path, source: Path | None = None) -> None:
        """Copies the file there, from `source` where it does not lie in its place yet. A copy that has
        been there for long is made anew, so that no sweep finds it old.
        """
        ...

    def bring(self, path: Path) -> bool:
        """Copies it here, whole or not at all, in place of what is here; False: it is not there."""
        ...

    def entries(self, folder: Path) -> Mapping[str, float]:
        """All files in a folder and in those below it, by their names from the folder on, and when each
        was written, in seconds since the epoch.
        """
        ...

    def remove(self, path: Path) -> None:
        """Removes a file, or a folder with all that lies in it; nothing where neither is there."""
        ...


class Nowhere:
    """For files that lie in one folder alone."""

    def keep(self, path: Path, source: Path | None = None) -> None:
        """Nothing."""

    def bring(self, path: Path) -> bool:
        """Nothing is there."""
        return False

    def entries(self, folder: Path) -> Mapping[str, float]:
        """None."""
        return {}

    def remove(self, path: Path) -> None:
        """Nothing."""


NOWHERE = Nowhere()


def forget_old(elsewhere: Elsewhere, folder: Path, referenced: Set[str], oldest: float) -> None:
    """Removes what lies elsewhere in a folder, is named after none of `referenced` and was written no
    later than `oldest`, in seconds since the epoch.
    """
    for name, written in elsewhere.entries(folder).items():
        if Path(name).stem not in referenced and written <= oldest:
            elsewhere.remove(folder / name)
