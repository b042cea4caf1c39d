"""Documents by the hash of their bytes, one file each. Knows no corpus and no database."""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import time
from collections.abc import Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engine.fail_point import fail_point
from service.errors import fail
from service.state.folder_turn import turn_in

_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class TextFacts:
    """What one pass over a text file tells."""

    sha256: str
    byte_count: int
    char_count: int
    is_blank: bool


def examine(path: Path) -> TextFacts:
    """Hash and count a file. Raises DOCUMENT_NOT_UTF8 with the offset of the first bad byte."""
    digest, decoder = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")()
    byte_count, char_count, is_blank = 0, 0, True
    with path.open("rb") as file:
        while True:
            block = file.read(_BLOCK_BYTES)
            held = len(decoder.getstate()[0])
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                offset = byte_count - held + error.start
                raise fail(
                    "DOCUMENT_NOT_UTF8",
                    f"data: byte {offset} is not UTF-8; convert the document to UTF-8 text",
                    field="data",
                    byte_offset=offset,
                ) from None
            if not block:
                return TextFacts(digest.hexdigest(), byte_count, char_count, is_blank)
            digest.update(block)
            byte_count += len(block)
            char_count += len(text)
            is_blank = is_blank and not text.strip()


class ContentStore:
    """`root`/documents/<first two digits>/<sha256>; files are never changed once there."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "documents"

    def path(self, sha256: str) -> Path:
        """Where the document of that hash is, or would be. Raises ValueError for a non-hash."""
        if not _SHA256.fullmatch(sha256):
            raise ValueError("a document's digest is 64 lower-case hexadecimal digits")
        return self._folder / sha256[:2] / sha256

    def put_file(self, temp_path: Path, facts: TextFacts | None = None) -> str:
        """Move a file into the store and make it durable; its sha256.

        `facts`, where the caller has examined the file already, saves a second reading.
        The file must lie in the store's file system. Raises DOCUMENT_NOT_UTF8, OSError.
        """
        sha256 = (facts or examine(temp_path)).sha256
        target = self.path(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        _sync(temp_path)
        fail_point("text.forced")
        with turn_in(self._folder):
            # A fresh time keeps the file from a concurrent `delete_unreferenced`.
            os.utime(temp_path)
            os.replace(temp_path, target)
        fail_point("text.renamed")
        for folder in (target.parent, self._folder):
            _sync(folder)
        fail_point("text.stored")
        return sha256

    def read_text(self, sha256: str) -> str:
        """The document's text. Raises DOCUMENT_DAMAGED when the file is gone or has changed."""
        try:
            data = self.path(sha256).read_bytes()
        except FileNotFoundError:
            data = None
        if data is None or hashlib.sha256(data).hexdigest() != sha256:
            raise fail(
                "DOCUMENT_DAMAGED",
                f"the stored text {sha256[:12]} is {'missing' if data is None else 'damaged'}; "
                "upload the document again",
                sha256=sha256,
            )
        return data.decode("utf-8")

    def delete_unreferenced(self, referenced: Set[str], grace_seconds: float = 3600.0) -> int:
        """Delete what no document refers to; the number of files deleted.

        Files younger than `grace_seconds` stay: their document may not be recorded yet.
        """
        newest, deleted = time.time() - grace_seconds, 0
        for path in self._folder.glob("??/*"):
            if path.name in referenced:
                continue
            with turn_in(self._folder), suppress(FileNotFoundError):  # another server deleted it
                if path.stat().st_mtime <= newest:
                    path.unlink()
                    deleted += 1
        return deleted


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
