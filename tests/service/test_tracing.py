"""Spans of calls and their parts, by OpenTelemetry's own exporter in memory; and none without it."""

import ast
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from answering_room import build
from grpc_room import open_room, refused
from longmemory.v1 import query_pb2, query_pb2_grpc
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from engine.embedding import Embedder
from engine.model import LanguageModel
from service.rpc.server import ServerConfig, start
from service.telemetry.call import note, span
from service.telemetry.observer import Nobody
from service.telemetry.tracing import NoTracing, OpenTelemetry
from service.telemetry.watched_answers import WatchedAnswers, WatchedTextAnswers

ROOT = Path(__file__).parents[2]
SECRET = "Who poisoned the harbor master?"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass
class Desk:
    """A traced server over a real answerer, its stub, and where its spans go."""

    queries: Any
    tracing: OpenTelemetry
    exporter: InMemorySpanExporter

    def spans(self) -> dict[str, Any]:
        """The finished spans by name; ends the tracing."""
        self.tracing.close()
        return {one.name: one for one in self.exporter.get_finished_spans()}


@pytest.fixture
async def desk(
    tmp_path: Path, model: LanguageModel, embedder: Embedder, handbook: str
) -> AsyncIterator[Desk]:
    library = build(tmp_path / "data", model, embedder)
    library.corpora.create("books")
    library.write("\n".join(handbook.splitlines()[:20]))
    library.index()
    exporter = InMemorySpanExporter()
    tracing = OpenTelemetry("0.1.0", exporter)
    async with open_room(tmp_path / "wire") as room:
        backend = replace(
            room.backend,
            corpora=library.corpora,
            shelf=library.shelf,
            answerer=WatchedAnswers(library.answerer, Nobody()),
            text_answerer=WatchedTextAnswers(library.text_answerer, Nobody()),
            tracing=tracing,
        )
        server = await start(ServerConfig("127.0.0.1:0"), backend)
        try:
            async with grpc.aio.insecure_channel(server.address) as channel:
                yield Desk(query_pb2_grpc.QueryServiceStub(channel), tracing, exporter)
        finally:
            await server.stop()
            tracing.close()
            library.thread.close()
            library.corpora._store.close()


def question(route: int = query_pb2.ROUTE_CRAG, tokens: int = 4) -> query_pb2.QueryRequest:
    settings = query_pb2.GenerationConfig(max_output_tokens=tokens)
    return query_pb2.QueryRequest(
        corpus="corpora/books", query=SECRET, route=route, generation_config=settings
    )


async def test_an_answer_is_a_span_with_its_parts_below(desk: Desk) -> None:
    asked = (("x-request-id", "trace-1"), ("traceparent", PARENT))
    await desk.queries.Query(question(), metadata=asked)
    spans = desk.spans()
    call = spans["longmemory.v1.QueryService/Query"]
    assert f"{call.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{call.parent.span_id:016x}" == PARENT.split("-")[2]
    assert call.attributes["request_id"] == "trace-1"
    assert (call.attributes["code"], call.attributes["route"]) == ("OK", "crag")
    assert call.attributes["tokens"] == 4
    parts = [spans[name] for name in ("route", "prepare", "generate")]
    assert {part.parent.span_id for part in parts} == {call.context.span_id}
    times = [time for part in parts for time in (part.start_time, part.end_time)]
    assert times == sorted(times)
    assert call.resource.attributes["service.name"] == "longmemory"
    assert (parts[0].attributes["route"], parts[0].attributes["reason"]) == ("crag", "REQUESTED")
    assert parts[1].attributes["prompt_tokens"] > 10
    assert parts[2].attributes["output_tokens"] == 4


