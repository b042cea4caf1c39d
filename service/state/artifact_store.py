"""The files of a data folder kept under a URL too, for machines with data folders of their own.

A file's name there is its place in the data folder. It stands behind its SHA-256, so that what was torn,
cut off or altered is as good as not there, with any store that fsspec knows and whatever that promises
of a write. Names follow from contents or from claims, so no two writers mean different things by one.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog

from engine.elsewhere import NOWHERE, Elsewhere
from engine.plain_file import open_plain
from engine.plain_folder import staged
from service.errors import ServiceError, fail

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

PROTOCOLS = ("file", "memory", "s3", "gs", "gcs", "az", "abfs", "abfss", "hdfs", "sftp", "smb")
"""What a URL may begin with; one that is fetched from a website, or a chain of several, is no store."""

_FRESH_SECONDS = 1200.0  # a third of what a sweep lets be
_AWAY_SECONDS = 5.0  # for which a store that did not answer is not asked again
_DIGEST_BYTES = 32
_BLOCK_BYTES = 1024 * 1024
_log = structlog.stdlib.get_logger("longmemory.store")


def open_artifacts(url: str, data: Path) -> Elsewhere:
    """The store of a data folder's files; an empty URL: there is none.

    Raises ValueError where the URL is none of a store, or its driver is not installed.
    """
    if not url:
        return NOWHERE
    protocol, told = check_url(url), told_of(url)
    try:
        from fsspec.core import url_to_fs

        # What another machine has written is looked up, not remembered.
        given: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
        given |= {"auto_mkdir": True} if protocol == "file" else {}
        files, base = url_to_fs(url, **given)
    except ImportError as error:
        raise ValueError(f"store: {told} needs a driver; {error}") from error
    except Exception as error:  # of whichever driver; its words may hold a secret
        raise ValueError(
            f"store: {told} cannot be opened ({type(error).__name__}); check the URL, and the "
            "credentials that its driver reads from the environment"
        ) from error
    return ArtifactStore(files, base, data, told)


def check_url(url: str) -> str:
    """The protocol of a store's URL. Raises ValueError."""
    parts = urlsplit(url)
    if "::" in url or parts.scheme not in PROTOCOLS:
        raise ValueError(
            f"store: {told_of(url)} is no URL of a store; use one that begins with "
            f"{', '.join(f'{name}://' for name in PROTOCOLS)}"
        )
    if parts.password is not None or parts.query:
        raise ValueError(
            "store: the URL holds a password or options; leave them out, the driver reads its "
            "credentials from the environment or its own files"
        )
    return parts.scheme


def told_of(url: str) -> str:
    """A URL without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"


class ArtifactStore:
    """Copies of a data folder's files in a file system of fsspec; used from any thread.

    Every method raises ServiceError: STORE_UNAVAILABLE where the store cannot be reached, or
    STORE_REFUSED where it does not let this process in.
    """

    def __init__(self, files: AbstractFileSystem, base: str, data: Path, told: str) -> None:
        self._files, self._base, self._data, self._told = files, base.rstrip("/"), data, told
        self._torn: set[str] = set()  # copies that were read and found so
        self._away: tuple[float, ServiceError] | None = None  # until when, and what was told

    def keep(self, path: Path, source: Path | None = None) -> None:
        """Copies a file there, unless the same is there already and new. Raises OSError too, of this
        side.
        """
        name = self._name(path)
        with open_plain(source or path, self._data) as file:
            digest = hashlib.file_digest(file, "sha256").digest()
            size = file.tell()
            file.seek(0)
            with self._reached():
                if name not in self._torn and self._seems(name, digest, size):
                    return
                self._torn.discard(name)
                with self._files.open(name, "wb") as copy:
                    copy.write(digest)
                    while block := file.read(_BLOCK_BYTES):
                        copy.write(block)

    def bring(self, path: Path) -> bool:
        """Copies a file here; False where it is not there, or not whole. Raises OSError and
        FileNotPlainError too, of this side.
        """
        copy = self._opened(self._name(path))
        if copy is None:
            return False
        with copy:
            try:
                with staged(path, self._data) as staging, staging.open("wb") as file:
                    self._write_out(copy, file)
            except _TornError:
                _log.warning("a file of the store is torn or altered", file=self._key(path))
                self._torn.add(self._name(path))
                return False
        return True

    def entries(self, folder: Path) -> Mapping[str, float]:
        """As `Elsewhere.entries`; a store that tells no times says that all was written now."""
        base = self._name(folder)
        with self._reached():
            self._files.invalidate_cache()
            try:
                found = self._files.find(base, detail=True)
            except FileNotFoundError:
                return {}
        root = self._files._strip_protocol(base).rstrip("/") + "/"
        return {name.removeprefix(root): _written(info) for name, info in found.items()}

    def remove(self, path: Path) -> None:
        """Removes a file, or a folder with all in it."""
        with self._reached():
            self._files.invalidate_cache()
            try:
                self._files.rm(self._name(path), recursive=True)
            except FileNotFoundError:
                return

    def _opened(self, name: str) -> IO[bytes] | None:
        with self._reached():
            try:
                found: IO[bytes] = self._files.open(name, "rb")
                return found
            except FileNotFoundError:
                return None

    def _write_out(self, copy: IO[bytes], file: IO[bytes]) -> None:
        digest = hashlib.sha256()
        with self._reached():
            wanted = copy.read(_DIGEST_BYTES)
            while block := copy.read(_BLOCK_BYTES):
                digest.update(block)
                file.write(block)
        if digest.digest() != wanted:
            raise _TornError

    def _seems(self, name: str, digest: bytes, size: int) -> bool:
        """Whether a new copy is there that was written with that digest and has the right size."""
        copy = self._opened(name)
        if copy is None:
            return False
        with copy:
            is_same = copy.read(_DIGEST_BYTES) == digest
        info = self._files.info(name)
        is_fresh = time.time() - _written(info) < _FRESH_SECONDS
        return is_same and is_fresh and int(info["size"]) == _DIGEST_BYTES + size

    def _name(self, path: Path) -> str:
        return f"{self._base}/{self._key(path)}"

    def _key(self, path: Path) -> str:
        """Raises ValueError for a path outside the data folder."""
        return path.relative_to(self._data).as_posix()

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Inside, what a driver raises becomes an error with its mend; its words may hold secrets. Who
        comes soon after is told the same at once: a driver may take long to give up.
        """
        if self._away and time.monotonic() < self._away[0]:
            raise self._away[1]
        try:
            yield
        except ServiceError:
            raise
        except PermissionError as error:
            raise fail(
                "STORE_REFUSED",
                f"the store {self._told} does not let this process read or write; give it the right "
                "to, by the credentials in its environment",
            ) from error
        except Exception as error:
            away = fail(
                "STORE_UNAVAILABLE",
                f"the store {self._told} does not answer ({type(error).__name__}); see that it can be "
                "reached and written to, then try again",
                retry_after_seconds=_AWAY_SECONDS,
            )
            self._away = time.monotonic() + _AWAY_SECONDS, away
            raise away from error


class _TornError(Exception):
    """The bytes of a copy are not those that it was written with."""


def _written(info: Mapping[str, Any]) -> float:
    """When a file was written, by whichever name its driver tells it."""
    for name in ("mtime", "LastModified", "last_modified", "updated", "created"):
        told = info.get(name)
        if isinstance(told, datetime):
            return told.timestamp()
        if isinstance(told, int | float):
            return float(told)
        if isinstance(told, str):
            return datetime.fromisoformat(told).timestamp()
    return datetime.now(UTC).timestamp()
