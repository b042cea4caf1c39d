"""The server's life and its contract: health, reflection, open doors, required fields, the log."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
import structlog
from google.api import field_behavior_pb2
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_room import INFO, UUIDS, GrpcRoom, open_room, refusal, refused
from longmemory.v1 import corpus_pb2, info_pb2, query_pb2

from service.listen_address import is_loopback
from service.rpc.interceptors import CallInterceptor
from service.rpc.running_server import RunningServer
from service.rpc.server import SERVICE_NAMES, ServerConfig, serve, start


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[GrpcRoom]:
    async with open_room(tmp_path) as opened:
        await opened.new_corpus()
        yield opened


async def test_info_tells_what_runs(room: GrpcRoom) -> None:
    found = await room.info.GetInfo(info_pb2.GetInfoRequest())
    assert (found.model_name, found.window_tokens) == (INFO.model_name, INFO.window_tokens)


async def test_health_tells_of_each_service_until_the_stop(room: GrpcRoom) -> None:
    stub, request = health_pb2_grpc.HealthStub(room.channel), health_pb2.HealthCheckRequest
    for name in ("", *SERVICE_NAMES):
        assert (await stub.Check(request(service=name))).status == 1
    await room.server.set_serving("longmemory.v1.QueryService", False)
    assert (await stub.Check(request(service="longmemory.v1.QueryService"))).status == 2
    watch = stub.Watch(request(service=""))
    assert (await watch.read()).status == 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Check(request(service="unknown"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    stopping = asyncio.ensure_future(room.server.stop(drain_seconds=0.2))
    assert (await watch.read()).status == 2
    await stopping


async def test_reflection_lists_every_service(room: GrpcRoom) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(room.channel)
    call = stub.ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    answer = await call.read()
    await call.done_writing()
    found = {one.name for one in answer.list_services_response.service}
    assert set(SERVICE_NAMES) | {"grpc.health.v1.Health"} <= found


@pytest.mark.parametrize(
    ("address", "is_local"),
    [
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/tmp/x", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        (":1", False),
        ("example.com:1", False),
        ("10.0.0.1:1", False),
    ],
)
def test_only_this_machine_is_let_in_without_a_word(address: str, is_local: bool) -> None:
    assert is_loopback(address) == is_local
    if is_local:
        ServerConfig(address)
    else:
        with pytest.raises(ValueError, match="insecure"):
            ServerConfig(address)
        ServerConfig(address, insecure=True)


async def test_a_taken_port_is_refused(room: GrpcRoom) -> None:
    with pytest.raises(OSError, match="cannot listen"):
        await start(ServerConfig(room.server.address), room.backend)


async def test_a_signal_stops_in_order(room: GrpcRoom) -> None:
    closed: list[bool] = []
    app: Any = SimpleNamespace(backend=room.backend, close=lambda: closed.append(True))
    ready: asyncio.Future[RunningServer] = asyncio.get_running_loop().create_future()
    serving = asyncio.ensure_future(
        serve(ServerConfig("127.0.0.1:0", grace_seconds=0.1), app, ready.set_result)
    )
    server = await ready
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == 1
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving, 10)
    assert closed == [True]


async def test_every_call_is_one_line_without_its_question(room: GrpcRoom) -> None:
    question = query_pb2.QueryRequest(corpus="corpora/books", query="a secret question")
    with structlog.testing.capture_logs() as lines:
        call = room.queries.Query(question, metadata=(("x-request-id", "trace-1"),))
        await call
        trailing = dict(await call.trailing_metadata())
        question.corpus = "books"
        await refused(room.queries.Query(question))
    assert trailing["x-request-id"] == "trace-1"
    calls = [line for line in lines if line["event"] == "call"]
    assert [line["code"] for line in calls] == ["OK", "INVALID_ARGUMENT"]
    assert calls[0]["request_id"] == "trace-1"
    assert calls[0]["method"] == "/longmemory.v1.QueryService/Query"
    assert "secret" not in str(lines)


async def test_an_unforeseen_error_is_logged_with_its_trace(room: GrpcRoom) -> None:
    room.answerer.error = RuntimeError("broken")
    question = query_pb2.QueryRequest(corpus="corpora/books", query="Who?")
    with structlog.testing.capture_logs() as lines:
        found = await refused(room.queries.Query(question))
    (line,) = (line for line in lines if line["log_level"] == "error")
    assert line["exc_info"] is room.answerer.error
    assert line["request_id"] == found.metadata["request_id"]


async def test_a_call_whose_deadline_has_passed_is_not_begun() -> None:
    begun: list[object] = []

    async def behaviour(request: object, context: object) -> None:
        begun.append(request)

    class Context:
        def time_remaining(self) -> float:
            return -0.1

        def invocation_metadata(self) -> tuple[()]:
            return ()

        def set_trailing_metadata(self, metadata: object) -> None:
            pass

        async def abort(self, code: grpc.StatusCode, details: str, trailing: Any) -> None:
            raise grpc.aio.AioRpcError(
                code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details
            )

    async def continuation(details: object) -> Any:
        return grpc.unary_unary_rpc_method_handler(behaviour)

    details: Any = SimpleNamespace(method="/a.B/C")
    handler = await CallInterceptor().intercept_service(continuation, details)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await handler.unary_unary(None, Context())
    found = refusal(caught.value)
    assert (found.code, found.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_PASSED")
    assert begun == []


FILLED = {
    "decision_id": "d1",
    "parent": "corpora/books",
    "corpus": "corpora/books",
    "name": "corpora/books",
    "corpus_id": "others",
    "document_id": "a.txt",
    "request_id": UUIDS[1],
    "query": "Who?",
}


def required_fields() -> Iterator[tuple[str, str]]:
    pool = descriptor_pool.Default()
    for service_name in SERVICE_NAMES:
        service = pool.FindServiceByName(service_name)
        if not service_name.startswith("longmemory."):
            continue
        for method in service.methods:
            for path in _required(method.input_type):
                yield f"/{service_name}/{method.name}", path


def _required(message: Descriptor, path: str = "") -> Iterator[str]:
    for field in message.fields:
        is_inner = field.message_type is not None and field.message_type.full_name.startswith(
            "longmemory."
        )
        behaviours = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
        if field_behavior_pb2.REQUIRED in behaviours:
            yield path + field.name
        if is_inner and field.message_type.name != "Corpus":
            yield from _required(field.message_type, f"{path}{field.name}.")


def _fill(message: Message, without: str) -> None:
    for field in message.DESCRIPTOR.fields:
        here, _, inner = without.partition(".")
        if (field.name == here and not inner) or (field.containing_oneof and field.name != here):
            continue
        if field.message_type is not None and field.type == FieldDescriptor.TYPE_MESSAGE:
            part = getattr(message, field.name)
            if hasattr(part, "SetInParent"):
                part.SetInParent()
                _fill(part, inner if field.name == here else "-")
        elif field.name in FILLED and isinstance(getattr(message, field.name), str):
            setattr(message, field.name, FILLED[field.name])


def test_the_walk_finds_the_required_fields() -> None:
    found = set(required_fields())
    assert ("/longmemory.v1.QueryService/StreamQuery", "query.corpus") in found
    assert ("/longmemory.v1.CorpusService/UploadDocuments", "chunk.document_id") in found
    assert len(found) > 20


@pytest.mark.parametrize(("method", "path"), sorted(required_fields()))
async def test_an_empty_required_field_is_refused_by_its_name(
    room: GrpcRoom, method: str, path: str
) -> None:
    service, name = method[1:].split("/")
    described = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    request = message_factory.GetMessageClass(described.input_type)()
    _fill(request, path)
    messages = [request]
    if path.startswith("chunk"):
        header = corpus_pb2.UploadHeader(corpus="corpora/books")
        messages.insert(0, corpus_pb2.UploadDocumentsRequest(header=header))
    found = await refused(_call(room, method, described, messages))
    assert found.code == "INVALID_ARGUMENT"
    assert found.reason in ("INVALID_VALUE", "MALFORMED_ID", "QUESTION_EMPTY")
    assert found.field in (path, path.rpartition(".")[2])


async def _call(room: GrpcRoom, method: str, described: Any, messages: list[Message]) -> None:
    answer = message_factory.GetMessageClass(described.output_type).FromString
    serialize = type(messages[0]).SerializeToString
    if described.client_streaming:

        async def each() -> AsyncIterator[Message]:
            for message in messages:
                yield message

        if described.server_streaming:
            async for _ in room.channel.stream_stream(method, serialize, answer)(each()):
                pass
        else:
            await room.channel.stream_unary(method, serialize, answer)(each())
    elif described.server_streaming:
        async for _ in room.channel.unary_stream(method, serialize, answer)(messages[0]):
            pass
    else:
        await room.channel.unary_unary(method, serialize, answer)(messages[0])
