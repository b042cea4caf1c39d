"""A refusal is doubted once, where the corpus likely tells; nobody reads the answer that refused."""

import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from answering_room import Room, build

from engine.embedding import Embedder
from engine.model import LanguageModel
from engine.sampling import SamplingParams
from service import answering, generating
from service.answers import Decision, Delta, Option, Question, Route, Summary
from service.escalation import DOUBT, escalated, is_due, is_open, is_refusal, second_route
from service.routing.choice import RoutingPolicy
from service.routing.gates import GateSettings
from service.routing.quality import QualityModel

ASKED = "Who keeps the lamp of the harbor?"
ANYTHING = RoutingPolicy(gates=GateSettings(off_topic=-1.0, decline_above=1.0))
REFUSAL = "The text does not say who keeps it."


def option(route: Route, quality: float = 0.5, closed: str = "") -> Option:
    return Option(route, quality, 0.1, 0.2, 100, quality, closed)


CRAG_FIRST = Decision(
    Route.CRAG, Route.AUTO, "HIGHEST_UTILITY", "", id="d",
    options=(
        option(Route.CRAG), option(Route.DECLINE, 0.1), option(Route.NONE),
        option(Route.FULL_CONTEXT, closed="CONTEXT_TOO_LONG"), option(Route.INFINI_RETRI),
    ),
)  # fmt: skip


def test_the_next_open_route_that_reads_has_the_second_try() -> None:
    second = second_route(CRAG_FIRST)
    assert second is not None
    assert second.route is Route.INFINI_RETRI


def test_a_refusal_is_believed_where_the_corpus_likely_does_not_tell() -> None:
    unsure = (option(Route.DECLINE, DOUBT + 0.01), option(Route.INFINI_RETRI))
    assert second_route(replace(CRAG_FIRST, options=unsure)) is None


@pytest.mark.parametrize("changes", [{"requested": Route.CRAG}, {"route": Route.NONE}])
def test_a_route_asked_for_and_one_that_reads_nothing_are_tried_once(changes: Any) -> None:
    assert second_route(replace(CRAG_FIRST, **changes)) is None


@pytest.mark.parametrize(
    "text",
    [
        REFUSAL, "The passage doesn't mention it.", "There is no information on that.",
        "I cannot answer this from the text.", "Unfortunately, the text does not specify it.",
    ],
)  # fmt: skip
def test_refusals_are_known_by_their_words(text: str) -> None:
    assert is_refusal(text)
    assert all(is_open(text[:end]) for end in range(10))


@pytest.mark.parametrize(
    "text",
    [
        "Elias keeps it, though the text does not mention since when.",
        "The text says that Elias keeps it. It does not say since when.", "\n- Elias keeps it.",
    ],
)  # fmt: skip
def test_an_answer_that_tells_something_is_no_refusal_and_waits_no_longer(text: str) -> None:
    first = text.partition(". ")[0] + ". "
    assert not is_open(first)
    assert not is_refusal(first)


def test_a_second_try_that_may_end_too_late_is_not_begun() -> None:
    second, held = option(Route.INFINI_RETRI), [Delta(REFUSAL, (7,))]
    now = time.monotonic()
    assert is_due(second, held, None)
    assert is_due(second, held, now + 60.0)
    assert not is_due(second, held, now + second.p95 / 2)


def test_a_second_try_keeps_the_terms_of_the_first() -> None:
    taken = Decision(Route.INFINI_RETRI, Route.INFINI_RETRI, "REQUESTED", "asked", id="e")
    told = escalated(replace(CRAG_FIRST, propensity=0.5), taken)
    assert (told.route, told.requested, told.reason) == (
        Route.INFINI_RETRI,
        Route.AUTO,
        "ESCALATED",
    )
    assert (told.id, told.options, told.propensity) == ("e", CRAG_FIRST.options, 0.5)
    assert [(one.route, one.reason) for one in told.fallbacks] == [(Route.CRAG, "REFUSED")]
    assert "crag said that the text does not tell" in told.explanation


@pytest.fixture
def make_room(
    tmp_path: Path,
    model: LanguageModel,
    embedder: Embedder,
    handbook: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[], Room]]:
    """A room with a model that is not led, for which declining is never likely."""
    monkeypatch.setattr("engine.prompts._NEEDS_LEAD", 0)
    likely = {
        Route.DECLINE: {"one": -5.0},
        Route.CRAG: {"one": 2.0},
        Route.INFINI_RETRI: {"one": 1.0},
    }
    rooms = []

    def make() -> Room:
        room = build(tmp_path, model, embedder, QualityModel(likely), policy=ANYTHING)
        rooms.append(room)
        room.corpora.create("books")
        room.write("\n".join(handbook.splitlines()[:20]))
        room.index()
        return room

    yield make
    for room in rooms:
        room.thread.close()
        room.corpora._store.close()


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first answer refuses; the lengths of the prompts of all, in order."""
    prompts: list[int] = []

    async def generate(thread: Any, prepared: Any, *more: Any) -> AsyncGenerator[Delta | Summary]:
        prompts.append(len(prepared.prompt))
        if len(prompts) == 1:
            for number, word in enumerate(REFUSAL.split()):
                yield Delta(f" {word}" if number else word, (7,))
        async for event in generating.generate(thread, prepared, *more):
            yield event

    monkeypatch.setattr(answering, "generate", generate)
    return prompts


def question(**changes: Any) -> Question:
    return Question("books", ASKED, sampling=SamplingParams(max_tokens=6), **changes)


async def test_an_answer_that_refuses_is_given_by_the_runner_up_and_none_of_it_is_told(
    make_room: Callable[[], Room], refusing: list[int]
) -> None:
    room = make_room()
    decision, evidence, *deltas, summary = await room.events(question())
    assert (decision.route, decision.reason) == (Route.INFINI_RETRI, "ESCALATED")
    assert evidence
    assert all(isinstance(delta, Delta) for delta in deltas)
    assert "does not say" not in "".join(delta.text for delta in deltas)
    assert len(refusing) == 2
    assert summary.usage.prompt_tokens == sum(refusing)
    refused = len(REFUSAL.split()[:4])  # "The text does not say"
    assert refused < summary.usage.output_tokens <= refused + 1 + 6


async def test_a_route_that_was_asked_for_is_never_left(
    make_room: Callable[[], Room], refusing: list[int]
) -> None:
    decision, _, first, *_ = await make_room().events(question(route=Route.CRAG))
    assert (decision.route, decision.reason) == (Route.CRAG, "REQUESTED")
    assert first.text == "The"
    assert len(refusing) == 1


async def test_a_model_that_is_led_is_asked_once(
    make_room: Callable[[], Room], refusing: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    room = make_room()
    monkeypatch.setattr("engine.prompts._NEEDS_LEAD", 1 << 40)
    decision, *_ = await room.events(question())
    assert decision.route is Route.CRAG
    assert len(refusing) == 1


async def test_an_answer_that_tells_is_passed_on_whole(make_room: Callable[[], Room]) -> None:
    room = make_room()
    decision, evidence, *deltas, summary = await room.events(question())
    asked = await room.events(question(route=Route.CRAG))
    assert decision.route is Route.CRAG
    assert evidence == asked[1]
    assert [delta.text for delta in deltas] == [delta.text for delta in asked[2:-1]]
    assert isinstance(summary, Summary)
