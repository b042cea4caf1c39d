"""Questions over the wire: what is checked, what is streamed, and what stops when a client leaves."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_room import UUIDS, GrpcRoom, open_room, refused
from longmemory.v1 import query_pb2

from engine.sampling import SamplingParams
from service.answers import Decision, Option, Route
from service.errors import fail
from service.state.outcomes_log import Outcome


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[GrpcRoom]:
    async with open_room(tmp_path) as opened:
        await opened.new_corpus()
        yield opened


def request(**values: Any) -> query_pb2.QueryRequest:
    return query_pb2.QueryRequest(**({"corpus": "corpora/books", "query": "Who?"} | values))


def stream(room: GrpcRoom, **values: Any) -> Any:
    return room.queries.StreamQuery(query_pb2.StreamQueryRequest(query=request(**values)))


async def test_an_answer_comes_whole(room: GrpcRoom) -> None:
    whole = await room.queries.Query(request())
    assert whole.answer == "Once upon"
    assert whole.route.route == query_pb2.ROUTE_CARTRIDGE
    assert whole.route.requested_route == query_pb2.ROUTE_UNSPECIFIED
    assert whole.route.cartridge == "corpora/books/cartridges/cart-one"
    assert [one.reason for one in whole.route.fallbacks] == ["NO_INDEX"]
    assert [(one.document_id, one.end_char) for one in whole.evidence] == [("a.txt", 4)]
    assert whole.finish_reason == query_pb2.FINISH_REASON_STOP
    assert (whole.usage.prefix_tokens, whole.usage.total_time.ToMilliseconds()) == (7, 1500)


async def test_an_answer_comes_as_a_stream_in_its_order(room: GrpcRoom) -> None:
    events = [event async for event in stream(room)]
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds == ["route", "evidence", "delta", "delta", "summary"]
    assert list(events[3].delta.token_ids) == [2, 3]
    summary, whole = events[-1].summary, await room.queries.Query(request())
    assert summary.answer == ""
    summary.answer = whole.answer
    assert summary == whole


async def test_a_route_without_evidence_sends_none(room: GrpcRoom) -> None:
    decision, _, *rest = room.answerer.events
    room.answerer.events = (decision, (), *rest)
    kinds = [event.WhichOneof("event") async for event in stream(room)]
    assert kinds == ["route", "delta", "delta", "summary"]


async def test_a_route_is_explained_without_an_answer(room: GrpcRoom) -> None:
    explained = await room.queries.ExplainRoute(query_pb2.ExplainRouteRequest(query=request()))
    assert explained.reason == "CARTRIDGE_READY"
    assert dict(explained.signals) == {"corpus_tokens": 9.0}


async def test_a_decision_tells_the_terms_of_every_route(room: GrpcRoom) -> None:
    decision, *rest = room.answerer.events
    assert isinstance(decision, Decision)
    options = (
        Option(Route.CARTRIDGE, 0.9, 1.0, 2.0, 20, 0.875),
        Option(Route.CRAG, 0.75, 1.5, 3.0, 300, 0.75),
        Option(Route.NONE, 0.1, 0.5, 1.0, 20, 0.09, "ON_TOPIC", "it is read"),
    )
    room.answerer.events = (replace(decision, options=options, id="d1"), *rest)
    answer = await room.queries.Query(request())
    assert answer.route.decision_id == "d1"
    assert (answer.route.runner_up, answer.route.margin) == (query_pb2.ROUTE_CRAG, 0.125)
    _, first, second = answer.route.options
    assert (first.route, first.quality, first.prompt_tokens) == (query_pb2.ROUTE_CRAG, 0.75, 300)
    assert first.expected_time.ToTimedelta().total_seconds() == 1.5
    assert first.slow_time.ToTimedelta().total_seconds() == 3.0
    assert (first.closed_reason, second.closed_reason) == ("", "ON_TOPIC")


async def test_a_verdict_is_kept_and_counted(room: GrpcRoom) -> None:
    room.backend.outcomes.add(
        Outcome("d1", "books", "lookup", "crag", "HIGHEST_UTILITY", 0.7, [], 1.0, 300)
    )
    wanted = query_pb2.RecordFeedbackRequest(
        corpus="corpora/books", decision_id="d1", verdict=query_pb2.VERDICT_BAD
    )
    counts = await room.queries.RecordFeedback(wanted)
    assert (counts.good_count, counts.bad_count) == (0, 1)


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"verdict": 0}, "INVALID_VALUE", "verdict"),
        ({"verdict": 9}, "INVALID_VALUE", "verdict"),
        ({"decision_id": ""}, "INVALID_VALUE", "decision_id"),
        ({"decision_id": "unknown"}, "DECISION_NOT_FOUND", "decision_id"),
        ({"corpus": "corpora/nowhere"}, "CORPUS_NOT_FOUND", ""),
        ({"corpus": "books"}, "MALFORMED_ID", "corpus"),
    ],
)
async def test_a_verdict_that_cannot_be_kept_is_refused(
    room: GrpcRoom, changes: dict[str, Any], reason: str, field: str
) -> None:
    fields = {"corpus": "corpora/books", "decision_id": "d1", "verdict": query_pb2.VERDICT_GOOD}
    found = await refused(
        room.queries.RecordFeedback(query_pb2.RecordFeedbackRequest(**(fields | changes)))
    )
    assert found.reason == reason
    assert (found.field or "") == field


async def test_settings_and_deadline_reach_the_answerer(room: GrpcRoom) -> None:
    config = query_pb2.GenerationConfig(
        max_output_tokens=9, temperature=0.5, top_p=0.9, stop_sequences=["\n"], seed=-3
    )
    wanted = request(
        route=query_pb2.ROUTE_CRAG,
        generation_config=config,
        budget=query_pb2.Budget(max_prompt_tokens=70),
    )
    await room.queries.Query(wanted, timeout=30)
    (asked,) = room.answerer.asked
    assert (asked.corpus_id, asked.text, asked.route) == ("books", "Who?", Route.CRAG)
    assert asked.sampling == SamplingParams(9, 0.5, 0.9, -3, ("\n",))
    assert asked.max_prompt_tokens == 70
    assert asked.deadline is not None
    assert 20 < asked.deadline - time.monotonic() < 31
    await room.queries.Query(request())
    assert (room.answerer.asked[1].deadline, room.answerer.asked[1].route) == (None, Route.AUTO)


@pytest.mark.parametrize(
    ("values", "reason", "field"),
    [
        ({"query": " \n"}, "QUESTION_EMPTY", "query"),
        ({"query": "a" * 101}, "QUESTION_TOO_LONG", "query"),
        ({"corpus": "books"}, "MALFORMED_ID", "corpus"),
        ({"corpus": "corpora/others"}, "CORPUS_NOT_FOUND", ""),
        ({"cartridge": "cart-one"}, "MALFORMED_ID", "cartridge"),
        ({"cartridge": "corpora/books/cartridges/none"}, "CARTRIDGE_NOT_FOUND", ""),
        ({"cartridge": "corpora/others/cartridges/one"}, "INVALID_VALUE", "cartridge"),
        (
            {"cartridge": "corpora/books/cartridges/one", "route": query_pb2.ROUTE_CRAG},
            "INVALID_VALUE",
            "cartridge",
        ),
        ({"route": 99}, "INVALID_VALUE", "route"),
        ({"route": query_pb2.ROUTE_DECLINE}, "INVALID_VALUE", "route"),
        ({"request_id": "one"}, "MALFORMED_ID", "request_id"),
        (
            {"budget": query_pb2.Budget(max_prompt_tokens=-1)},
            "INVALID_VALUE",
            "budget.max_prompt_tokens",
        ),
        *(
            (
                {"generation_config": query_pb2.GenerationConfig(**{name: value})},
                "INVALID_VALUE",
                f"generation_config.{name}",
            )
            for name, value in (
                ("max_output_tokens", 0),
                ("max_output_tokens", 257),
                ("temperature", -1),
                ("temperature", float("nan")),
                ("top_p", 0),
                ("stop_sequences", [""]),
                ("stop_sequences", ["a"] * 17),
            )
        ),
    ],
)
async def test_a_senseless_question_is_refused(
    room: GrpcRoom, values: dict[str, Any], reason: str, field: str
) -> None:
    found = await refused(room.queries.Query(request(**values)))
    assert (found.reason, found.field) == (reason, field)
    found = await refused(anext(aiter(stream(room, **values))))
    assert (found.reason, found.field) == (reason, field and f"query.{field}")
    assert room.answerer.asked == []


async def test_a_full_queue_says_when_to_come_again(room: GrpcRoom) -> None:
    room.answerer.error = fail(
        "QUEUE_FULL", "the queue is full; ask again later", retry_after_seconds=1.5
    )
    found = await refused(room.queries.Query(request()))
    assert (found.code, found.reason) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL")
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in found.status.details)
    assert retry.retry_delay.ToMilliseconds() == 1500


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("DEADLINE_PASSED", "DEADLINE_EXCEEDED"),
        ("CORPUS_NOT_READY", "FAILED_PRECONDITION"),
        ("CARTRIDGE_STALE", "FAILED_PRECONDITION"),
        ("CARTRIDGE_NOT_READY", "FAILED_PRECONDITION"),
        ("CARTRIDGE_MODEL_MISMATCH", "FAILED_PRECONDITION"),
        ("CONTEXT_TOO_LONG", "FAILED_PRECONDITION"),
        ("DOCUMENT_DAMAGED", "DATA_LOSS"),
    ],
)
async def test_what_the_answerer_refuses_arrives_as_it_is_also_amid_a_stream(
    room: GrpcRoom, reason: str, code: str
) -> None:
    room.answerer.error, room.answerer.error_at = fail(reason, "no; do otherwise"), 2
    events = stream(room)
    assert (await events.read()).WhichOneof("event") == "route"
    assert (await events.read()).WhichOneof("event") == "evidence"
    found = await refused(events.read())
    assert (found.code, found.reason, found.message) == (code, reason, "no; do otherwise")


async def test_an_internal_error_leaks_nothing(room: GrpcRoom) -> None:
    room.answerer.error = RuntimeError("secret /etc/path")
    call = room.queries.Query(request(), metadata=(("x-request-id", "trace-7"),))
    found = await refused(call)
    assert (found.code, found.reason) == ("INTERNAL", "INTERNAL")
    assert found.metadata["request_id"] == "trace-7"
    assert b"secret" not in found.status.SerializeToString()
    assert b"Traceback" not in found.status.SerializeToString()


async def test_a_cancelled_stream_ends_the_generation(room: GrpcRoom) -> None:
    room.answerer.hang = True
    call = stream(room)
    await call.read()
    call.cancel()
    await asyncio.wait_for(room.answerer.closed.wait(), 5)


async def test_a_stream_that_is_not_read_on_ends_with_its_deadline(room: GrpcRoom) -> None:
    room.answerer.hang = True
    wanted = query_pb2.StreamQueryRequest(query=request())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in room.queries.StreamQuery(wanted, timeout=0.5):
            pass
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(room.answerer.closed.wait(), 5)


async def test_a_repeated_query_is_answered_once(room: GrpcRoom) -> None:
    wanted = request(request_id=UUIDS[1])
    answers = await asyncio.gather(*(room.queries.Query(wanted) for _ in range(4)))
    assert all(answer == answers[0] for answer in answers)
    assert len(room.answerer.asked) == 1
    found = await refused(room.queries.Query(request(request_id=UUIDS[1], query="What?")))
    assert (found.reason, found.field) == ("REQUEST_ID_REUSED", "request_id")


async def test_a_repeat_takes_over_when_the_first_caller_leaves(room: GrpcRoom) -> None:
    room.answerer.hang = True
    wanted = request(request_id=UUIDS[2])
    first = asyncio.ensure_future(_answered(room, wanted))
    while not room.answerer.asked:
        await asyncio.sleep(0.01)
    second = asyncio.ensure_future(_answered(room, wanted))
    await asyncio.sleep(0.1)
    room.answerer.hang = False
    first.cancel()
    assert await asyncio.wait_for(second, 10) == "Once upon"
    assert len(room.answerer.asked) == 2


async def _answered(room: GrpcRoom, wanted: query_pb2.QueryRequest) -> str:
    answer: str = (await room.queries.Query(wanted)).answer
    return answer


def retrieve(room: GrpcRoom, most: int = 0, **values: Any) -> Any:
    return room.queries.Retrieve(
        query_pb2.RetrieveRequest(query=request(**values), max_candidates=most)
    )


async def test_evidence_comes_without_an_answer(room: GrpcRoom) -> None:
    found = await retrieve(room, 1)
    assert [one.text for one in found.evidence] == ["Once"]
    assert [one.text for one in found.candidates] == ["Once"]
    assert found.route.reason == "CARTRIDGE_READY"
    assert len((await retrieve(room, 5)).candidates) == 2
    assert len((await retrieve(room)).candidates) == 0


@pytest.mark.parametrize("most", [-1, 101])
async def test_a_number_of_candidates_out_of_bounds_is_refused(room: GrpcRoom, most: int) -> None:
    found = await refused(retrieve(room, most))
    assert (found.code, found.field) == ("INVALID_ARGUMENT", "max_candidates")


async def test_the_reader_that_was_named_is_asked_for(room: GrpcRoom) -> None:
    for number, reading in enumerate(("default", "indexed", "streaming", "published")):
        await room.queries.Query(request(reader=number))
        assert room.answerer.asked[-1].reading == reading
    found = await refused(room.queries.Query(request(reader=9)))
    assert (found.reason, found.field) == ("INVALID_VALUE", "reader")


async def texts(*messages: query_pb2.QueryTextRequest) -> AsyncIterator[Any]:
    for message in messages:
        yield message


def part(text: str) -> query_pb2.QueryTextRequest:
    return query_pb2.QueryTextRequest(text=text)


def ask(**values: Any) -> query_pb2.QueryTextRequest:
    return query_pb2.QueryTextRequest(question=query_pb2.TextQuery(**({"query": "Who?"} | values)))


async def test_a_text_is_read_as_it_comes_and_answered_from(room: GrpcRoom) -> None:
    call = room.queries.QueryText(texts(ask(), part("One. "), part("Two.")))
    events = [event async for event in call]

    kinds = [event.WhichOneof("event") for event in events]
    assert kinds == ["progress", "progress", "evidence", "delta", "summary"]
    assert events[1].progress.sentences == 2
    answerer: Any = room.backend.text_answerer
    assert answerer.read == ["One. ", "Two."]
    assert answerer.asked[0].text == "Who?"


async def test_a_text_without_its_question_is_refused(room: GrpcRoom) -> None:
    async def call(*messages: Any) -> None:
        async for _ in room.queries.QueryText(texts(*messages)):
            pass

    for messages in ((), (part("One."),)):
        found = await refused(call(*messages))
        assert (found.code, found.reason) == ("INVALID_ARGUMENT", "TEXT_QUESTION_MISSING")
    found = await refused(call(ask(), part("One."), ask()))
    assert found.reason == "INVALID_VALUE"
    found = await refused(call(ask(reader=query_pb2.READER_INDEXED)))
    assert (found.reason, found.field) == ("INVALID_VALUE", "question.reader")


async def test_a_caller_who_leaves_in_mid_text_ends_the_reading(room: GrpcRoom) -> None:
    async def endless() -> AsyncIterator[Any]:
        yield ask()
        while True:
            yield part("One. ")
            await asyncio.sleep(0.01)

    call = room.queries.QueryText(endless())
    await anext(aiter(call))
    call.cancel()
    answerer: Any = room.backend.text_answerer
    await asyncio.wait_for(answerer.closed.wait(), 5)


async def test_tokens_are_counted(room: GrpcRoom) -> None:
    counted = await room.queries.CountTokens(query_pb2.CountTokensRequest(text="one two three"))
    assert counted.token_count == 3
