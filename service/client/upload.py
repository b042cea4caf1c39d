"""Documents on their way to a server: which to send, in which chunks, and where to go on."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import google_crc32c
from longmemory.v1 import corpus_pb2

from service.client.calls import Calls, Pauses
from service.client.failures import ClientError
from service.client.types import SourceDocument

CHUNK_BYTES = 512 * 1024
TRIES = 3

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class UploadPlan:
    """The documents to send, their digests, and how many bytes the server already has."""

    documents: tuple[tuple[SourceDocument, str], ...]
    known_documents: int
    known_bytes: int


def plan_upload(documents: Iterable[SourceDocument], known: dict[str, str]) -> UploadPlan:
    """Leave out what the server has; `known` gives the SHA-256 of its documents by id.

    Raises OSError when a document cannot be read.
    """
    wanted = []
    known_documents = known_bytes = 0
    for document in documents:
        data = document.data()
        digest = hashlib.sha256(data).hexdigest()
        if known.get(document.id) == digest:
            known_documents += 1
            known_bytes += len(data)
        else:
            wanted.append((document, digest))
    return UploadPlan(tuple(wanted), known_documents, known_bytes)


def send_documents(
    calls: Calls, corpus: str, plan: UploadPlan, progress: Progress | None = None
) -> corpus_pb2.UploadDocumentsResponse:
    """Send what is planned; when the server breaks off, ask how far it came and go on from there.

    Raises ClientError, and OSError when a document cannot be read.
    """
    request_id = str(uuid.uuid4())
    where = corpus_pb2.GetUploadRequest(corpus=corpus, request_id=request_id)
    waits = Pauses(TRIES)
    while True:
        feed = Feed(corpus, request_id, plan, (), progress)
        try:
            if waits.num_taken:
                uploaded = calls.call(calls.corpora.GetUpload, where).documents
                feed = Feed(corpus, request_id, plan, uploaded, progress)
            with calls.errors():
                response: corpus_pb2.UploadDocumentsResponse = calls.corpora.UploadDocuments(
                    feed.messages()
                )
                return response
        except ClientError as error:
            if feed.failure is not None:
                raise feed.failure from error
            if error.code != "UNAVAILABLE" or not waits.take():
                raise


class Feed:
    """The messages of one upload call. Keeps what reading raised: gRPC would only log it."""

    def __init__(
        self,
        corpus: str,
        request_id: str,
        plan: UploadPlan,
        uploaded: Iterable[corpus_pb2.UploadedDocument] = (),
        progress: Progress | None = None,
    ) -> None:
        self._header = corpus_pb2.UploadHeader(corpus=corpus, request_id=request_id)
        self._plan = plan
        self._finished = {entry.document_id for entry in uploaded if entry.finished}
        self._committed = {entry.document_id: entry.committed_bytes for entry in uploaded}
        self._progress = progress or (lambda num_bytes: None)
        self.failure: OSError | None = None

    def messages(self) -> Iterator[corpus_pb2.UploadDocumentsRequest]:
        """The header, then the chunks which the server does not have yet."""
        yield corpus_pb2.UploadDocumentsRequest(header=self._header)
        before = self._plan.known_bytes
        self._progress(before)
        try:
            for document, digest in self._plan.documents:
                data = document.data()
                for chunk in self._chunks(document.id, data, digest):
                    yield corpus_pb2.UploadDocumentsRequest(chunk=chunk)
                    self._progress(before + chunk.offset + len(chunk.data))
                before += len(data)
                self._progress(before)
        except OSError as error:
            self.failure = error
            raise

    def _chunks(
        self, document_id: str, data: bytes, digest: str
    ) -> Iterator[corpus_pb2.DocumentChunk]:
        if document_id in self._finished:
            return
        # A document whose bytes are all there may still lack its finish: an empty chunk brings it.
        start = min(self._committed.get(document_id, 0), len(data))
        for offset in range(start, max(len(data), start + 1), CHUNK_BYTES):
            piece = data[offset : offset + CHUNK_BYTES]
            is_last = offset + len(piece) >= len(data)
            yield corpus_pb2.DocumentChunk(
                document_id=document_id,
                offset=offset,
                data=piece,
                crc32c=google_crc32c.value(piece),
                finish_document=is_last,
                sha256=digest if is_last else "",
            )
