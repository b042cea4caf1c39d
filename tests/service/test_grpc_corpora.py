"""Corpora over the wire: what is stored, what is refused and why, what a repeat costs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.longrunning import operations_pb2
from grpc_room import UUIDS, GrpcRoom, chunk, header, open_room, refused
from longmemory.v1 import corpus_pb2, job_pb2

NAME = "corpora/books"


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[GrpcRoom]:
    async with open_room(tmp_path) as opened:
        yield opened


async def get(room: GrpcRoom, name: str = NAME) -> corpus_pb2.Corpus:
    return await room.corpora.GetCorpus(corpus_pb2.GetCorpusRequest(name=name))


async def index(room: GrpcRoom, request_id: str = "") -> operations_pb2.Operation:
    request = corpus_pb2.IndexCorpusRequest(name=NAME, request_id=request_id)
    return await room.corpora.IndexCorpus(request)


async def test_a_corpus_is_created_filled_and_read(room: GrpcRoom) -> None:
    made = await room.new_corpus()
    assert (made.name, made.state, made.content_digest) == (NAME, corpus_pb2.Corpus.STATE_OPEN, "")
    done = await room.upload(
        header(),
        chunk(b"Once "),
        chunk("ü".encode(), 5, finish=True),
        chunk(b"Hi", 0, True, document_id="b"),
    )
    assert (done.document_count, done.byte_count) == (2, 9)
    found = await get(room)
    assert (found.document_count, found.byte_count, found.char_count) == (2, 9, 8)
    assert len(found.content_digest) == 64
    listed = await room.corpora.ListDocuments(corpus_pb2.ListDocumentsRequest(parent=NAME))
    assert [one.id for one in listed.documents] == ["a.txt", "b"]
    await room.corpora.DeleteDocument(
        corpus_pb2.DeleteDocumentRequest(corpus=NAME, document_id="b")
    )
    assert (await get(room)).document_count == 1


async def test_pages_hold_every_corpus_once_and_a_strange_token_is_refused(room: GrpcRoom) -> None:
    for number in range(5):
        await room.new_corpus(f"books-{number}")
    seen, token = [], ""
    while True:
        page = await room.corpora.ListCorpora(
            corpus_pb2.ListCorporaRequest(page_size=2, page_token=token)
        )
        seen += [one.name for one in page.corpora]
        token = page.next_page_token
        if not token:
            break
    assert seen == [f"corpora/books-{number}" for number in (4, 3, 2, 1, 0)]
    first = await room.corpora.ListCorpora(corpus_pb2.ListCorporaRequest(page_size=2))
    request = corpus_pb2.ListDocumentsRequest(
        parent="corpora/books-1", page_token=first.next_page_token
    )
    found = await refused(room.corpora.ListDocuments(request))
    assert (found.reason, found.field) == ("PAGE_TOKEN_INVALID", "page_token")


async def test_what_is_not_there_or_misnamed_is_refused_with_its_reason(room: GrpcRoom) -> None:
    found = await refused(get(room, "corpora/Not An Id"))
    assert (found.code, found.reason, found.field) == ("INVALID_ARGUMENT", "MALFORMED_ID", "name")
    found = await refused(get(room))
    assert (found.code, found.reason) == ("NOT_FOUND", "CORPUS_NOT_FOUND")
    await room.new_corpus()
    found = await refused(room.new_corpus())
    assert (found.code, found.reason) == ("ALREADY_EXISTS", "CORPUS_EXISTS")
    request = corpus_pb2.DeleteDocumentRequest(corpus=NAME, document_id="b")
    found = await refused(room.corpora.DeleteDocument(request))
    assert (found.reason, found.metadata["document_id"]) == ("DOCUMENT_NOT_FOUND", "b")


@pytest.mark.parametrize(
    ("reason", "code", "messages"),
    [
        ("DOCUMENT_NOT_UTF8", "INVALID_ARGUMENT", [header(), chunk(b"a\xff", 0, True)]),
        ("DOCUMENT_EMPTY", "INVALID_ARGUMENT", [header(), chunk(b" \n", 0, True)]),
        (
            "DOCUMENT_TOO_LARGE",
            "INVALID_ARGUMENT",
            [header(), *(chunk(b"a" * 1024, 1024 * part) for part in range(5))],
        ),
        ("REQUEST_TOO_LARGE", "INVALID_ARGUMENT", [header(), chunk(b"a" * 1025)]),
        ("UPLOAD_CRC_MISMATCH", "DATA_LOSS", [header(), chunk(b"abc", crc32c=7)]),
        ("UPLOAD_DIGEST_MISMATCH", "DATA_LOSS", [header(), chunk(b"a", 0, True, sha256="0" * 64)]),
        ("UPLOAD_OFFSET_GAP", "OUT_OF_RANGE", [header(), chunk(b"abc", 3)]),
        ("UPLOAD_HEADER_MISSING", "INVALID_ARGUMENT", [chunk(b"abc")]),
        ("UPLOAD_HEADER_MISSING", "INVALID_ARGUMENT", []),
        ("INVALID_VALUE", "INVALID_ARGUMENT", [header(), header()]),
        ("MALFORMED_ID", "INVALID_ARGUMENT", [header(), chunk(b"a", document_id="../a")]),
        ("CORPUS_NOT_FOUND", "NOT_FOUND", [header("other")]),
    ],
)
async def test_an_upload_is_refused_with_its_reason(
    room: GrpcRoom, reason: str, code: str, messages: list[corpus_pb2.UploadDocumentsRequest]
) -> None:
    await room.new_corpus()
    found = await refused(room.upload(*messages))
    assert (found.reason, found.code) == (reason, code)
    if reason.startswith("DOCUMENT"):
        assert found.metadata["document_id"] == "a.txt"


async def test_a_broken_upload_goes_on_where_it_stopped(room: GrpcRoom) -> None:
    await room.new_corpus()
    call = room.corpora.UploadDocuments()
    await call.write(header(request_id=UUIDS[1]))
    await call.write(chunk(b"Once upon "))
    wanted = corpus_pb2.GetUploadRequest(corpus=NAME, request_id=UUIDS[1])
    for _ in range(200):
        documents = (await room.corpora.GetUpload(wanted)).documents
        if documents and documents[0].committed_bytes:
            break
        await asyncio.sleep(0.01)
    call.cancel()
    (begun,) = (await room.corpora.GetUpload(wanted)).documents
    assert (begun.document_id, begun.committed_bytes, begun.finished) == ("a.txt", 10, False)
    await room.upload(header(request_id=UUIDS[1]), chunk(b"a time", 10, finish=True))
    assert room.backend.corpora.read_document("books", "a.txt") == "Once upon a time"
    (done,) = (await room.corpora.GetUpload(wanted)).documents
    assert (done.committed_bytes, done.finished) == (16, True)


async def test_an_empty_corpus_is_not_indexed(room: GrpcRoom) -> None:
    await room.new_corpus()
    found = await refused(index(room))
    assert (found.code, found.reason) == ("FAILED_PRECONDITION", "CORPUS_EMPTY")
    assert room.notes.wakes == 0


async def test_a_damaged_index_is_made_again_when_that_is_asked_for(room: GrpcRoom) -> None:
    await room.filled()
    room.index()
    assert (await index(room)).done
    room.indexes.whole = False
    assert not (await index(room)).done
    corpus = await get(room)
    assert corpus.state == corpus_pb2.Corpus.STATE_INDEXING
    assert corpus.indexed_digest == corpus.content_digest
    assert room.backend.jobs.claim("worker") is not None


async def test_a_corpus_tells_how_its_vectors_are_searched(room: GrpcRoom) -> None:
    await room.filled()
    assert not (await get(room)).HasField("dense_search")
    room.index()
    found = (await get(room)).dense_search
    assert (found.lists, found.probes, found.recall) == (1264, 16, 0.99)
    (listed,) = (await room.corpora.ListCorpora(corpus_pb2.ListCorporaRequest())).corpora
    assert not listed.HasField("dense_search")


async def test_indexing_the_same_text_again_costs_nothing(room: GrpcRoom) -> None:
    await room.filled()
    first, again = await index(room), await index(room)
    assert first.name == again.name
    assert not first.done
    assert room.notes.wakes == 2
    assert (await get(room)).state == corpus_pb2.Corpus.STATE_INDEXING
    metadata = job_pb2.JobMetadata()
    first.metadata.Unpack(metadata)
    assert (metadata.kind, metadata.target) == ("index", NAME)
    assert metadata.phase == job_pb2.JobMetadata.PHASE_QUEUED

    job = room.backend.jobs.claim("worker")
    assert job is not None
    room.index()
    room.backend.jobs.finish(job.id, job.token, {})
    done, made = await index(room), corpus_pb2.Corpus()
    assert (done.name, done.done) == (first.name, True)
    assert done.response.Unpack(made)
    assert (made.state, made.token_count) == (corpus_pb2.Corpus.STATE_READY, 9)

    room.backend.jobs.delete(job.id)
    forgotten = await index(room)
    assert forgotten.done
    assert room.backend.jobs.claim("worker") is None

    await room.upload(header(), chunk(b"Other text", finish=True))
    changed = await index(room)
    assert not changed.done
    assert changed.name != first.name


async def test_a_repeated_request_runs_once(room: GrpcRoom) -> None:
    request = corpus_pb2.CreateCorpusRequest(
        corpus_id="books", corpus=corpus_pb2.Corpus(display_name="B"), request_id=UUIDS[2]
    )
    first, second = await asyncio.gather(
        room.corpora.CreateCorpus(request), room.corpora.CreateCorpus(request)
    )
    assert first == second
    request.corpus.display_name = "Other"
    found = await refused(room.corpora.CreateCorpus(request))
    assert (found.reason, found.field) == ("REQUEST_ID_REUSED", "request_id")


async def test_an_indexing_request_runs_once(room: GrpcRoom) -> None:
    await room.filled()
    first = await index(room, UUIDS[3])
    await room.operations.CancelOperation(operations_pb2.CancelOperationRequest(name=first.name))
    assert await index(room, UUIDS[3]) == first
    assert (await index(room, UUIDS[4])).name != first.name


async def test_a_deleted_corpus_takes_its_jobs_along(room: GrpcRoom) -> None:
    await room.filled()
    operation = await index(room)
    stale = corpus_pb2.DeleteCorpusRequest(name=NAME, etag="old")
    found = await refused(room.corpora.DeleteCorpus(stale))
    assert (found.code, found.reason) == ("ABORTED", "CORPUS_ETAG_MISMATCH")
    await room.corpora.DeleteCorpus(corpus_pb2.DeleteCorpusRequest(name=NAME))
    assert [one.corpus_id for one in room.notes.corpora] == ["books"]
    ended = await room.operations.GetOperation(
        operations_pb2.GetOperationRequest(name=operation.name)
    )
    assert ended.done
    assert ended.error.code == grpc.StatusCode.CANCELLED.value[0]
    assert (await refused(get(room))).reason == "CORPUS_NOT_FOUND"


async def test_a_corpus_is_not_indexing_where_its_job_could_not_be_queued(
    room: GrpcRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    await room.filled()

    def killed(*_: object) -> None:
        raise OSError("as by a kill")

    monkeypatch.setattr(room.backend.jobs, "enqueue", killed)
    with pytest.raises(grpc.aio.AioRpcError):
        await index(room)
    assert (await get(room)).state == corpus_pb2.Corpus.STATE_OPEN
    monkeypatch.undo()
    assert (await index(room)).name
