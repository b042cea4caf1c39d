"""A client that reads no further is dropped, told why, and holds nothing."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_room import DECISION, GrpcRoom, open_room, refusal
from longmemory.v1 import query_pb2, query_pb2_grpc

from service.answers import Delta
from service.errors import ServiceError
from service.http.door import DoorAddress, beside
from service.rpc.server import ServerConfig, start
from service.stopped_reader import taken

FLOOD = tuple(Delta("x" * 100_000, (1,)) for _ in range(200))  # more than any window holds
IMPATIENT = 1


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[GrpcRoom]:
    async with open_room(tmp_path) as opened:
        await opened.filled()
        opened.answerer.events = (DECISION, *FLOOD)
        yield opened


async def test_a_stream_that_is_read_no_further_ends_with_its_reason(room: GrpcRoom) -> None:
    limits = replace(room.backend.limits, reader_seconds=IMPATIENT)
    server = await start(ServerConfig("127.0.0.1:0"), replace(room.backend, limits=limits))
    asked = query_pb2.QueryRequest(corpus="corpora/books", query="Who?")
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = query_pb2_grpc.QueryServiceStub(channel)
        stream = stub.StreamQuery(query_pb2.StreamQueryRequest(query=asked))
        assert (await stream.read()).HasField("route")
        await asyncio.wait_for(room.answerer.closed.wait(), 30)  # and nothing more is generated
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _drain(stream)
    found = refusal(caught.value)
    assert (found.code, found.reason) == ("DEADLINE_EXCEEDED", "READER_STOPPED")
    await server.stop()


async def _drain(stream: Any) -> None:
    while await stream.read() is not grpc.aio.EOF:
        pass


async def test_a_stream_over_http_that_is_read_no_further_is_closed(room: GrpcRoom) -> None:
    async def embed(texts: object) -> None:
        raise AssertionError("nobody asks for vectors")

    limits = replace(room.backend.limits, reader_seconds=IMPATIENT)
    backend = replace(room.backend, limits=limits)
    door = beside(backend, embed, DoorAddress("127.0.0.1:0"))  # type: ignore[arg-type]
    host, _, port = (await door.start()).removeprefix("http://").partition(":")
    body = b'{"model":"memory/books","stream":true,"messages":[{"role":"user","content":"Who?"}]}'
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    reader, writer = await asyncio.open_connection(host, int(port), limit=1000)
    writer.write(head.encode() + body)
    assert b"200" in await reader.readline()
    await asyncio.wait_for(room.answerer.closed.wait(), 30)
    writer.close()
    await door.stop(0.0, 0.0)


async def test_what_is_taken_in_time_is_the_callers() -> None:
    async def send() -> str:
        return "sent"

    assert await taken(send(), 5) == "sent"
    with pytest.raises(ServiceError, match=r"0\.01 seconds") as caught:
        await taken(asyncio.Event().wait(), 0.01)
    assert caught.value.reason == "READER_STOPPED"