async def test_a_text_that_is_sent_along_is_traced_too(desk: Desk) -> None:
    async def messages() -> AsyncIterator[query_pb2.QueryTextRequest]:
        settings = query_pb2.GenerationConfig(max_output_tokens=4)
        asked = query_pb2.TextQuery(query=SECRET, generation_config=settings)
        yield query_pb2.QueryTextRequest(question=asked)
        yield query_pb2.QueryTextRequest(text="The lamp is lit at dusk. The ferry leaves at six.")

    _ = [event async for event in desk.queries.QueryText(messages())]
    spans = desk.spans()
    call = spans["longmemory.v1.QueryService/QueryText"]
    assert (call.attributes["route"], call.attributes["reason"]) == ("infini_retri", "TEXT_SENT")
    assert {spans[name].parent.span_id for name in ("prepare", "generate")} == {
        call.context.span_id
    }


async def test_a_refused_call_is_an_error_and_one_that_was_left_is_none(desk: Desk) -> None:
    request = question()
    request.corpus = "corpora/none"
    await refused(desk.queries.Query(request))
    long = query_pb2.StreamQueryRequest(query=question(tokens=256))
    stream = desk.queries.StreamQuery(long)
    await anext(aiter(stream))
    stream.cancel()
    await desk.queries.CountTokens(query_pb2.CountTokensRequest(text="one"))
    while len(desk.exporter.get_finished_spans()) < 6:  # until the answer was taken off the batch
        desk.tracing._provider.force_flush()
        await desk.queries.CountTokens(query_pb2.CountTokensRequest(text="one"))
    spans = desk.spans()
    call = spans["longmemory.v1.QueryService/Query"]
    assert not call.status.is_ok
    assert (call.attributes["refused"], call.attributes["code"]) == (
        "CORPUS_NOT_FOUND",
        "NOT_FOUND",
    )
    left = spans["longmemory.v1.QueryService/StreamQuery"]
    assert left.attributes["cancelled"]
    assert left.status.is_unset


async def test_no_span_holds_a_text(desk: Desk) -> None:
    await desk.queries.Query(question())
    request = question()
    request.route = query_pb2.ROUTE_CARTRIDGE  # of which there is none
    await refused(desk.queries.Query(request))
    desk.tracing.close()
    told = " ".join(one.to_json() for one in desk.exporter.get_finished_spans())
    assert "poisoned" not in told
    assert "REQUESTED" in told


def test_of_an_error_a_span_tells_the_kind_and_never_the_words() -> None:
    exporter = InMemorySpanExporter()
    tracing = OpenTelemetry("0.1.0", exporter)
    with (
        pytest.raises(KeyError),
        tracing.call("/a.B/C", "trace-1", {}) as (call, _),
        call.part("x"),
    ):
        raise KeyError(SECRET)
    tracing.close()
    for one in exporter.get_finished_spans():
        assert one.status.description == "KeyError"
        assert "poisoned" not in one.to_json()


async def test_without_tracing_and_outside_of_calls_nothing_happens(desk: Desk) -> None:
    note(route="crag")
    with span("prepare") as told:
        told["prompt_tokens"] = 1
    with NoTracing().call("/a/b", "id", {}) as (call, attributes):
        attributes["code"] = "OK"
        with call.part("route") as told:
            told["route"] = "crag"
    assert desk.spans() == {}


def test_without_the_packages_the_flag_says_what_to_install(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ValueError, match=r"extra \[otel\]"):
        OpenTelemetry("0.1.0")


def test_nothing_of_ours_imports_opentelemetry_before_it_is_asked_for() -> None:
    importing = set()
    for path in sorted((ROOT / "service").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("opentelemetry"):
                importing.add(path.name)
                assert node not in top, path
    assert importing == {"tracing.py"}


def test_spans_go_to_the_collector_that_the_environment_names(monkeypatch: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

    received: list[Any] = []

    class Collector(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            received.append(request)
            return trace_service_pb2.ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Collector(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "memory-one")
    tracing = OpenTelemetry("0.1.0")
    with tracing.call("/a.B/C", "trace-1", {}):
        pass
    tracing.close()
    server.stop(None).wait()
    assert "memory-one" in str(received[0])
    assert received[0].resource_spans[0].scope_spans[0].spans[0].name == "a.B/C"
