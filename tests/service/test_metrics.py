"""What is counted, with which labels, and the page that shows it."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from grpc_room import open_room, refused
from longmemory.v1 import query_pb2, query_pb2_grpc

from service.errors import REASONS
from service.escalation import ESCALATED
from service.library import LibraryLoad
from service.model_thread import ModelLoad
from service.routing import choice
from service.rpc.server import METHODS, ServerConfig, start
from service.state.job import JobCensus, JobKind, JobState
from service.telemetry.gauges import Build, Sources
from service.telemetry.metrics import CODES, OTHER, ROUTE_REASONS, ROUTES, Metrics
from service.telemetry.page import MetricsPage, PageAddress
from service.telemetry.reading import read_page
from service.telemetry.watched_answers import TEXT_SENT, WatchedAnswers

ROOT = Path(__file__).parents[2]
SOURCES = Sources(
    build=Build("0.1.0", "0123456789abcdef", "cpu", "float32"),
    questions=lambda: 3,
    model=lambda: ModelLoad(True, 2, 4, 1024, 77, 20, 9),
    library=lambda: LibraryLoad(2, 1, 4096, 5, 6),
    jobs=lambda: JobCensus({(JobKind.TRAIN, JobState.RUNNING): 1}, {JobKind.TRAIN: 2.5}),
    has_worker=lambda: True,
)
HOSTILE = 'corpora/case-4711 "who\nkilled'
LABELS = {
    "grpc_service": {name.split("/")[0] for name in METHODS} | {OTHER},
    "grpc_method": {name.split("/")[1] for name in METHODS} | {OTHER},
    "grpc_code": CODES | {OTHER},
    "reason": ROUTE_REASONS | set(REASONS) | {OTHER},
    "route": ROUTES | {OTHER},
    "kind": {kind.value for kind in JobKind},
    "state": {state.value.lower() for state in JobState},
    "part": {"questions", "model", "library", "jobs", "worker"},
    "version": {"0.1.0"},
    "model": {"0123456789abcdef"},
    "device": {"cpu"},
    "dtype": {"float32"},
}


def page_of(metrics: Metrics) -> MetricsPage:
    return MetricsPage(PageAddress("127.0.0.1:0"), metrics.registry)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(METHODS, SOURCES)


@pytest.fixture
def page(metrics: Metrics) -> Iterator[MetricsPage]:
    page = page_of(metrics)
    yield page
    page.close()


def test_gauges_are_what_the_parts_say_now(page: MetricsPage) -> None:
    found = read_page(page.url)
    assert found.one("longmemory_questions_under_way") == 3
    assert found.one("longmemory_queue_length") == 2
    assert found.one("longmemory_batch_size") == 4
    assert found.one("longmemory_batch_kv_bytes") == 1024
    assert found.one("longmemory_generated_tokens_total") == 77
    assert found.one("longmemory_resident_corpora") == 2
    assert found.one("longmemory_resident_cartridges") == 1
    assert found.one("longmemory_resident_cartridge_bytes") == 4096
    assert found.one("longmemory_cartridge_hits_total") == 5
    assert found.one("longmemory_cartridge_loads_total") == 6
    assert found.one("longmemory_jobs", kind="train", state="running") == 1
    assert found.one("longmemory_job_heartbeat_age_seconds", kind="train") == 2.5
    assert found.one("longmemory_worker_alive") == 1
    assert found.one("longmemory_model_alive") == 1
    assert found.by("longmemory_build_info", "version") == {"0.1.0": 1}


def test_labels_are_from_fixed_sets_whatever_comes_in(metrics: Metrics, page: MetricsPage) -> None:
    for value in (HOSTILE, *(f"x{number}" for number in range(1000))):
        metrics.call_ended(f"/longmemory.v1.QueryService/{value}", value, 0.1)
        metrics.rejected(value)
        metrics.began(value, 0.1)
        metrics.answered(value, value)
    metrics.call_ended("/longmemory.v1.QueryService/Query", "OK", 0.1)
    metrics.answered("crag", "HIGHEST_UTILITY")
    found = read_page(page.url)
    for name, samples in found.values.items():
        for labels in samples:
            for label, value in labels:
                assert label == "le" or value in LABELS[label], (name, label, value)
    assert found.one("longmemory_rejected_total", reason=OTHER) == 1001
    assert found.by("longmemory_answers_total", "route") == {OTHER: 1001, "crag": 1}
    assert found.by("grpc_server_handled_total", "grpc_method") == {OTHER: 1001, "Query": 1}


def test_every_reason_of_the_router_is_a_label_of_its_own() -> None:
    source = Path(choice.__file__).read_text(encoding="utf-8")
    shuts_out = {"ON_TOPIC", "CARTRIDGE_NOT_FOUND"}  # which is no reason to take a route
    given = set(re.findall(r'"([A-Z][A-Z_]{5,})"', source)) - shuts_out
    assert given == ROUTE_REASONS - {TEXT_SENT, ESCALATED}


def test_the_readme_lists_every_metric_and_no_other(metrics: Metrics) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme[readme.index("## To see what it does") :].split("\n## ")[0]
    listed = set(re.findall(r"^\| `((?:longmemory|grpc)_[a-z_]+)", section, re.MULTILINE))
    suffix = {"counter": "_total"}
    there = {
        family.name + suffix.get(family.type, "")
        for family in metrics.registry.collect()
        if not family.name.startswith("process_")
    }
    assert listed == there


async def test_calls_refusals_and_answers_are_counted(tmp_path: Path) -> None:
    metrics = Metrics(METHODS, SOURCES)
    page = page_of(metrics)
    async with open_room(tmp_path) as room:
        await room.new_corpus()
        watched = WatchedAnswers(room.answerer, metrics)
        backend = replace(room.backend, answerer=watched, observer=metrics)
        server = await start(ServerConfig("127.0.0.1:0"), backend)
        async with grpc.aio.insecure_channel(server.address) as channel:
            stub = query_pb2_grpc.QueryServiceStub(channel)
            asked = query_pb2.QueryRequest(corpus="corpora/books", query="Who?")
            await stub.Query(asked)
            stream = stub.StreamQuery(query_pb2.StreamQueryRequest(query=asked))
            _ = [event async for event in stream]
            await refused(stub.Query(query_pb2.QueryRequest(corpus="corpora/none", query="Who?")))
            room.answerer.error = RuntimeError("broken")
            await refused(stub.Query(asked))
            room.answerer.error, room.answerer.hang = None, True
            hanging = stub.StreamQuery(query_pb2.StreamQueryRequest(query=asked))
            await anext(aiter(hanging))
            hanging.cancel()
            await room.answerer.closed.wait()
        await server.stop()
    found = await asyncio.to_thread(read_page, page.url)
    page.close()
    calls = {"grpc_service": "longmemory.v1.QueryService"}

    def handled(method: str, code: str) -> float:
        return found.one("grpc_server_handled_total", grpc_method=method, grpc_code=code, **calls)

    assert handled("Query", "OK") == 1
    assert handled("Query", "NOT_FOUND") == 1
    assert handled("Query", "INTERNAL") == 1
    assert handled("StreamQuery", "OK") == 1
    assert handled("StreamQuery", "CANCELLED") == 1
    assert found.one("grpc_server_handling_seconds_count", grpc_method="Query", **calls) == 3
    assert found.one("longmemory_rejected_total", reason="CORPUS_NOT_FOUND") == 1
    assert found.one("longmemory_answers_total", route="cartridge", reason=OTHER) == 2
    assert found.one("longmemory_time_to_first_token_seconds_count", route="cartridge") >= 2
