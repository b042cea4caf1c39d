"""Removes what belonged to records that are gone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from engine.elsewhere import NOWHERE, Elsewhere
from engine.errors import FileNotPlainError
from engine.plain_folder import delete_tree
from service.errors import ServiceError

_log = structlog.stdlib.get_logger("longmemory.removal")


def remove_tree(folder: Path, root: Path, elsewhere: Elsewhere = NOWHERE) -> bool:
    """Removes a folder with all that lies in it, here and elsewhere; goes through no link below `root`.
    False: one lies in the way, or the other place cannot be reached, which the log tells.
    """
    gone = False
    with links_told():
        delete_tree(folder, root)
        try:
            elsewhere.remove(folder)
            gone = True
        except ServiceError as error:
            _log.warning("files were not removed", reason=error.reason, why=error.message)
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
