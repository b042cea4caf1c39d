"""The router's rules: each has its reason, and what it passes over is kept with a reason too."""

from dataclasses import replace

import pytest

from cartridges.guard import Guard
from service.answers import Decision, Route
from service.router import CartridgeFacts, Facts, RoutingPolicy, choose, obstacle

POLICY = RoutingPolicy(off_topic=0.25, clear_hit=0.6, recovered=0.9, short_text=384)
GOOD = CartridgeFacts("good", recovered=0.95)
WEAK = CartridgeFacts("weak", recovered=0.5)
STALE = CartridgeFacts("old", problem=("CARTRIDGE_STALE", "train it again"))
LONG = Facts(corpus_tokens=100_000, room=1000, nearest=0.4, is_fresh=True, cartridge=None)


def decide(
    facts: Facts, question: str = "Who keeps the lamp?", wish: Route = Route.AUTO
) -> Decision:
    return choose(question, wish, facts, POLICY)


@pytest.mark.parametrize(
    ("facts", "question", "route", "reason"),
    [
        (replace(LONG, nearest=0.2, cartridge=GOOD), "", Route.NONE, "OFF_TOPIC"),
        (replace(LONG, cartridge=GOOD), "", Route.CARTRIDGE, "CARTRIDGE_READY"),
        (replace(LONG, corpus_tokens=384), "", Route.FULL_CONTEXT, "SHORT_TEXT"),
        (LONG, "Give me an overview.", Route.CRAG, "OVERVIEW"),
        (replace(LONG, nearest=0.6), "", Route.CRAG, "CLEAR_HIT"),
        (LONG, "", Route.INFINI_RETRI, "NO_CLEAR_HIT"),
    ],
    ids=lambda value: str(value) if isinstance(value, Route) else "",
)
def test_each_rule_gives_its_route_and_reason(
    facts: Facts, question: str, route: Route, reason: str
) -> None:
    decision = decide(facts, question or "Who keeps the lamp?")
    assert (decision.route, decision.requested, decision.reason) == (route, Route.AUTO, reason)
    assert decision.explanation


def test_a_threshold_itself_is_enough() -> None:
    assert decide(replace(LONG, nearest=0.25)).route is not Route.NONE
    assert decide(replace(LONG, nearest=0.2499)).route is Route.NONE
    exact = replace(LONG, cartridge=CartridgeFacts("c", recovered=0.9))
    assert decide(exact).route is Route.CARTRIDGE
    assert decide(replace(LONG, nearest=0.5999)).reason == "NO_CLEAR_HIT"
    assert decide(replace(LONG, corpus_tokens=385)).route is not Route.FULL_CONTEXT


@pytest.mark.parametrize(
    "question",
    [
        "How many keepers are there?",
        "In which year was it founded?",
        "When does it open?",
        "What does a ticket cost, or what is its price?",
        "Show the table of fares.",
    ],
)
def test_an_exact_figure_is_looked_up_and_not_remembered(question: str) -> None:
    decision = decide(replace(LONG, cartridge=GOOD), question)
    assert decision.route is not Route.CARTRIDGE
    assert decision.fallbacks[0].reason == "EXACT_FIGURES"
    wished = decide(replace(LONG, cartridge=GOOD), question, Route.CARTRIDGE)
    assert wished.route is Route.CARTRIDGE


def test_a_guarded_cartridge_is_for_what_lies_nearer_than_its_threshold() -> None:
    guarded = replace(GOOD, guard=Guard(0.45, 0.05, 0.9))
    far = decide(replace(LONG, cartridge=guarded, nearest=0.45))
    assert far.fallbacks[0].reason == "CARTRIDGE_OFF_TOPIC"
    assert "5%" in far.fallbacks[0].message
    near = decide(replace(LONG, cartridge=guarded, nearest=0.46))
    assert (near.route, near.signals["cartridge_guard"]) == (Route.CARTRIDGE, 0.45)


