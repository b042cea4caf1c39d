"""A whole service in this process over a real state, a real channel and a real worker, with tenants."""

import asyncio
import io
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import google_crc32c
import grpc
import structlog
from google.longrunning import operations_pb2, operations_pb2_grpc
from longmemory.v1 import (
    cartridge_pb2,
    cartridge_pb2_grpc,
    corpus_pb2,
    corpus_pb2_grpc,
    job_pb2_grpc,
    query_pb2,
    query_pb2_grpc,
)
from process_room import metadata

from service.app import Service
from service.config import ServiceConfig
from service.http.door import DoorAddress, beside
from service.lease import Surroundings
from service.rpc.access import guarded
from service.rpc.backend import Backend
from service.rpc.server import RunningServer, ServerConfig, start
from service.telemetry.logs import LogSettings, configure_logs
from service.tokens import Role, TokenFile
from service.worker import Worker, WorkerSettings

UPLOAD = "00000000-0000-4000-8000-0000000000aa"
TEXTS = {
    "alpha": "The lamp of the north pier is tended by Wilhelmina. She lights it at dusk. "
    "Wilhelmina keeps the zanzibarite lens in a velvet box.",
    "beta": "The lamp of the south pier is tended by Bartholomew. He lights it at dawn. "
    "Bartholomew keeps the quarzolite lens in a wooden box.",
}
SECRETS = ("wilhelmina", "zanzibarite", "bartholomew", "quarzolite")

T = TypeVar("T")


@dataclass
class Member:
    """A tenant's caller: stubs that send its token, and what the service holds for it."""

    name: str
    secret: str
    room: "TenantRoom"
    channel: grpc.Channel

    @property
    def bearer(self) -> str:
        return f"Bearer {self.secret}"

    @property
    def corpora(self) -> Any:
        return corpus_pb2_grpc.CorpusServiceStub(self.channel)

    @property
    def cartridges(self) -> Any:
        return cartridge_pb2_grpc.CartridgeServiceStub(self.channel)

    @property
    def jobs(self) -> Any:
        return job_pb2_grpc.JobServiceStub(self.channel)

    @property
    def queries(self) -> Any:
        return query_pb2_grpc.QueryServiceStub(self.channel)

    @property
    def operations(self) -> Any:
        return operations_pb2_grpc.OperationsStub(self.channel)

    @property
    def data(self) -> Path:
        return self.room.data / "tenants" / self.name

    def backend(self) -> Backend:
        """The backend that this tenant's calls are lent."""

        async def lent() -> Backend:
            async with self.room.service.backends.use(self.name) as backend:
                return backend

        return self.room.run(lent())

    def library(self) -> Any:
        """What is loaded for this tenant."""
        return self.backend().residents._library  # type: ignore[attr-defined]

    def create(self, corpus_id: str, request_id: str = "") -> corpus_pb2.Corpus:
        made = corpus_pb2.CreateCorpusRequest(
            corpus_id=corpus_id, corpus=corpus_pb2.Corpus(), request_id=request_id
        )
        return self.corpora.CreateCorpus(made)

    def upload(
        self, corpus_id: str, document_id: str, data: bytes, sha256: str = "", request_id: str = ""
    ) -> Any:
        header = corpus_pb2.UploadHeader(corpus=f"corpora/{corpus_id}", request_id=request_id)
        chunk = corpus_pb2.DocumentChunk(
            document_id=document_id, data=data, crc32c=google_crc32c.value(data),
            finish_document=True, sha256=sha256,
        )  # fmt: skip
        messages = (
            corpus_pb2.UploadDocumentsRequest(header=header),
            corpus_pb2.UploadDocumentsRequest(chunk=chunk),
        )
        return self.corpora.UploadDocuments(iter(messages))

    def index(self, corpus_id: str) -> Any:
        return self.corpora.IndexCorpus(corpus_pb2.IndexCorpusRequest(name=f"corpora/{corpus_id}"))

    def train(self, corpus_id: str, cartridge_id: str = "cart-one") -> Any:
        return self.cartridges.TrainCartridge(
            cartridge_pb2.TrainCartridgeRequest(
                parent=f"corpora/{corpus_id}", cartridge_id=cartridge_id, prefix_tokens=8,
                max_steps=1, conversations=4,
            )
        )  # fmt: skip

    def fill(self, corpus_id: str, text: str) -> Any:
        """A new corpus of one document, indexed; the operation that did it."""
        self.create(corpus_id)
        self.upload(corpus_id, "a.txt", text.encode())
        operation = self.index(corpus_id)
        self.room.work()
        return self.ended(operation)

    def ended(self, operation: Any) -> Any:
        """An operation that has ended well."""
        now = self.operations.GetOperation(operations_pb2.GetOperationRequest(name=operation.name))
        assert now.done, now
        assert not now.HasField("error"), now.error
        return now

    def metrics(self, operation: Any) -> dict[str, float]:
        return dict(metadata(self.ended(operation)).metrics)

    def ask(self, corpus_id: str, text: str = "Who tends the lamp?", **more: Any) -> Any:
        config = query_pb2.GenerationConfig(max_output_tokens=3)
        return query_pb2.QueryRequest(
            corpus=f"corpora/{corpus_id}", query=text, generation_config=config, **more
        )

    def resident(self) -> list[str]:
        found = self.cartridges.GetResidency(cartridge_pb2.GetResidencyRequest())
        return [one.name for one in found.cartridges]

    def everything(self) -> bytes:
        """All that the tenant can list, as bytes."""
        listed: list[Any] = [
            self.corpora.ListCorpora(corpus_pb2.ListCorporaRequest()),
            self.cartridges.ListCartridges(cartridge_pb2.ListCartridgesRequest(parent="corpora/-")),
            self.operations.ListOperations(operations_pb2.ListOperationsRequest()),
            self.cartridges.GetResidency(cartridge_pb2.GetResidencyRequest()),
        ]
        for corpus in listed[0].corpora:
            listed.append(
                self.corpora.ListDocuments(corpus_pb2.ListDocumentsRequest(parent=corpus.name))
            )
            asked = corpus_pb2.GetUploadRequest(corpus=corpus.name, request_id=UPLOAD)
            listed.append(self.corpora.GetUpload(asked))
        return b"\n".join(one.SerializeToString(deterministic=True) for one in listed)


