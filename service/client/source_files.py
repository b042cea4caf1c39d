"""Files and folders to documents: which files are text, and what their ids are. Sends nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from service import ids
from service.client.types import SourceDocument
from service.errors import ServiceError
from service.limits import MIB, Limits

SKIPPED_FOLDERS = frozenset({"node_modules", "__pycache__"})
BINARY_PROBE_BYTES = 8192


@dataclass(frozen=True, slots=True)
class SourceFiles:
    """The documents found, their bytes in all, and each file that was left out with why."""

    documents: tuple[SourceDocument, ...]
    num_bytes: int
    skipped: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Found:
    path: Path
    id: str
    folder: str  # where another document has the same id, this goes before it


def read_sources(paths: Sequence[Path], limits: Limits | None = None) -> SourceFiles:
    """The documents under these files and folders, in sorted order.

    A file's id is its name; a file in a folder has its path relative to that folder. An id that
    is taken gets the folder's name in front. Raises FileNotFoundError for a path that is not there.
    """
    documents: dict[str, SourceDocument] = {}
    skipped: list[tuple[str, str]] = []
    seen: set[Path] = set()
    num_bytes = 0
    for found in _found(paths, skipped):
        real = found.path.resolve()
        if real in seen:
            skipped.append((str(found.path), "is given twice"))
            continue
        document_id = f"{found.folder}/{found.id}" if found.id in documents else found.id
        why = _why_not(found.path, limits or Limits()) or _why_not_id(document_id)
        if document_id in documents:
            why = f"has the id of another document, {document_id}"
        if why:
            skipped.append((str(found.path), why))
            continue
        seen.add(real)
        documents[document_id] = SourceDocument(document_id, found.path)
        num_bytes += found.path.stat().st_size
    return SourceFiles(tuple(documents.values()), num_bytes, tuple(skipped))


def _found(paths: Sequence[Path], skipped: list[tuple[str, str]]) -> Iterator[_Found]:
    for path in paths:
        if path.is_dir():
            yield from _files_of(path, skipped)
        elif path.exists():
            yield _Found(path, path.name, path.resolve().parent.name)
        else:
            raise FileNotFoundError(f"{path} does not exist; give files or folders that do")


def _files_of(root: Path, skipped: list[tuple[str, str]]) -> Iterator[_Found]:
    real_root = root.resolve()
    for folder, names, files in os.walk(root, onerror=lambda error: _unreadable(error, skipped)):
        here = Path(folder)
        for name in sorted(names):
            if (here / name).is_symlink() and not _is_skipped_folder(name):
                skipped.append((str(here / name), "is a link to a folder"))
        names[:] = sorted(name for name in names if not _is_skipped_folder(name))
        for name in sorted(files):
            path = here / name
            if path.is_symlink() and not path.resolve().is_relative_to(real_root):
                skipped.append((str(path), "is a link that leads out of the folder"))
            else:
                yield _Found(path, path.relative_to(root).as_posix(), real_root.name)


def _is_skipped_folder(name: str) -> bool:
    return name.startswith(".") or name in SKIPPED_FOLDERS


def _unreadable(error: OSError, skipped: list[tuple[str, str]]) -> None:
    skipped.append((str(error.filename), f"cannot be read: {error.strerror}"))


def _why_not(path: Path, limits: Limits) -> str:
    try:
        if not path.is_file():  # reading a pipe would wait for ever
            return "is not a regular file"
        size = path.stat().st_size
        if size > limits.max_document_bytes:
            return f"is larger than {limits.max_document_bytes // MIB} MiB"
        data = path.read_bytes()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if b"\0" in data[:BINARY_PROBE_BYTES]:
        return "is binary"
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return "is not UTF-8 text"
    return "" if text.strip() else "is empty"


def _why_not_id(document_id: str) -> str:
    try:
        ids.parse_document_id(document_id)
    except ServiceError:
        return "has a name that no document id may have"
    return ""
