"""Questions to a real library, index and tiny model in one process: what is refused, what is held."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from answering_room import Room, build

from cartridges.match import truncate_prefix
from cartridges.store import BuiltPart, load_cartridge, store_cartridge
from engine.answer_row import FinishReason
from engine.embedding import Embedder
from engine.model import LanguageModel
from engine.prompts import Prompter
from engine.sampling import SamplingParams
from retrieval.crag import Condense, CragSettings
from retrieval.infini_retri import ReadingSettings
from service.answers import (
    WISHES,
    Decision,
    Delta,
    Question,
    Reading,
    ReadSoFar,
    Route,
    Summary,
)
from service.errors import ServiceError, fail
from service.limits import Limits
from service.routes import DECLINED
from service.routing.choice import RoutingPolicy
from service.routing.gates import GateSettings
from service.routing.quality import QualityModel
from service.text_answering import TextQuestion

ASKED = "Who keeps the lamp of the harbor?"
SHORT = SamplingParams(max_tokens=6)
# Nothing is off topic, and a prompt costs so much that a cartridge is always worth most.
ANYTHING = RoutingPolicy(
    a_thousand_tokens=100.0, gates=GateSettings(off_topic=-1.0, decline_above=1.0)
)


QUOTE, TELL = "The text says:\n- ", "According to the text, "
LEADS = {
    Route.INFINI_RETRI: [QUOTE],
    Route.CRAG: [QUOTE],
    Route.FULL_CONTEXT: [TELL],
    Route.NONE: [],
}


@pytest.fixture
def make_room(
    tmp_path: Path, model: LanguageModel, embedder: Embedder, handbook: str
) -> Iterator[Callable[..., Room]]:
    rooms: list[Room] = []

    def make(model: LanguageModel = model, **changes: Any) -> Room:
        room = build(tmp_path / "data", model, embedder, **changes)
        rooms.append(room)
        return room

    yield make
    for room in rooms:
        room.thread.close()
        room.corpora._store.close()


def fill(room: Room, handbook: str) -> Room:
    """The first sentences of the handbook, indexed."""
    room.corpora.create("books")
    room.write("\n".join(handbook.splitlines()[:20]))
    room.index()
    return room


@pytest.fixture
def room(make_room: Callable[..., Room], handbook: str) -> Room:
    """The first sentences of the handbook, indexed."""
    room = make_room()
    room.corpora.create("books")
    room.write("\n".join(handbook.splitlines()[:20]))
    room.index()
    return room


def question(route: Route = Route.AUTO, text: str = ASKED, **changes: Any) -> Question:
    return Question("books", text, route, sampling=SHORT, **changes)


@pytest.mark.parametrize("route", [r for r in WISHES if r not in (Route.AUTO, Route.CARTRIDGE)])
async def test_an_answer_comes_in_its_order_with_what_it_cost(room: Room, route: Route) -> None:
    decision, evidence, *deltas, summary = await room.events(question(route))
    assert isinstance(decision, Decision)
    assert (decision.route, decision.reason) == (route, "REQUESTED")
    assert all(isinstance(delta, Delta) and delta.text for delta in deltas)
    text = "".join(delta.text for delta in deltas)
    begins = [lead for lead in (QUOTE, TELL) if text.startswith(lead)]
    assert begins == LEADS[route]
    assert isinstance(summary, Summary)
    assert 0 < summary.usage.output_tokens <= SHORT.max_tokens
    assert summary.usage.prefix_tokens == 0
    times = summary.usage
    assert 0 <= times.queue_seconds <= times.first_token_seconds <= times.total_seconds
    documents = {d.id: d.text for d in room.resident().index.documents}
    assert all(documents[e.document][e.start : e.end] == e.text for e in evidence)
    assert bool(evidence) == (route in (Route.CRAG, Route.INFINI_RETRI))


async def test_a_cartridge_of_the_whole_context_answers_as_the_full_context_does(
    room: Room, model: LanguageModel
) -> None:
    context = room.store("whole", model)
    full = await room.events(question(Route.FULL_CONTEXT))
    short = await room.events(question(Route.CARTRIDGE))
    assert [e.text for e in full[2:-1]] == [e.text for e in short[2:-1]]
    assert short[0].cartridge_id == "whole"
    assert short[-1].usage.prefix_tokens == context.length
    prompts = [events[-1].usage.prompt_tokens for events in (full, short)]
    assert prompts[0] == prompts[1] + context.length


@pytest.mark.parametrize("route", WISHES)
async def test_no_prompt_is_longer_than_the_caller_pays_for(
    room: Room, model: LanguageModel, route: Route
) -> None:
    room.store("whole", model, recovered=0.1)
    for most in (120, 200, 3000):
        if route is Route.FULL_CONTEXT and most < 1000:
            assert await room.reason(question(route, max_prompt_tokens=most)) == "CONTEXT_TOO_LONG"
            continue
        events = await room.events(question(route, max_prompt_tokens=most))
        assert events[-1].usage.prompt_tokens <= most
        if route in (Route.CRAG, Route.INFINI_RETRI):
            assert events[1]


async def test_a_budget_that_the_question_alone_takes_is_refused_with_the_least(room: Room) -> None:
    with pytest.raises(ServiceError, match="give at least") as caught:
        await room.events(question(max_prompt_tokens=10))
    assert (caught.value.reason, caught.value.field) == (
        "INVALID_VALUE",
        "budget.max_prompt_tokens",
    )
    least = int(caught.value.message.rpartition(" ")[2])
    assert (await room.events(question(Route.CRAG, max_prompt_tokens=least)))[-1]
    assert await room.reason(question(max_prompt_tokens=least - 1)) == "INVALID_VALUE"


async def test_a_question_beyond_half_a_window_is_too_long(room: Room) -> None:
    assert await room.reason(question(text="harbor " * 800)) == "QUESTION_TOO_LONG"


async def test_a_corpus_beyond_the_window_is_too_long_for_the_full_context(
    room: Room, handbook: str
) -> None:
    room.write(handbook * 2, "b.txt")
    room.index()
    assert await room.reason(question(Route.FULL_CONTEXT)) == "CONTEXT_TOO_LONG"
    decision = await room.answerer.decide(question())
    assert Route.FULL_CONTEXT in {left.route for left in decision.fallbacks}


async def test_a_corpus_without_an_index_is_not_ready(make_room: Callable[..., Room]) -> None:
    room = make_room()
    room.corpora.create("books")
    assert await room.reason(question()) == "CORPUS_NOT_READY"
    room.write("The lamp stands on the pier.")
    assert await room.reason(question()) == "CORPUS_NOT_READY"
    room.index()
    assert isinstance((await room.events(question()))[-1], Summary)


async def test_an_edited_corpus_answers_from_its_last_index_until_the_next(room: Room) -> None:
    room.write("The lamp of the harbor is kept by Ada.", "b.txt")
    decision, evidence, *_ = await room.events(question(Route.CRAG))
    assert decision.signals["index_fresh"] == 0.0
    assert {piece.document for piece in evidence} == {"a.txt"}
    progress = room.index()
    assert (progress.read, progress.done, progress.total) == (1, progress.total, progress.total)
    decision, evidence, *_ = await room.events(question(Route.CRAG))
    assert decision.signals["index_fresh"] == 1.0
    assert "b.txt" in {piece.document for piece in evidence}


async def test_an_index_that_is_just_replaced_still_answers_what_was_asked(room: Room) -> None:
    """Between the new catalog and the record that names it, the old one must be there."""
    room.write("The lamp of the harbor is kept by Ada.", "b.txt")
    for _ in room.indexer.index("books"):
        pass
    room.library._corpora.drop(lambda key: True)
    assert isinstance((await room.events(question(Route.CRAG)))[-1], Summary)


async def test_a_stale_cartridge_is_refused_by_name_and_left_visibly(
    room: Room, model: LanguageModel
) -> None:
    room.store("whole", model)
    assert (await room.answerer.decide(question(Route.CARTRIDGE))).cartridge_id == "whole"
    room.write("The lamp of the harbor is kept by Ada.", "b.txt")
    for wanted in (question(Route.CARTRIDGE), question(Route.CARTRIDGE, cartridge_id="whole")):
        assert await room.reason(wanted) == "CARTRIDGE_STALE"
    decision = await room.answerer.decide(question())
    assert decision.route is not Route.CARTRIDGE
    assert (decision.fallbacks[0].route, decision.fallbacks[0].reason) == (
        Route.CARTRIDGE,
        "CARTRIDGE_STALE",
    )


async def test_a_cartridge_that_is_stale_within_the_policy_serves_and_tells_how_much_has_changed(
    make_room: Callable[..., Room], model: LanguageModel, handbook: str
) -> None:
    room = fill(make_room(), handbook)
    room.store("whole", model)
    room.write("The lamp of the harbor is kept by Ada.", "b.txt")
    room.index()
    windows = len(room.resident().windows)
    wanted = question(Route.CARTRIDGE)
    for stale, is_served in ((0.0, False), (0.99 / windows, False), (1.01 / windows, True)):
        own = make_room(policy=RoutingPolicy(gates=GateSettings(stale=stale)))
        if is_served:
            decision = (await own.events(wanted))[0]
            assert (decision.route, decision.cartridge_id) == (Route.CARTRIDGE, "whole")
            assert decision.signals["cartridge_changed"] == pytest.approx(1 / windows, abs=1e-3)
        else:
            assert await own.reason(wanted) == "CARTRIDGE_STALE"
            told = {
                left.reason: left.message
                for left in (await own.answerer.decide(question())).fallbacks
            }
            assert f"{1 / windows:.0%} of which is another now" in told["CARTRIDGE_STALE"]


async def test_a_cartridge_of_another_model_is_refused(
    room: Room, make_model: Callable[..., LanguageModel]
) -> None:
    room.store("foreign", make_model(seed=7))
    assert await room.reason(question(Route.CARTRIDGE)) == "CARTRIDGE_MODEL_MISMATCH"
    decision = await room.answerer.decide(question())
    assert decision.fallbacks[0].reason == "CARTRIDGE_MODEL_MISMATCH"


async def test_a_cartridge_whose_files_were_touched_is_damaged(
    room: Room, model: LanguageModel
) -> None:
    room.store("whole", model)
    tensors = room.layout.cartridge("books", "whole") / "part-000.safetensors"
    data = bytearray(tensors.read_bytes())
    data[-1] ^= 1
    tensors.write_bytes(data)
    assert await room.reason(question(Route.CARTRIDGE)) == "CARTRIDGE_DAMAGED"


async def test_a_cartridge_that_is_not_made_yet_or_failed_is_not_ready(room: Room) -> None:
    assert await room.reason(question(Route.CARTRIDGE)) == "CARTRIDGE_NOT_FOUND"
    room.shelf.create(
        "books", "early", prefix_tokens=16, query_offset=0, model_fingerprint="f",
        corpus_digest=room.corpora.get("books").content_digest,
    )  # fmt: skip
    assert await room.reason(question(Route.CARTRIDGE)) == "CARTRIDGE_NOT_READY"
    room.shelf.mark_failed("books", "early", fail("INTERNAL", "no memory").record)
    assert await room.reason(question(Route.CARTRIDGE)) == "CARTRIDGE_NOT_READY"
    assert (await room.answerer.decide(question())).fallbacks[0].reason == "CARTRIDGE_NOT_READY"


async def test_the_newest_ready_cartridge_serves_also_beside_a_newer_failed_one(
    room: Room, model: LanguageModel
) -> None:
    room.store("first", model)
    room.shelf.create(
        "books", "second", prefix_tokens=16, query_offset=0,
        model_fingerprint=model.fingerprint,
        corpus_digest=room.corpora.get("books").content_digest,
    )  # fmt: skip
    assert (await room.answerer.decide(question(Route.CARTRIDGE))).cartridge_id == "first"


async def test_a_cartridge_that_is_passed_over_is_not_loaded(
    make_room: Callable[..., Room], model: LanguageModel, handbook: str
) -> None:
    room = fill(make_room(policy=ANYTHING), handbook)
    room.store("first", model, recovered=ANYTHING.gates.recovered - 0.1)
    assert (await room.answerer.decide(question())).route is not Route.CARTRIDGE
    assert room.library.resident() == ()

    room.store("second", model, recovered=1.0)
    assert (await room.answerer.decide(question())).route is Route.CARTRIDGE
    assert [one.hits for one in room.library.resident()] == [1]


async def test_a_cartridge_that_cannot_be_loaded_is_passed_over_with_its_reason(
    make_room: Callable[..., Room], model: LanguageModel, handbook: str
) -> None:
    room = fill(make_room(policy=ANYTHING), handbook)
    room.store("first", model)
    (room.layout.cartridge("books", "first") / "part-000.safetensors").write_bytes(b"torn")
    decision = await room.answerer.decide(question())
    assert decision.route is not Route.CARTRIDGE
    assert decision.fallbacks[0].reason == "CARTRIDGE_DAMAGED"


async def test_the_files_of_another_cartridge_are_not_served_as_this_one(
    room: Room, model: LanguageModel
) -> None:
    room.store("first", model)
    path = room.layout.cartridge("books", "first")
    other = truncate_prefix(load_cartridge(path, model).prefix, 8)
    store_cartridge(path, model, [BuiltPart(other)], "", {}, {})
    assert await room.reason(question(Route.CARTRIDGE)) == "CARTRIDGE_DAMAGED"


async def test_an_answer_beyond_the_window_behind_a_cartridge_is_refused(
    room: Room, model: LanguageModel
) -> None:
    offset = room.store("whole", model).query_offset
    asked = len(Prompter(model).question_ids(ASKED))
    left = model.geometry.window - offset - asked
    fits = replace(question(Route.CARTRIDGE), sampling=SamplingParams(left))
    assert (await room.answerer.decide(fits)).route is Route.CARTRIDGE
    beyond = replace(fits, sampling=SamplingParams(left + 1))
    assert await room.reason(beyond) == "CONTEXT_TOO_LONG"
    auto = replace(beyond, route=Route.AUTO)
    assert (await room.answerer.decide(auto)).fallbacks[0].reason == "CONTEXT_TOO_LONG"


async def test_a_passed_deadline_ends_a_question_before_it_is_prepared(room: Room) -> None:
    assert await room.reason(question(deadline=time.monotonic() - 1)) == "DEADLINE_PASSED"
    assert isinstance((await room.events(question(deadline=time.monotonic() + 60)))[-1], Summary)


async def test_a_full_queue_refuses_and_a_closed_answer_frees_its_place(
    make_room: Callable[..., Room], room: Room
) -> None:
    narrow = make_room(limits=Limits(max_queue=1))
    long = replace(question(Route.NONE), sampling=SamplingParams(1000))
    first = narrow.answerer.answer(long)
    while not isinstance(await anext(first), Delta):
        pass
    with pytest.raises(ServiceError) as caught:
        await narrow.events(question())
    assert caught.value.reason == "QUEUE_FULL"
    assert caught.value.retry_after_seconds
    await first.aclose()
    # The next call is behind the cancellation in the model thread's inbox.
    assert await narrow.thread.run(lambda: len(narrow.thread._batch)) == 0
    assert isinstance((await narrow.events(question()))[-1], Summary)


async def test_refused_questions_free_their_places_too(
    make_room: Callable[..., Room], room: Room
) -> None:
    narrow = make_room(limits=Limits(max_queue=1))
    for _ in range(3):
        assert await narrow.reason(question(max_prompt_tokens=1)) == "INVALID_VALUE"
        assert await narrow.reason(question(deadline=0.0)) == "DEADLINE_PASSED"
    assert isinstance((await narrow.events(question()))[-1], Summary)


async def test_settings_of_retrieval_reach_the_prompt(
    make_room: Callable[..., Room], room: Room
) -> None:
    narrow = make_room(reading=ReadingSettings(evidence=64), crag=CragSettings(evidence=64))
    for route in (Route.CRAG, Route.INFINI_RETRI):
        small, large = [await r.events(question(route)) for r in (narrow, room)]
        assert small[-1].usage.prompt_tokens < large[-1].usage.prompt_tokens


@pytest.mark.parametrize("reading", list(Reading))
async def test_every_reader_finds_evidence_in_a_corpus(room: Room, reading: Reading) -> None:
    decision, evidence, *_ = await room.events(question(Route.INFINI_RETRI, reading=reading))
    texts = {document.id: document.text for document in room.resident().index.documents}
    assert decision.route is Route.INFINI_RETRI
    assert evidence
    assert all(texts[piece.document][piece.start : piece.end] == piece.text for piece in evidence)


async def test_the_published_reader_is_refused_a_long_corpus(
    make_room: Callable[..., Room], handbook: str
) -> None:
    room = make_room(limits=Limits(max_published_tokens=50))
    room.corpora.create("books")
    room.write(handbook[:2000])
    room.index()
    asked = question(Route.INFINI_RETRI, reading=Reading.PUBLISHED)
    assert await room.reason(asked) == "CONTEXT_TOO_LONG"
    assert await room.events(question(Route.INFINI_RETRI, reading=Reading.STREAMING))


async def test_a_question_that_is_declined_asks_no_model_and_can_be_judged(
    make_room: Callable[..., Room], room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    likely = {route: {"one": 3.0 if route is Route.DECLINE else -3.0} for route in Route}
    declining = make_room(quality=QualityModel(likely))
    monkeypatch.setattr(declining.thread, "generate", None)
    decision, evidence, told, summary = await declining.events(question())
    assert (decision.route, decision.reason) == (Route.DECLINE, "UNANSWERABLE")
    assert (evidence, told.text) == ((), DECLINED)
    assert (summary.finish, summary.usage.prompt_tokens) == (FinishReason.STOP, 0)
    assert summary.usage.total_seconds >= summary.usage.first_token_seconds > 0.0
    assert decision.id


async def test_what_is_explained_or_retrieved_alone_cannot_be_judged(room: Room) -> None:
    assert (await room.answerer.decide(question())).id == ""
    assert (await room.answerer.retrieve(question()))[0].id == ""
    assert (await room.events(question()))[0].id


async def test_a_decision_tells_how_far_the_question_was_read(
    make_room: Callable[..., Room], room: Room
) -> None:
    always = make_room(reading=ReadingSettings(again=1.0, further=1.0))
    never = make_room(reading=ReadingSettings(again=0.0, further=0.0))
    for own, rounds, said in ((always, 2.0, "a draft"), (never, 1.0, "nothing was read twice")):
        for decision in (
            (await own.events(question(Route.INFINI_RETRI)))[0],
            (await own.answerer.retrieve(question()))[0],
        ):
            assert 0.0 <= decision.signals["coverage"] < 1.0
            assert decision.signals["read_again"] == rounds - 1
            assert 0.0 < decision.signals["search_seconds"] < 60.0
            assert decision.signals["search_rounds"] == rounds
            assert said in decision.explanation
    clustered = (await room.events(question(Route.CRAG)))[0]
    assert "coverage" not in clustered.signals


async def test_evidence_is_retrieved_without_an_answer(room: Room) -> None:
    decision, found = await room.answerer.retrieve(question())
    assert decision.route is Route.INFINI_RETRI
    ranked = [(piece.document, piece.start) for piece in found.ranking]
    assert len(ranked) == len(set(ranked)) > len(found.evidence) > 0
    _, clustered = await room.answerer.retrieve(question(Route.CRAG))
    assert [piece.score for piece in clustered.ranking] == sorted(
        (piece.score for piece in clustered.ranking), reverse=True
    )
    for route in (Route.NONE, Route.FULL_CONTEXT, Route.CARTRIDGE):
        with pytest.raises(ServiceError) as caught:
            await room.answerer.retrieve(question(route))
        assert caught.value.reason == "INVALID_VALUE"


async def pieces(text: str, size: int) -> AsyncIterator[str]:
    for start in range(0, len(text), size):
        yield text[start : start + size]


async def read_text(room: Room, text: str, size: int = 1000, **changes: Any) -> list[Any]:
    asked = TextQuestion(ASKED, sampling=SHORT, **changes)
    return [event async for event in room.text_answerer.answer(asked, pieces(text, size))]


async def test_a_text_that_is_sent_along_is_read_and_answered_from(
    room: Room, handbook: str
) -> None:
    events = await read_text(room, handbook)
    progress = [event for event in events if isinstance(event, ReadSoFar)]
    evidence, *deltas, summary = events[len(progress) :]

    assert progress == sorted(progress, key=lambda step: step.tokens)
    assert progress[-1].sentences > 50
    assert evidence
    assert all(handbook[piece.start : piece.end] == piece.text for piece in evidence)
    assert all(isinstance(delta, Delta) for delta in deltas)
    assert isinstance(summary, Summary)
    assert summary.usage.prompt_tokens > 0
    assert (await read_text(room, handbook, size=77))[-1].usage.prompt_tokens > 0
    assert room.corpora.get("books").id == "books"  # nothing was registered beside it


@pytest.mark.parametrize("text", ["", "  \n "])
async def test_a_text_without_a_sentence_is_refused(room: Room, text: str) -> None:
    with pytest.raises(ServiceError) as caught:
        await read_text(room, text)
    assert caught.value.reason == "TEXT_EMPTY"


async def test_a_text_that_outlasts_its_deadline_is_refused(room: Room, handbook: str) -> None:
    with pytest.raises(ServiceError) as caught:
        await read_text(room, handbook, deadline=time.monotonic() - 1)
    assert caught.value.reason == "DEADLINE_PASSED"


async def test_a_question_is_answered_while_a_text_is_being_read(room: Room, handbook: str) -> None:
    async def endless() -> AsyncIterator[str]:
        while True:
            yield handbook

    reading = room.text_answerer.answer(TextQuestion(ASKED, sampling=SHORT), endless())
    await anext(reading)
    assert await room.events(question(Route.CRAG))
    assert isinstance(await anext(reading), ReadSoFar)
    await reading.aclose()
    assert room.answerer._admission.under_way == 0


async def test_an_overview_is_told_the_summaries_that_were_made_when_the_corpus_was_indexed(
    make_room: Callable[..., Room], handbook: str
) -> None:
    room = fill(make_room(crag=CragSettings(condense=Condense.SUMMARIES)), handbook)
    resident = room.resident()
    told = [summary.text for summary in resident.catalog.summaries]
    assert told
    overview = question(Route.CRAG, "Give an overview of the text.")
    decision, evidence, *_ = await room.events(overview)
    central = [resident.index.span(one.sentence) for one in resident.catalog.summaries]
    assert isinstance(decision, Decision)
    assert evidence
    assert {(e.start, e.end) for e in evidence} <= {(span.start, span.end) for span in central}


def test_an_edit_that_leaves_a_cluster_as_it_was_leaves_its_summary(
    make_room: Callable[..., Room], handbook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = fill(make_room(crag=CragSettings(condense=Condense.SUMMARIES)), handbook)
    before = room.resident().catalog.summaries
    asked: list[int] = []

    def generate(_: LanguageModel, requests: list[Any]) -> list[str]:
        asked.append(len(requests))
        return ["New."] * len(requests)

    monkeypatch.setattr("retrieval.summaries.generate_text", generate)
    room.index()
    assert asked == [0]
    assert room.resident().catalog.summaries == before