@dataclass
class TenantRoom:
    service: Service
    server: RunningServer
    door: str
    data: Path
    worker: Worker
    tokens: TokenFile
    log: io.StringIO
    loop: asyncio.AbstractEventLoop
    channels: list[grpc.Channel]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """On the server's own event loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def member(self, name: str, role: Role = Role.ADMIN) -> Member:
        """A caller of a tenant, with a token and a channel of its own."""
        _, secret = self.tokens.add(name, role)
        channel = grpc.insecure_channel(self.server.address)
        self.channels.append(channel)
        carrying = grpc.intercept_channel(channel, _Carrier(secret))
        return Member(name, secret, self, carrying)

    def work(self) -> None:
        """Does the jobs of all tenants."""
        self.worker.run()


class _Carrier(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):  # type: ignore[misc]
    """Puts a token into every call."""

    def __init__(self, secret: str) -> None:
        self._own = (("authorization", f"Bearer {secret}"),)

    def _carried(self, go_on: Any, details: Any, request: Any) -> Any:
        more = (*(details.metadata or ()), *self._own)
        return go_on(details._replace(metadata=more, timeout=details.timeout or 60), request)

    intercept_unary_unary = intercept_unary_stream = _carried
    intercept_stream_unary = intercept_stream_stream = _carried


@contextmanager
def tenant_room(data: Path, model: Path, state: str = "") -> Iterator[TenantRoom]:
    """A service that asks for tokens, with its doors open and a worker that waits to be called."""
    log = io.StringIO()
    configure_logs(LogSettings("json", "debug"), log)
    config = ServiceConfig(data, model=str(model), threads=1, state=state, instant_tokens=0)
    service = Service(config)
    tokens = TokenFile(data)
    access = guarded(service.backends.use, tokens, True)
    door = beside(service.backend, service.embed, DoorAddress("127.0.0.1:0"), access)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def opened() -> tuple[RunningServer, str]:
        server = await start(ServerConfig("127.0.0.1:0"), service.backend, access)
        return server, await door.start()

    async def closed() -> None:
        await door.stop(0.0, 0.0)
        await server.stop()

    channels: list[grpc.Channel] = []
    server, url = asyncio.run_coroutine_threadsafe(opened(), loop).result(30)
    settings = WorkerSettings(config.engine, state, instant_tokens=0, idle_seconds=0)
    worker = Worker(settings, Surroundings())
    try:
        yield TenantRoom(service, server, url, data, worker, tokens, log, loop, channels)
    finally:
        for channel in channels:
            channel.close()
        asyncio.run_coroutine_threadsafe(closed(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
        worker._queues._tenants._store.close()
        service.close()
        structlog.reset_defaults()
