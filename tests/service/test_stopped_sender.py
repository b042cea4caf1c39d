"""A client that stops in the middle of its request is dropped, told why, and gives its place back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from answering_room import build
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_room import LIMITS, UUIDS, GrpcRoom, chunk, header, open_room, refused
from longmemory.v1 import corpus_pb2, corpus_pb2_grpc, query_pb2, query_pb2_grpc

from engine.embedding import Embedder
from engine.model import LanguageModel
from service.errors import ServiceError
from service.http.door import DoorAddress, beside
from service.rpc.server import ServerConfig, start
from service.stopped_sender import sent

IMPATIENT = replace(LIMITS, sender_seconds=1)


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[GrpcRoom]:
    async with open_room(tmp_path) as opened:
        yield opened


@asynccontextmanager
async def impatient(room: GrpcRoom, **changes: Any) -> AsyncIterator[grpc.aio.Channel]:
    server = await start(
        ServerConfig("127.0.0.1:0"), replace(room.backend, limits=IMPATIENT, **changes)
    )
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield channel
    await server.stop()


async def stopping(*messages: Any) -> AsyncIterator[Any]:
    for message in messages:
        yield message
    await asyncio.sleep(60)


async def events(call: Any) -> list[Any]:
    return [event async for event in call]


async def test_a_text_that_comes_no_further_gives_its_place_to_the_next(
    room: GrpcRoom, tmp_path: Path, model: LanguageModel, embedder: Embedder
) -> None:
    real = build(tmp_path / "real", model, embedder)
    admission = real.text_answerer._admission
    question = query_pb2.TextQuery(query="Who keeps the lamp?")
    asked = query_pb2.QueryTextRequest(question=question)
    begun = query_pb2.QueryTextRequest(text="The keeper keeps the lamp. " * 9)
    async with impatient(room, text_answerer=real.text_answerer) as channel:
        stub = query_pb2_grpc.QueryServiceStub(channel)
        held = asyncio.create_task(refused(events(stub.QueryText(stopping(asked, begun)))))
        while not admission.under_way:
            await asyncio.sleep(0.01)
        found = await asyncio.wait_for(held, 30)
        assert (found.code, found.reason) == ("DEADLINE_EXCEEDED", "SENDER_STOPPED")
        assert found.metadata["seconds"] == "1"
        assert not admission.under_way
        unasked = await refused(events(stub.QueryText(stopping())))
        assert unasked.reason == "SENDER_STOPPED"
    real.thread.close()


async def test_an_upload_that_comes_no_further_ends_and_can_go_on(room: GrpcRoom) -> None:
    await room.new_corpus()
    async with impatient(room) as channel:
        stub = corpus_pb2_grpc.CorpusServiceStub(channel)
        half = stub.UploadDocuments(stopping(header(request_id=UUIDS[1]), chunk(b"Once ")))
        assert (await asyncio.wait_for(refused(half), 30)).reason == "SENDER_STOPPED"
    seen = await room.corpora.GetUpload(
        corpus_pb2.GetUploadRequest(corpus="corpora/books", request_id=UUIDS[1])
    )
    assert [one.committed_bytes for one in seen.documents] == [5]
    rest = chunk(b"upon", offset=5, finish=True)
    assert (await room.upload(header(request_id=UUIDS[1]), rest)).document_count == 1


async def test_a_tool_may_rest_between_two_looks_at_the_methods(room: GrpcRoom) -> None:
    look = reflection_pb2.ServerReflectionRequest(list_services="")
    async with impatient(room) as channel:
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        for pause in (1.5, 0):
            await call.write(look)
            assert (await call.read()).list_services_response.service
            await asyncio.sleep(pause)
        call.cancel()


async def test_a_body_over_http_that_comes_no_further_is_refused(room: GrpcRoom) -> None:
    async def embed(texts: object) -> None:
        raise AssertionError("nobody asks for vectors")

    backend = replace(room.backend, limits=IMPATIENT)
    door = beside(backend, embed, DoorAddress("127.0.0.1:0"))  # type: ignore[arg-type]
    host, _, port = (await door.start()).removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"')
    said = await asyncio.wait_for(reader.readuntil(b"}"), 30)
    assert b" 408 " in said
    assert b"BODY_TOO_SLOW" in said
    writer.close()
    await door.stop(0.0, 0.0)


async def test_only_the_waiting_for_a_sender_counts() -> None:
    async def prompt() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    came = []
    async for number in sent(prompt(), 0.05):
        await asyncio.sleep(0.1)
        came.append(number)
    assert came == [0, 1, 2]
    with pytest.raises(ServiceError, match=r"0\.05 seconds"):
        await anext(sent(stopping(), 0.05))
