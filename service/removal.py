"""Removes what belonged to records that are gone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from engine.errors import FileNotPlainError
from engine.plain_folder import delete_tree

_log = structlog.stdlib.get_logger("longmemory.removal")


def remove_tree(folder: Path, root: Path) -> bool:
    """Removes a folder with all that lies in it; goes through no link below `root`. False: one lies in
    the way, which the log tells, and the folder stays.
    """
    gone = False
    with links_told():
        delete_tree(folder, root)
        gone = True
    return gone


@contextmanager
def links_told() -> Iterator[None]:
    """Inside, a link that lies in the way of a removal is told in the log, and the files stay: the
    record that they belonged to is gone, so whoever removed it could not do so again.
    """
    try:
        yield
    except FileNotPlainError as error:
        _log.warning("files were not removed", reason=error.reason, why=str(error))
