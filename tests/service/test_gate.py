"""A full server says so before it looks at a call, and lets through what asks nothing of the model."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from google.longrunning import operations_pb2
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_room import GrpcRoom, open_room, refusal, refused
from longmemory.v1 import corpus_pb2, query_pb2, query_pb2_grpc

from service.admission import Admission
from service.http.door import DoorAddress, beside
from service.limits import Limits
from service.rpc.gate import ASKING
from service.rpc.server import ServerConfig, start
from service.telemetry.observer import Nobody

QUERY = query_pb2.QueryRequest(corpus="corpora/nowhere", query="Who?")


@dataclass
class Counting(Nobody):
    refusals: Counter[str] = field(default_factory=Counter)
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)

    def rejected(self, reason: str) -> None:
        self.refusals[reason] += 1

    def call_ended(self, method: str, code: str, seconds: float) -> None:
        self.calls[method.rpartition("/")[2], code] += 1


@dataclass
class Gated:
    """A server with an admission of its own, two questions wide."""

    room: GrpcRoom
    admission: Admission
    counted: Counting
    channel: Any
    queries: Any

    @property
    def full(self) -> ExitStack:
        with ExitStack() as places:
            for _ in range(2):
                places.enter_context(self.admission.admit(1000))
            return places.pop_all()


@pytest.fixture
async def gated(tmp_path: Path) -> AsyncIterator[Gated]:
    async with open_room(tmp_path) as room, _gated(room) as made:
        yield made


@asynccontextmanager
async def _gated(room: GrpcRoom) -> AsyncIterator[Gated]:
    admission, counted = Admission(Limits(max_queue=2), places=1), Counting()
    backend = replace(room.backend, require_open=admission.require_open, observer=counted)
    server = await start(ServerConfig("127.0.0.1:0"), backend)
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = query_pb2_grpc.QueryServiceStub(channel)
        yield Gated(room, admission, counted, channel, stub)
    await server.stop()


async def _no_message() -> AsyncIterator[query_pb2.QueryTextRequest]:
    for message in ():
        yield message


async def _all(stream: Any) -> list[Any]:
    return [message async for message in stream]


async def test_all_that_asks_the_model_is_refused_unread_with_the_time_to_wait(
    gated: Gated,
) -> None:
    stub = gated.queries
    asked = {
        "Query": lambda: stub.Query(QUERY),
        "StreamQuery": lambda: _all(stub.StreamQuery(query_pb2.StreamQueryRequest(query=QUERY))),
        "ExplainRoute": lambda: stub.ExplainRoute(query_pb2.ExplainRouteRequest()),
        "Retrieve": lambda: stub.Retrieve(query_pb2.RetrieveRequest(query=QUERY)),
        "QueryText": lambda: _all(stub.QueryText(_no_message())),
    }
    assert {f"/longmemory.v1.QueryService/{method}" for method in asked} == ASKING
    with gated.full:
        for ask in asked.values():
            found = await refused(ask())  # type: ignore[no-untyped-call]
            # Neither the unknown corpus nor the missing question is told: nothing was read.
            assert (found.code, found.reason) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL")
            retry = error_details_pb2.RetryInfo()
            assert found.status.details[1].Unpack(retry)
            assert retry.retry_delay.ToTimedelta().total_seconds() == pytest.approx(20, rel=0.01)
    assert (await refused(stub.Query(QUERY))).reason == "CORPUS_NOT_FOUND"
    while ("Query", "NOT_FOUND") not in gated.counted.calls:  # a call is counted behind its answer
        await asyncio.sleep(0.01)
    assert gated.counted.refusals == {"QUEUE_FULL": 5, "CORPUS_NOT_FOUND": 1}
    assert gated.counted.calls == {
        **{(method, "RESOURCE_EXHAUSTED"): 1 for method in asked},
        ("Query", "NOT_FOUND"): 1,
    }


async def test_a_refusal_carries_its_request_id(gated: Gated) -> None:
    with gated.full:
        call = gated.queries.Query(QUERY, metadata=(("x-request-id", "trace-1"),))
        await refused(call)
    assert dict(await call.trailing_metadata())["x-request-id"] == "trace-1"


async def test_a_deadline_shorter_than_the_wait_is_refused_at_the_gate(gated: Gated) -> None:
    with gated.admission.admit(1000):  # twenty seconds at the pace that is assumed at first
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gated.queries.Query(QUERY, timeout=5)
        assert refusal(caught.value).reason == "DEADLINE_TOO_SHORT"
        assert (await refused(gated.queries.Query(QUERY, timeout=60))).reason == "CORPUS_NOT_FOUND"


async def test_health_corpora_and_jobs_pass_a_full_server(gated: Gated) -> None:
    await gated.room.new_corpus("books")
    corpora = gated.channel.unary_unary(
        "/longmemory.v1.CorpusService/ListCorpora",
        request_serializer=corpus_pb2.ListCorporaRequest.SerializeToString,
        response_deserializer=corpus_pb2.ListCorporaResponse.FromString,
    )
    operations = gated.channel.unary_unary(
        "/google.longrunning.Operations/ListOperations",
        request_serializer=operations_pb2.ListOperationsRequest.SerializeToString,
        response_deserializer=operations_pb2.ListOperationsResponse.FromString,
    )
    with gated.full:
        health = health_pb2_grpc.HealthStub(gated.channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == 1
        assert len((await corpora(corpus_pb2.ListCorporaRequest())).corpora) == 1
        await operations(operations_pb2.ListOperationsRequest())


async def test_over_http_too_a_full_server_refuses_a_question_before_its_body(
    gated: Gated,
) -> None:
    async def embed(texts: object) -> None:
        raise AssertionError("nobody asks for vectors")

    backend = replace(gated.room.backend, require_open=gated.admission.require_open)
    door = beside(backend, embed, DoorAddress("127.0.0.1:0"))  # type: ignore[arg-type]
    host, _, port = (await door.start()).removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    with gated.full:
        writer.write(
            b'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"'
        )
        said = await asyncio.wait_for(reader.readuntil(b"}"), 30)
    assert b" 429 " in said
    assert b"QUEUE_FULL" in said
    writer.close()
    await door.stop(0.0, 0.0)


async def test_a_flood_of_refusals_is_counted_and_not_written_down_call_by_call(
    gated: Gated,
) -> None:
    with structlog.testing.capture_logs() as lines, gated.full:
        for _ in range(100):
            await refused(gated.queries.Query(QUERY))
    told = [line for line in lines if line["event"] == "calls refused"]
    assert len(lines) == len(told) < 50  # one a second
    assert (told[0]["refused"], told[0]["calls"]) == ("QUEUE_FULL", 1)
    assert gated.counted.refusals == {"QUEUE_FULL": 100}
