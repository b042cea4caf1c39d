"""A real grpc.aio server at port 0 over a real database, with an answerer that says fixed things."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c
import grpc
import pytest
import torch
from google.longrunning import operations_pb2_grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from longmemory.v1 import (
    cartridge_pb2_grpc,
    corpus_pb2,
    corpus_pb2_grpc,
    info_pb2_grpc,
    job_pb2_grpc,
    query_pb2_grpc,
)

from cartridges.store import Cartridge
from engine.answer_row import FinishReason
from engine.prefix import KVPrefix
from retrieval.corpus_index import Evidence
from service.answers import (
    AnswerEvent,
    Decision,
    Delta,
    Fallback,
    Question,
    ReadSoFar,
    Route,
    Summary,
    Usage,
)
from service.library import Loaded
from service.limits import Limits
from service.routes import PreparedContext
from service.rpc.backend import Backend
from service.rpc.info_service import ServerInfo
from service.rpc.running_server import RunningServer
from service.rpc.server import ServerConfig, start
from service.state.cartridge_shelf import CartridgeRecord, CartridgeShelf, CartridgeState
from service.state.catalog import CatalogDense
from service.state.content import ContentStore
from service.state.corpora import Corpora
from service.state.corpus import Corpus, DeletedCorpus
from service.state.jobs import Jobs
from service.state.outcomes import tell_unmade
from service.state.outcomes_log import OutcomesLog
from service.state.requests import Requests
from service.state.sqlite_store import SqliteStore
from service.state.store import Store
from service.state.uploads import Uploads
from service.text_answering import TextEvent, TextQuestion

LIMITS = Limits(
    max_chunk_bytes=1024,
    max_document_bytes=4096,
    max_question_chars=100,
    max_output_tokens=256,
    max_cartridge_tokens=2000,
)
INFO = ServerInfo("0.1.0", "toy", "f" * 64, "cpu", "float32", 2048, "toy-embedder", 1)
UUIDS = tuple(f"00000000-0000-4000-8000-{number:012d}" for number in range(10))
DECISION = Decision(
    Route.CARTRIDGE,
    Route.AUTO,
    "CARTRIDGE_READY",
    "A cartridge fits.",
    {"corpus_tokens": 9.0},
    "cart-one",
    (Fallback(Route.CRAG, "NO_INDEX", "There is none."),),
)
SPAN = Evidence("a.txt", 0, 4, 0.5, "Once")
USAGE = Usage(5, 7, 2, 0.25, 0.5, 0.75, 1.5)


@dataclass
class FixedAnswerer:
    """Yields the same events for every question; `error` comes before them, `hang` after the third.

    An entry of `events` that is an exception is raised in its place.
    """

    events: tuple[AnswerEvent, ...] = (
        DECISION,
        (SPAN,),
        Delta("Once ", (1,)),
        Delta("upon", (2, 3)),
        Summary(FinishReason.STOP, USAGE),
    )
    error: Exception | None = None
    error_at: int = 0
    hang: bool = False
    asked: list[Question] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def decide(self, question: Question) -> Decision:
        self.asked.append(question)
        if self.error:
            raise self.error
        return DECISION

    async def answer(self, question: Question) -> AsyncIterator[AnswerEvent]:
        self.asked.append(question)
        try:
            for number, event in enumerate(self.events):
                if self.error and number == self.error_at:
                    raise self.error
                if self.hang and number == 3:
                    await asyncio.sleep(60)
                await asyncio.sleep(0.01)
                yield event
        finally:
            self.closed.set()

    async def retrieve(self, question: Question) -> tuple[Decision, PreparedContext]:
        self.asked.append(question)
        if self.error:
            raise self.error
        behind = Evidence("b.txt", 0, 3, 0.1, "Two")
        return DECISION, PreparedContext(None, (1,), (SPAN,), "", (SPAN, behind))


@dataclass
class FixedTextAnswerer:
    """Reads its text to the end and says so, then one piece of evidence and of answer."""

    asked: list[TextQuestion] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(
        self, question: TextQuestion, text: AsyncIterator[str]
    ) -> AsyncIterator[TextEvent]:
        self.asked.append(question)
        try:
            async for piece in text:
                self.read.append(piece)
                yield ReadSoFar(len(self.read), len(piece))
            yield (SPAN,)
            yield Delta("Once", (1,))
            yield Summary(FinishReason.STOP, USAGE)
        finally:
            self.closed.set()


@dataclass
class Notes:
    """Stands for supervisor and artifacts; remembers what it was told."""

    wakes: int = 0
    corpora: list[DeletedCorpus] = field(default_factory=list)
    cartridges: list[CartridgeRecord] = field(default_factory=list)

    def wake(self) -> None:
        self.wakes += 1

    def forget_corpus(self, deleted: DeletedCorpus) -> None:
        self.corpora.append(deleted)

    def forget_cartridge(self, deleted: CartridgeRecord) -> None:
        self.cartridges.append(deleted)


@dataclass
class FixedResidents:
    """A memory that holds what was warmed."""

    limit_bytes: int = 1000
    loaded: list[Loaded] = field(default_factory=list)

    async def warm(self, record: CartridgeRecord, part: int) -> Loaded:
        rows = torch.zeros(1, 1, 2, 4)
        cartridge = Cartridge(KVPrefix(rows, rows, 2), None, part)  # type: ignore[arg-type]
        self.loaded.append(Loaded(record.corpus_id, record.id, cartridge, hits=3))
        return self.loaded[-1]

    async def evict(self, corpus_id: str, cartridge_id: str = "") -> int:
        kept = [
            one
            for one in self.loaded
            if one.corpus_id != corpus_id or cartridge_id not in ("", one.cartridge_id)
        ]
        dropped, self.loaded = len(self.loaded) - len(kept), kept
        return dropped

    async def all(self) -> tuple[Loaded, ...]:
        return tuple(self.loaded)


@dataclass
class FixedIndexes:
    """Files that are whole until a test says that they are not."""

    whole: bool = True

    def dense(self, corpus: Corpus) -> CatalogDense | None:
        return CatalogDense(1264, 16, 0.99, 100_000, "ab") if corpus.indexed_digest else None

    def is_whole(self, corpus: Corpus) -> bool:
        return self.whole


@dataclass
class GrpcRoom:
    backend: Backend
    server: RunningServer
    channel: grpc.aio.Channel
    answerer: FixedAnswerer
    notes: Notes
    indexes: FixedIndexes
    corpora: Any
    cartridges: Any
    jobs: Any
    queries: Any
    info: Any
    operations: Any

    async def new_corpus(self, corpus_id: str = "books") -> corpus_pb2.Corpus:
        request = corpus_pb2.CreateCorpusRequest(corpus_id=corpus_id, corpus=corpus_pb2.Corpus())
        return await self.corpora.CreateCorpus(request)

    async def filled(self, corpus_id: str = "books", text: bytes = b"Once upon a time") -> None:
        await self.new_corpus(corpus_id)
        await self.upload(header(corpus_id), chunk(text, finish=True))

    def index(self, corpus_id: str = "books", tokens: int = 9) -> None:
        """What a worker would record."""
        corpora = self.backend.corpora
        corpora.mark_ready(corpus_id, corpora.get(corpus_id).content_digest, tokens, 1)

    async def upload(
        self, *messages: corpus_pb2.UploadDocumentsRequest
    ) -> corpus_pb2.UploadDocumentsResponse:
        return await self.corpora.UploadDocuments(_each(messages))


async def _each(messages: Iterable[Any]) -> AsyncIterator[Any]:
    for message in messages:
        yield message


def header(corpus_id: str = "books", request_id: str = "") -> corpus_pb2.UploadDocumentsRequest:
    made = corpus_pb2.UploadHeader(corpus=f"corpora/{corpus_id}", request_id=request_id)
    return corpus_pb2.UploadDocumentsRequest(header=made)


def chunk(
    data: bytes, offset: int = 0, finish: bool = False, **changes: Any
) -> corpus_pb2.UploadDocumentsRequest:
    values = {"document_id": "a.txt", "crc32c": google_crc32c.value(data)} | changes
    made = corpus_pb2.DocumentChunk(offset=offset, data=data, finish_document=finish, **values)
    return corpus_pb2.UploadDocumentsRequest(chunk=made)


@asynccontextmanager
async def open_room(folder: Path, store: Store | None = None) -> AsyncIterator[GrpcRoom]:
    store, content = store or SqliteStore(folder / "state.sqlite3"), ContentStore(folder)
    corpora, shelf = Corpora(store, content, LIMITS), CartridgeShelf(store, LIMITS)
    answerer, text_answerer, notes = FixedAnswerer(), FixedTextAnswerer(), Notes()
    indexes = FixedIndexes()
    backend = Backend(
        corpora=corpora,
        uploads=Uploads(store, content, corpora, LIMITS, folder / "uploads"),
        jobs=Jobs(store, limits=LIMITS, on_unmade=tell_unmade(corpora, shelf)),
        shelf=shelf,
        requests=Requests(store),
        outcomes=OutcomesLog(store),
        limits=LIMITS,
        answerer=answerer,
        text_answerer=text_answerer,
        count_tokens=lambda text: len(text.split()),
        supervisor=notes,
        artifacts=notes,
        residents=FixedResidents(),
        staleness=lambda record: 0.25 if record.state is CartridgeState.STALE else 0.0,
        info=INFO,
        indexes=indexes,
    )
    server = await start(ServerConfig("127.0.0.1:0"), backend)
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield GrpcRoom(
            backend,
            server,
            channel,
            answerer,
            notes,
            indexes,
            corpus_pb2_grpc.CorpusServiceStub(channel),
            cartridge_pb2_grpc.CartridgeServiceStub(channel),
            job_pb2_grpc.JobServiceStub(channel),
            query_pb2_grpc.QueryServiceStub(channel),
            info_pb2_grpc.InfoServiceStub(channel),
            operations_pb2_grpc.OperationsStub(channel),
        )
    await server.stop()
    store.close()


@dataclass(frozen=True)
class Refusal:
    """An error as a client reads it."""

    code: str
    reason: str
    field: str
    message: str
    metadata: dict[str, str]
    status: status_pb2.Status


async def refused(call: Awaitable[Any]) -> Refusal:
    """The error that a call ends with; fails the test when it does not."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal(caught.value)


def refusal(error: grpc.aio.AioRpcError) -> Refusal:
    status = rpc_status.from_call(error)
    assert status is not None, error
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert info.domain == "longmemory.v1"
    for detail in status.details:
        detail.Unpack(bad)
    field = bad.field_violations[0].field if bad.field_violations else ""
    assert info.metadata["field"] == field
    code = error.code().name
    return Refusal(code, info.reason, field, status.message, dict(info.metadata), status)
