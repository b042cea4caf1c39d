"""Documents on their way in: chunks that survive a crash, and the checks before a text is kept.

Partial bytes lie in `folder`/<corpus>/<request id>/<sha256 of the document id>.part. The size of
that file is the committed size; the store only says that an upload was begun or finished.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import google_crc32c

from engine.fail_point import fail_point
from engine.plain_file import append_plain, open_plain
from engine.plain_folder import delete_file
from service import ids
from service.errors import ServiceError, fail, quoted
from service.limits import Limits
from service.removal import remove_tree
from service.state.content import ContentStore, TextFacts, examine
from service.state.corpora import Corpora
from service.state.folder_turn import turn_in
from service.state.store import Store
from service.state.tables import UPLOADS


@dataclass(frozen=True, slots=True)
class UploadStatus:
    """How much of one document has arrived for good."""

    document_id: str
    committed_bytes: int
    finished: bool


@dataclass(frozen=True, slots=True)
class _Upload:
    corpus_id: str
    request_id: str
    document_id: str

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.corpus_id, self.request_id, self.document_id)


class Uploads:
    """Resumable uploads; each belongs to a corpus, a request id and a document id."""

    def __init__(
        self,
        store: Store,
        content: ContentStore,
        corpora: Corpora,
        limits: Limits,
        folder: Path,
    ) -> None:
        self._store = store
        self._content = content
        self._corpora = corpora
        self._limits = limits
        self._folder, self._root = folder, content.root

    def write(
        self,
        corpus_id: str,
        request_id: str,
        document_id: str,
        offset: int,
        data: bytes,
        crc32c: int | None = None,
        finish: bool = False,
        sha256: str = "",
    ) -> int:
        """Append a chunk, and with `finish` keep the document; the committed size in bytes.

        A chunk that has arrived before is accepted again. `crc32c` is of this chunk, `sha256` (hex)
        of the whole document. A document that fails its checks is dropped and begins again at 0.
        Raises MALFORMED_ID, CORPUS_NOT_FOUND, CORPUS_TOO_LARGE, REQUEST_ID_REUSED and the
        REQUEST_, UPLOAD_ and DOCUMENT_ reasons; FileNotPlainError where a link lies in its way.
        """
        upload = self._parse(corpus_id, request_id, document_id)
        self._check_chunk(offset, data, crc32c)
        self._corpora.require(corpus_id)  # before there is a folder for it
        part = self._part(upload)
        with turn_in(part.parent, self._root):  # another server may be sent the same
            row = self._begin(upload)
            fail_point("upload.begun")
            if row.finished:
                return self._repeat(row, offset, data)
            committed = self._append(upload.document_id, part, offset, data)
            fail_point("upload.written")
            if finish and offset + len(data) == committed:
                self._finish(upload, part, sha256.lower())
            return committed

    def status(self, corpus_id: str, request_id: str) -> tuple[UploadStatus, ...]:
        """The documents begun under a request id, by document id. Raises CORPUS_NOT_FOUND."""
        self._corpora.require(corpus_id)
        prefix = (corpus_id, ids.parse_request_id(request_id))
        found = []
        for _, row in UPLOADS.each(self._store, prefix):
            part = self._part(_Upload(corpus_id, row["request_id"], row["document_id"]))
            size = row["committed_bytes"] if row["finished"] else self._size(part)
            found.append(UploadStatus(row["document_id"], size, row["finished"]))
        return tuple(found)

    def forget(self, corpus_id: str) -> None:
        """Remove the partial bytes of a deleted corpus. Raises MALFORMED_ID."""
        folder = self._folder / ids.parse_id(corpus_id, "corpus_id")
        remove_tree(folder, self._root)

    def _parse(self, corpus_id: str, request_id: str, document_id: str) -> _Upload:
        ids.parse_id(corpus_id, "corpus_id")
        if not request_id or not document_id:
            missing = "document_id" if request_id else "request_id"
            raise fail(
                "UPLOAD_HEADER_MISSING",
                f"{missing}: it is empty; begin the upload with its request_id and document_id",
                field=missing,
            )
        return _Upload(
            corpus_id,
            ids.parse_request_id(request_id),
            ids.parse_document_id(document_id, limits=self._limits),
        )

    def _check_chunk(self, offset: int, data: bytes, crc32c: int | None) -> None:
        limit = self._limits.max_chunk_bytes
        if offset < 0:
            raise fail(
                "INVALID_VALUE", f"offset: {offset} is negative; use 0 or more", field="offset"
            )
        if len(data) > limit:
            raise fail(
                "REQUEST_TOO_LARGE",
                f"data: the chunk has {len(data)} bytes; send at most {limit} at a time",
                field="data",
                limit=limit,
            )
        if crc32c is not None and google_crc32c.value(data) != crc32c:
            raise fail(
                "UPLOAD_CRC_MISMATCH",
                f"crc32c: the chunk at offset {offset} does not have it; send the chunk again",
                field="crc32c",
                offset=offset,
            )

    def _begin(self, upload: _Upload) -> UploadStatus:
        row = UPLOADS.get(self._store, upload.key)
        if row:
            return UploadStatus(upload.document_id, row["committed_bytes"], row["finished"])
        with self._store.transaction():
            self._corpora.require(upload.corpus_id)
            # Bytes without a record are those of a corpus of this name that was deleted.
            delete_file(self._part(upload), self._root)
            self._put(upload, 0, False)
            return UploadStatus(upload.document_id, 0, False)

    def _put(self, upload: _Upload, committed_bytes: int, finished: bool) -> None:
        state = {"committed_bytes": committed_bytes, "finished": finished}
        UPLOADS.put(self._store, upload.key, asdict(upload) | state)

    def _repeat(self, done: UploadStatus, offset: int, data: bytes) -> int:
        if offset + len(data) > done.committed_bytes:
            raise _reused(done.document_id, "is finished, and these bytes lie behind its end")
        return done.committed_bytes

    def _append(self, document_id: str, part: Path, offset: int, data: bytes) -> int:
        committed = self._size(part)
        if offset > committed:
            raise fail(
                "UPLOAD_OFFSET_GAP",
                f"offset: {offset} leaves a gap; continue at offset {committed}",
                field="offset",
                expected_offset=committed,
            )
        end, limit = offset + len(data), self._limits.max_document_bytes
        if end > limit:
            delete_file(part, self._root)
            raise fail(
                "DOCUMENT_TOO_LARGE",
                f"data: the document has more than {limit} bytes; split it into several",
                field="data",
                limit=limit,
            )
        # A kill during a write leaves the front of a chunk: the repeat brings the rest of it.
        known = min(committed, end) - offset
        if known and self._read(part, offset, known) != data[:known]:
            raise _reused(document_id, f"has other bytes at offset {offset}")
        if end > committed:
            self._write(part, data[known:])
        return max(committed, end)

    def _finish(self, upload: _Upload, part: Path, sha256: str) -> None:
        try:
            facts = self._check_document(part, sha256)
        except ServiceError:
            delete_file(part, self._root)
            raise
        self._content.keep(part, facts.sha256)
        with self._store.transaction():
            self._corpora.add_document(upload.corpus_id, upload.document_id, facts)
            self._put(upload, facts.byte_count, True)
            fail_point("upload.recorded")
            # Inside the transaction, so that a record without its text is never committed.
            self._content.put_file(part, facts)
        fail_point("upload.committed")

    def _check_document(self, part: Path, sha256: str) -> TextFacts:
        if not self._size(part):
            raise _empty("has no bytes")
        facts = examine(part, self._root)
        if sha256 and facts.sha256 != sha256:
            raise fail(
                "UPLOAD_DIGEST_MISMATCH",
                "sha256: the bytes that arrived have another digest; upload the document again "
                "from offset 0",
                field="sha256",
                received_sha256=facts.sha256,
            )
        if facts.is_blank:
            raise _empty("holds white space only")
        return facts

    def _part(self, upload: _Upload) -> Path:
        name = hashlib.sha256(upload.document_id.encode()).hexdigest()
        return self._folder / upload.corpus_id / upload.request_id / f"{name}.part"

    def _size(self, part: Path) -> int:
        try:
            with open_plain(part, self._root) as file:
                return os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            return 0

    def _read(self, part: Path, offset: int, count: int) -> bytes:
        with open_plain(part, self._root) as file:
            file.seek(offset)
            return file.read(count)

    def _write(self, part: Path, data: bytes) -> None:
        with append_plain(part, self._root) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def _empty(wrong: str) -> ServiceError:
    return fail(
        "DOCUMENT_EMPTY",
        f"data: the document {wrong}; upload one with text, or leave it out",
        field="data",
    )


def _reused(document: str, wrong: str) -> ServiceError:
    return fail(
        "REQUEST_ID_REUSED",
        f"request_id: the upload of {quoted(document)} {wrong}; use a new request_id",
        field="request_id",
    )