@pytest.mark.parametrize(
    "question",
    ["Summarize it.", "Give a summary.", "What is the book about?", "What are the main points?"],
)
def test_a_question_about_the_whole_is_known_by_its_words(question: str) -> None:
    assert decide(replace(LONG, nearest=0.7), question).reason == "OVERVIEW"


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("Summarise the text.", "OVERVIEW"),
        ("Please give me a short overview of the whole document.", "OVERVIEW"),
        ("What are the main points?", "OVERVIEW"),
        ("Summarise the history of Rome.", "OFF_TOPIC"),
        ("Who won the cup?", "OFF_TOPIC"),
    ],
)
def test_a_question_about_the_whole_that_names_nothing_is_near_to_no_sentence_and_on_topic(
    question: str, reason: str
) -> None:
    assert decide(replace(LONG, nearest=0.1), question).reason == reason


def test_a_short_text_that_does_not_fit_the_callers_budget_is_searched() -> None:
    decision = decide(replace(LONG, corpus_tokens=300, room=200))
    assert decision.route is Route.INFINI_RETRI
    assert [(left.route, left.reason) for left in decision.fallbacks] == [
        (Route.FULL_CONTEXT, "CONTEXT_TOO_LONG")
    ]


@pytest.mark.parametrize(
    ("cartridge", "reason"), [(WEAK, "CARTRIDGE_WEAK"), (STALE, "CARTRIDGE_STALE")]
)
def test_a_cartridge_that_is_passed_over_is_told_first(
    cartridge: CartridgeFacts, reason: str
) -> None:
    decision = decide(replace(LONG, cartridge=cartridge))
    assert decision.route is Route.INFINI_RETRI
    assert decision.cartridge_id == ""
    left = [(fallback.route, fallback.reason) for fallback in decision.fallbacks]
    assert left == [(Route.CARTRIDGE, reason), (Route.FULL_CONTEXT, "CONTEXT_TOO_LONG")]
    assert all(fallback.message for fallback in decision.fallbacks)


def test_nothing_is_told_of_a_cartridge_that_is_not_there() -> None:
    decision = decide(replace(LONG, corpus_tokens=500))
    assert decision.fallbacks == ()


def test_only_the_cartridge_route_names_its_cartridge() -> None:
    assert decide(replace(LONG, cartridge=GOOD)).cartridge_id == "good"
    assert decide(replace(LONG, cartridge=GOOD, nearest=0.1)).cartridge_id == ""
    for wish in set(Route) - {Route.AUTO}:
        wished = decide(replace(LONG, cartridge=WEAK), wish=wish)
        assert wished.cartridge_id == ("weak" if wish is Route.CARTRIDGE else "")


@pytest.mark.parametrize("wish", [route for route in Route if route is not Route.AUTO])
def test_an_explicit_wish_is_taken_without_any_rule(wish: Route) -> None:
    decision = decide(replace(LONG, nearest=-1.0, cartridge=GOOD), "Summarize it.", wish)
    assert (decision.route, decision.requested, decision.reason) == (wish, wish, "REQUESTED")
    assert decision.fallbacks == ()


def test_obstacles_stand_in_the_way_of_two_routes_only() -> None:
    for route in Route:
        blocked = obstacle(route, LONG)
        expected = {Route.CARTRIDGE: "CARTRIDGE_NOT_FOUND", Route.FULL_CONTEXT: "CONTEXT_TOO_LONG"}
        assert (blocked[0] if blocked else None) == expected.get(route)
    assert obstacle(Route.CARTRIDGE, replace(LONG, cartridge=STALE)) == STALE.problem
    assert obstacle(Route.CARTRIDGE, replace(LONG, cartridge=WEAK)) is None
    assert obstacle(Route.FULL_CONTEXT, replace(LONG, corpus_tokens=LONG.room)) is None


def test_signals_are_the_numbers_that_were_decided_on() -> None:
    facts = replace(LONG, nearest=0.123456, is_fresh=False, cartridge=GOOD)
    signals = {
        "corpus_tokens": 100_000.0,
        "context_room": 1000.0,
        "nearest_cosine": 0.1235,
        "index_fresh": 0.0,
        "cartridge_recovered": 0.95,
    }
    assert facts.signals() == signals == dict(decide(facts).signals)
    assert "cartridge_recovered" not in replace(facts, cartridge=STALE).signals()
    assert "cartridge_recovered" not in LONG.signals()
