"""What the log tells of calls, in which form, and what it never tells."""

import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_room import GrpcRoom, open_room, refused
from longmemory.v1 import query_pb2, query_pb2_grpc

from service.answers import Question
from service.rpc.server import ServerConfig, start
from service.telemetry.logs import LogSettings, configure_logs
from service.telemetry.observer import Nobody
from service.telemetry.watched_answers import WatchedAnswers, WatchedTextAnswers

SECRET = "Who poisoned the harbor master?"
ASKED = query_pb2.QueryRequest(corpus="corpora/books", query=SECRET)


@dataclass
class Desk:
    """A server that logs, its stub, and what it logged."""

    room: GrpcRoom
    queries: Any
    written: io.StringIO

    @property
    def text(self) -> str:
        return self.written.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The lines of the calls to the queries."""
        return [
            line for line in self.lines if line["event"] == "call" and "Query" in line["method"]
        ]


Open = Callable[[LogSettings], AbstractAsyncContextManager[Desk]]


@pytest.fixture
def open_desk(tmp_path: Path) -> Iterator[Open]:
    @asynccontextmanager
    async def opened(settings: LogSettings) -> AsyncIterator[Desk]:
        written = io.StringIO()
        configure_logs(settings, written)
        async with open_room(tmp_path) as room:
            await room.new_corpus()
            backend = replace(
                room.backend,
                answerer=WatchedAnswers(room.answerer, Nobody(), settings.questions),
                text_answerer=WatchedTextAnswers(
                    room.backend.text_answerer, Nobody(), settings.questions
                ),
            )
            server = await start(ServerConfig("127.0.0.1:0"), backend)
            try:
                async with grpc.aio.insecure_channel(server.address) as channel:
                    yield Desk(room, query_pb2_grpc.QueryServiceStub(channel), written)
            finally:
                await server.stop()

    yield opened
    structlog.reset_defaults()


async def ask_in_every_way(desk: Desk) -> None:
    """Every call that carries a question, and calls that are refused or break with one in hand."""
    await desk.queries.Query(ASKED)
    stream = desk.queries.StreamQuery(query_pb2.StreamQueryRequest(query=ASKED))
    _ = [event async for event in stream]
    await desk.queries.ExplainRoute(query_pb2.ExplainRouteRequest(query=ASKED))
    await desk.queries.Retrieve(query_pb2.RetrieveRequest(query=ASKED))
    await desk.queries.CountTokens(query_pb2.CountTokensRequest(text=SECRET))

    async def text() -> AsyncIterator[query_pb2.QueryTextRequest]:
        question = query_pb2.TextQuery(query=SECRET)
        yield query_pb2.QueryTextRequest(question=question)
        yield query_pb2.QueryTextRequest(text=f"They asked: {SECRET}")

    _ = [event async for event in desk.queries.QueryText(text())]
    await refused(desk.queries.Query(query_pb2.QueryRequest(corpus="corpora/none", query=SECRET)))
    await refused(
        desk.queries.Query(query_pb2.QueryRequest(corpus="corpora/books", query=SECRET * 50))
    )
    desk.room.answerer.error = RuntimeError("broken")
    await refused(desk.queries.Query(ASKED))
    desk.room.answerer.error = None


@pytest.mark.parametrize("form", ["console", "json"])
async def test_no_text_of_a_question_is_in_any_line(open_desk: Open, form: str) -> None:
    async with open_desk(LogSettings(form, "debug")) as desk:
        await ask_in_every_way(desk)
        assert desk.text.count("Traceback") == 1
    assert "RuntimeError: broken" in desk.text
    assert "poisoned" not in desk.text
    assert desk.text.count("/longmemory.v1.QueryService/") >= 9


async def test_questions_are_told_where_somebody_asks_for_it(open_desk: Open) -> None:
    async with open_desk(LogSettings("json", questions=True)) as desk:
        await ask_in_every_way(desk)
        asked = [line for line in desk.lines if line["event"] == "asked"]
        assert {line["question"] for line in asked} == {SECRET}
        assert len(asked) == 6
        assert {line["request_id"] for line in asked} < {line["request_id"] for line in desk.calls}


async def test_a_calls_line_has_method_code_time_route_and_tokens(open_desk: Open) -> None:
    async with open_desk(LogSettings("json")) as desk:
        await desk.queries.Query(ASKED, metadata=(("x-request-id", "trace-1"),))
        await refused(desk.queries.Query(query_pb2.QueryRequest(corpus="books", query=SECRET)))
        answered, refusal = desk.calls
    assert answered["method"] == "/longmemory.v1.QueryService/Query"
    assert (answered["code"], answered["route"], answered["tokens"]) == ("OK", "cartridge", 2)
    assert (answered["request_id"], answered["level"]) == ("trace-1", "info")
    assert (answered["logger"], answered["ms"] > 0) == ("longmemory.rpc", True)
    assert (refusal["code"], refusal["refused"]) == ("INVALID_ARGUMENT", "MALFORMED_ID")
    assert "route" not in refusal


async def test_lines_inside_a_call_carry_its_request_id(open_desk: Open) -> None:
    class Chatty:
        async def decide(self, question: Question) -> Any:
            structlog.get_logger("inside").info("deciding")
            raise RuntimeError("enough")

    async with open_desk(LogSettings("json")) as desk:
        desk.room.answerer.decide = Chatty().decide  # type: ignore[method-assign]
        call = desk.queries.ExplainRoute(
            query_pb2.ExplainRouteRequest(query=ASKED), metadata=(("x-request-id", "trace-2"),)
        )
        await refused(call)
        (inside,) = (line for line in desk.lines if line["event"] == "deciding")
    assert inside["request_id"] == "trace-2"


@pytest.mark.parametrize("given", ["", "x" * 129, "two words", "semi;colon"])
async def test_a_request_id_that_is_not_one_is_replaced(open_desk: Open, given: str) -> None:
    async with open_desk(LogSettings("json")) as desk:
        call = desk.queries.Query(ASKED, metadata=(("x-request-id", given),))
        await call
        returned = dict(await call.trailing_metadata())["x-request-id"]
        assert returned == desk.calls[-1]["request_id"] != given
        assert len(returned) == 36


@pytest.mark.parametrize(("level", "told"), [("info", 0), ("debug", 1)])
async def test_probes_are_told_at_debug_alone(open_desk: Open, level: str, told: int) -> None:
    async with open_desk(LogSettings("json", level)) as desk:
        stub = health_pb2_grpc.HealthStub(desk.room.channel)
        await stub.Check(health_pb2.HealthCheckRequest())
        assert desk.text.count("/grpc.health.v1.Health/Check") == told


@pytest.mark.parametrize(("format", "level"), [("xml", "info"), ("json", "loud")])
def test_settings_that_do_not_exist_are_refused_with_the_list(format: str, level: str) -> None:
    with pytest.raises(ValueError, match="use one of"):
        LogSettings(format, level)
