"""CorpusService: corpora, their documents, and the jobs that index them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf.empty_pb2 import Empty
from longmemory.v1 import corpus_pb2, corpus_pb2_grpc

from engine.fail_point import fail_point
from service import ids
from service.errors import ServiceError, fail, quoted
from service.first_cartridge import INSTANT
from service.rpc import wire
from service.rpc.access import CallersBackend
from service.state.corpus import Corpus, CorpusState
from service.state.job import JobKind, JobState
from service.state.pages import all_pages


class CorpusService(CallersBackend, corpus_pb2_grpc.CorpusServiceServicer):
    """Checks requests, asks the backend in a thread, and sends what it says."""

    async def CreateCorpus(
        self, request: corpus_pb2.CreateCorpusRequest, context: Any
    ) -> corpus_pb2.Corpus:
        """Register an empty corpus."""
        ids.parse_id(request.corpus_id, "corpus_id")
        if not request.HasField("corpus"):
            raise fail("INVALID_VALUE", "corpus: it is not set; send a Corpus", field="corpus")

        def run() -> bytes:
            made = self._backend.corpora.create(request.corpus_id, request.corpus.display_name)
            return wire.corpus(made).SerializeToString()

        stored = await asyncio.to_thread(
            self._backend.requests.once, "CreateCorpus", request.request_id, _body(request), run
        )
        fail_point("corpus.created")
        return corpus_pb2.Corpus.FromString(stored)

    async def UploadDocuments(
        self, request_iterator: AsyncIterator[corpus_pb2.UploadDocumentsRequest], context: Any
    ) -> corpus_pb2.UploadDocumentsResponse:
        """Store the chunks one by one; what was stored stays when the stream breaks."""
        corpus_id = request_id = ""
        async for message in request_iterator:
            if not corpus_id:
                corpus_id, request_id = _header(message)
                await asyncio.to_thread(self._backend.corpora.require, corpus_id)
            else:
                await asyncio.to_thread(self._write, corpus_id, request_id, _chunk(message))
        if not corpus_id:
            raise _header_missing()
        documents = await asyncio.to_thread(self._backend.uploads.status, corpus_id, request_id)
        return corpus_pb2.UploadDocumentsResponse(
            document_count=sum(one.finished for one in documents),
            byte_count=sum(one.committed_bytes for one in documents),
        )

    async def GetUpload(
        self, request: corpus_pb2.GetUploadRequest, context: Any
    ) -> corpus_pb2.Upload:
        """How far an upload has come; one that was never begun has no documents."""
        corpus_id = ids.parse_corpus_name(request.corpus, "corpus")
        request_id = ids.parse_request_id(request.request_id)
        if not request_id:
            raise fail(
                "INVALID_VALUE",
                "request_id: it is empty; give the one of the upload's header",
                field="request_id",
            )
        documents = await asyncio.to_thread(self._backend.uploads.status, corpus_id, request_id)
        return wire.upload(corpus_id, request_id, documents)

    async def ListDocuments(
        self, request: corpus_pb2.ListDocumentsRequest, context: Any
    ) -> corpus_pb2.ListDocumentsResponse:
        """A page of documents."""
        corpus_id = ids.parse_corpus_name(request.parent, "parent")
        documents, token = await asyncio.to_thread(
            self._backend.corpora.list_documents, corpus_id, request.page_size, request.page_token
        )
        return corpus_pb2.ListDocumentsResponse(
            documents=[wire.document(one) for one in documents], next_page_token=token
        )

    async def DeleteDocument(
        self, request: corpus_pb2.DeleteDocumentRequest, context: Any
    ) -> Empty:
        """Remove one document."""
        corpus_id = ids.parse_corpus_name(request.corpus, "corpus")
        document_id = ids.parse_document_id(request.document_id, limits=self._backend.limits)
        await asyncio.to_thread(self._backend.corpora.delete_document, corpus_id, document_id)
        return Empty()

    async def IndexCorpus(
        self, request: corpus_pb2.IndexCorpusRequest, context: Any
    ) -> operations_pb2.Operation:
        """Start to index; an operation that is done at once where the index is up to date and whole."""
        corpus_id = ids.parse_corpus_name(request.name)
        stored = await asyncio.to_thread(
            self._backend.requests.once,
            "IndexCorpus",
            request.request_id,
            _body(request),
            lambda: self._index(corpus_id).SerializeToString(),
        )
        fail_point("job.ordered")
        return operations_pb2.Operation.FromString(stored)

    async def GetCorpus(
        self, request: corpus_pb2.GetCorpusRequest, context: Any
    ) -> corpus_pb2.Corpus:
        """One corpus."""
        corpus_id = ids.parse_corpus_name(request.name)

        def look() -> corpus_pb2.Corpus:
            corpus = self._backend.corpora.get(corpus_id)
            return wire.corpus(corpus, self._backend.indexes.dense(corpus))

        return await asyncio.to_thread(look)

    async def ListCorpora(
        self, request: corpus_pb2.ListCorporaRequest, context: Any
    ) -> corpus_pb2.ListCorporaResponse:
        """A page of corpora."""
        corpora, token = await asyncio.to_thread(
            self._backend.corpora.list, request.page_size, request.page_token
        )
        return corpus_pb2.ListCorporaResponse(
            corpora=[wire.corpus(one) for one in corpora], next_page_token=token
        )

    async def DeleteCorpus(self, request: corpus_pb2.DeleteCorpusRequest, context: Any) -> Empty:
        """Remove a corpus and everything made of it."""
        corpus_id = ids.parse_corpus_name(request.name)
        await asyncio.to_thread(self._delete, corpus_id, request.etag, request.force)
        await self._backend.residents.evict(corpus_id)
        return Empty()

    def _write(self, corpus_id: str, request_id: str, chunk: corpus_pb2.DocumentChunk) -> None:
        ids.parse_document_id(chunk.document_id, limits=self._backend.limits)
        try:
            self._backend.uploads.write(
                corpus_id,
                request_id,
                chunk.document_id,
                chunk.offset,
                chunk.data,
                crc32c=chunk.crc32c,
                finish=chunk.finish_document,
                sha256=chunk.sha256,
            )
        except ServiceError as error:
            raise _of_document(error, chunk.document_id) from None

    def _index(self, corpus_id: str) -> operations_pb2.Operation:
        corpus, jobs = self._backend.corpora.get(corpus_id), self._backend.jobs
        is_current = corpus.state is CorpusState.READY and corpus.document_count
        if is_current and self._backend.indexes.is_whole(corpus):
            return self._indexed(corpus)
        with jobs.transaction():  # no corpus is INDEXING without the job that ends it
            # Not when it is INDEXING already: a worker that is just done must not be overwritten.
            if corpus.state is not CorpusState.INDEXING or not corpus.document_count:
                self._backend.corpora.mark_indexing(corpus_id)
            fail_point("index.marked")
            # The digest makes changed content another job, which no unfinished one stands for.
            wanted = {"corpus_digest": corpus.content_digest}
            job = jobs.enqueue(JobKind.INDEX, corpus_id, ids.corpus_name(corpus_id), wanted)
        self._backend.supervisor.wake()
        return wire.operation(job)

    def _indexed(self, corpus: Corpus) -> operations_pb2.Operation:
        recent, _ = self._backend.jobs.list(corpus_id=corpus.id)
        for job in recent:
            if job.kind is JobKind.INDEX and job.state is JobState.SUCCEEDED:
                return wire.operation(job, corpus)
        return wire.indexed_already(corpus)

    def _delete(self, corpus_id: str, etag: str, force: bool) -> None:
        backend = self._backend
        listed, _ = backend.shelf.list(corpus_id, page_size=2)
        if not force and any(one.id != INSTANT for one in listed):
            raise fail(
                "CORPUS_HAS_CARTRIDGES",
                f"the corpus '{corpus_id}' has cartridges; delete them first, or set force",
                field="force",
                corpus_id=corpus_id,
            )
        # Listed before the deletion: a corpus of the same name made right after it keeps its jobs.
        unfinished = self._unfinished_jobs(corpus_id)
        deleted = backend.corpora.delete(corpus_id, etag)
        fail_point("corpus.deleted")
        for job_id in unfinished:
            backend.jobs.cancel(job_id)
        backend.uploads.forget(corpus_id)
        backend.artifacts.forget_corpus(deleted)

    def _unfinished_jobs(self, corpus_id: str) -> list[str]:
        jobs = self._backend.jobs
        found = all_pages(lambda token: jobs.list(page_token=token, corpus_id=corpus_id))
        return [job.id for job in found if not job.state.is_final]


def _body(request: Any) -> bytes:
    body: bytes = request.SerializeToString(deterministic=True)
    return body


def _header(message: corpus_pb2.UploadDocumentsRequest) -> tuple[str, str]:
    if message.WhichOneof("payload") != "header":
        raise _header_missing()
    corpus_id = ids.parse_corpus_name(message.header.corpus, "header.corpus")
    request_id = ids.parse_request_id(message.header.request_id, "header.request_id")
    return corpus_id, request_id or str(uuid.uuid4())


def _chunk(message: corpus_pb2.UploadDocumentsRequest) -> corpus_pb2.DocumentChunk:
    if message.WhichOneof("payload") != "chunk":
        raise fail(
            "INVALID_VALUE", "chunk: it is not set; send chunks after the header", field="chunk"
        )
    return message.chunk


def _header_missing() -> ServiceError:
    return fail(
        "UPLOAD_HEADER_MISSING",
        "header: the first message must hold it; begin the upload with its corpus",
        field="header",
    )


def _of_document(error: ServiceError, document_id: str) -> ServiceError:
    return ServiceError(
        error.code,
        error.reason,
        f"{quoted(document_id)}: {error.message}",
        field=error.field,
        metadata={**error.metadata, "document_id": document_id},
        retry_after_seconds=error.retry_after_seconds,
    )
