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

from engine.elsewhere import NOWHERE, Elsewhere, forget_old
from engine.fail_point import fail_point
from engine.plain_file import open_plain, opened_folder, read_plain
from engine.plain_folder import files_below, force
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


def examine(path: Path, root: Path | None = None) -> TextFacts:
    """Hash and count a file.

    Raises DOCUMENT_NOT_UTF8 with the offset of the first bad byte, and FileNotPlainError where the file
    is a link, or lies behind one below `root`.
    """
    digest, decoder = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")()
    byte_count, char_count, is_blank = 0, 0, True
    with open_plain(path, root) as file:
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
    """`root`/documents/<first two digits>/<sha256>; files are never changed once there.

    No link is followed below the root. What meets one raises FileNotPlainError.
    """

    def __init__(self, root: Path, elsewhere: Elsewhere = NOWHERE) -> None:
        self.root, self._folder, self._elsewhere = root, root / "documents", elsewhere

    def path(self, sha256: str) -> Path:
        """Where the document of that hash is, or would be. Raises ValueError for a non-hash."""
        if not _SHA256.fullmatch(sha256):
            raise ValueError("a document's digest is 64 lower-case hexadecimal digits")
        return self._folder / sha256[:2] / sha256

    def keep(self, temp_path: Path, sha256: str) -> None:
        """Copies a file elsewhere too, which may take a while: before a record of it is made."""
        self._elsewhere.keep(self.path(sha256), temp_path)

    def bring(self, sha256: str) -> None:
        """Sees that a document is here, if it is anywhere."""
        if not self.path(sha256).exists():
            self._elsewhere.bring(self.path(sha256))

    def put_file(self, temp_path: Path, facts: TextFacts | None = None) -> str:
        """Move a file into the store and make it durable; its sha256.

        `facts`, where the caller has examined the file already, saves a second reading.
        The file must lie in the store's file system. Raises DOCUMENT_NOT_UTF8, OSError.
        """
        sha256 = (facts or examine(temp_path, self.root)).sha256
        target = self.path(sha256)
        with (
            opened_folder(temp_path.parent, self.root) as source,
            opened_folder(target.parent, self.root, make=True) as folder,
        ):
            force(temp_path.name, source)
            fail_point("text.forced")
            with turn_in(self._folder, self.root):
                # A fresh time keeps the file from a concurrent `delete_unreferenced`.
                os.utime(temp_path.name, dir_fd=source, follow_symlinks=False)
                os.replace(temp_path.name, target.name, src_dir_fd=source, dst_dir_fd=folder)
            fail_point("text.renamed")
            os.fsync(folder)
        with opened_folder(self._folder, self.root) as folder:
            os.fsync(folder)
        fail_point("text.stored")
        return sha256

    def read_text(self, sha256: str) -> str:
        """The document's text. Raises DOCUMENT_DAMAGED when the file is gone or has changed, here and
        elsewhere.
        """
        data = self._read(sha256)
        if not _is_of(data, sha256) and self._elsewhere.bring(self.path(sha256)):
            data = self._read(sha256)
        if data is None or not _is_of(data, sha256):
            raise fail(
                "DOCUMENT_DAMAGED",
                f"the stored text {sha256[:12]} is {'missing' if data is None else 'damaged'}; "
                "upload the document again",
                sha256=sha256,
            )
        return data.decode("utf-8")

    def _read(self, sha256: str) -> bytes | None:
        try:
            return read_plain(self.path(sha256), self.root)
        except FileNotFoundError:
            return None

    def delete_unreferenced(self, referenced: Set[str], grace_seconds: float = 3600.0) -> int:
        """Delete what no document refers to; the number of files deleted.

        Files younger than `grace_seconds` stay: their document may not be recorded yet.
        """
        newest, deleted = time.time() - grace_seconds, 0
        for name, within in files_below(self._folder, self.root):
            if name in referenced or not _SHA256.fullmatch(name):
                continue
            # Another server may delete it first.
            with turn_in(self._folder, self.root), suppress(FileNotFoundError):
                found = os.stat(name, dir_fd=within, follow_symlinks=False)
                if found.st_mtime <= newest:
                    os.unlink(name, dir_fd=within)
                    deleted += 1
        forget_old(self._elsewhere, self._folder, referenced, newest)
        return deleted


def _is_of(data: bytes | None, sha256: str) -> bool:
    return data is not None and hashlib.sha256(data).hexdigest() == sha256
