"""The router: gates with reasons, the most worth for its cost, and every term told."""

import random
from dataclasses import replace

import pytest

from cartridges.guard import Guard
from retrieval.question_kind import Kind
from retrieval.survey import Survey
from service.answers import Decision, Route
from service.routing.choice import ROUTES, RoutingPolicy, amounts, choose, explored
from service.routing.costs import CostModel, Stage
from service.routing.facts import CartridgeFacts, Facts
from service.routing.gates import GateSettings, obstacle
from service.routing.quality import QualityModel, Verdicts

POLICY = RoutingPolicy(gates=GateSettings(off_topic=0.25, recovered=0.5))
NEAR, FAR = Survey(3, nearest=0.6, known=1.0), Survey(3, nearest=0.2)
GOOD = CartridgeFacts("good", recovered=0.95)
WEAK = CartridgeFacts("weak", recovered=0.4)
STALE = CartridgeFacts("old", problem=("CARTRIDGE_STALE", "refresh it"))
LONG = Facts(corpus_tokens=100_000, room=1000, survey=NEAR, sentences=4000, asked=20)
SHORT = replace(LONG, corpus_tokens=800, sentences=30)
COSTS = CostModel()
OPEN = {"": 0.0}


def model(**likely: float) -> QualityModel:
    """A route's logit; routes that are not named are worth a coin's toss."""
    return QualityModel({Route(name): {"one": value} for name, value in likely.items()})


def decide(facts: Facts, quality: QualityModel | None = None, wish: Route = Route.AUTO) -> Decision:
    return choose(wish, facts, POLICY, quality or QualityModel(), COSTS)


def closed(decision: Decision) -> dict[Route, str]:
    return {one.route: one.closed for one in decision.options}


def test_the_route_with_the_most_worth_is_taken_and_the_next_one_is_told() -> None:
    facts = replace(SHORT, cartridge=GOOD)
    quality = model(cartridge=1.0, crag=2.0, infini_retri=0.5, full_context=0.2)
    decision = decide(facts, quality)
    assert (decision.route, decision.reason) == (Route.CRAG, "HIGHEST_UTILITY")
    ranked = [one for one in decision.options if not one.closed]
    assert [one.utility for one in ranked] == sorted((x.utility for x in ranked), reverse=True)
    assert ranked[0].route is Route.CRAG
    assert ranked[1].route.value in decision.explanation


def test_the_runner_up_and_the_margin_are_told() -> None:
    facts = replace(SHORT, cartridge=GOOD)
    quality = model(cartridge=1.0, crag=2.0, infini_retri=0.5, full_context=0.2)
    decision = decide(facts, quality)
    worth = {one.route: one.utility for one in decision.options}
    assert decision.runner_up is not None
    assert decision.runner_up.route is Route.CARTRIDGE
    assert decision.margin == worth[Route.CRAG] - worth[Route.CARTRIDGE] > 0
    forced = decide(facts, quality, Route.FULL_CONTEXT)
    assert forced.margin == worth[Route.FULL_CONTEXT] - worth[Route.CRAG] < 0
    alone = decide(replace(LONG, survey=FAR), quality)
    assert (alone.route, alone.runner_up, alone.margin) == (Route.NONE, None, 0.0)


def test_of_routes_that_are_as_good_the_cheaper_one_is_taken() -> None:
    facts = replace(SHORT, cartridge=GOOD)
    assert decide(facts).route is Route.CARTRIDGE  # reads the question alone
    assert decide(replace(LONG)).route is Route.CRAG  # does not read the text


@pytest.mark.parametrize(
    ("facts", "route", "reason"),
    [
        (LONG, Route.FULL_CONTEXT, "CONTEXT_TOO_LONG"),
        (LONG, Route.CARTRIDGE, "CARTRIDGE_NOT_FOUND"),
        (LONG, Route.NONE, "ON_TOPIC"),
        (replace(LONG, cartridge=STALE), Route.CARTRIDGE, "CARTRIDGE_STALE"),
        (replace(LONG, cartridge=WEAK), Route.CARTRIDGE, "CARTRIDGE_WEAK"),
        (replace(LONG, cartridge=GOOD, kind=Kind.NUMERIC), Route.CARTRIDGE, "EXACT_FIGURES"),
        (replace(LONG, cartridge=GOOD, kind=Kind.COUNT), Route.CARTRIDGE, "EXACT_FIGURES"),
        (replace(LONG, survey=FAR), Route.CRAG, "OFF_TOPIC"),
        (replace(LONG, survey=FAR), Route.INFINI_RETRI, "OFF_TOPIC"),
        (replace(LONG, seconds_left=0.0), Route.INFINI_RETRI, "DEADLINE_TOO_SHORT"),
    ],
)
def test_a_gate_is_shut_with_its_reason(facts: Facts, route: Route, reason: str) -> None:
    decision = decide(facts)
    assert closed(decision)[route] == reason
    assert all(one.why for one in decision.options if one.closed)


def test_what_was_passed_over_is_told_but_not_what_was_never_there() -> None:
    left = {one.route: one.reason for one in decide(replace(LONG, cartridge=WEAK)).fallbacks}
    assert left == {Route.CARTRIDGE: "CARTRIDGE_WEAK", Route.FULL_CONTEXT: "CONTEXT_TOO_LONG"}
    assert decide(SHORT).fallbacks == ()


def test_a_question_about_nothing_in_the_corpus_is_asked_of_the_model_alone() -> None:
    decision = decide(replace(SHORT, survey=FAR, cartridge=GOOD), model(cartridge=5.0, none=-5.0))
    assert (decision.route, decision.reason) == (Route.NONE, "OFF_TOPIC")
    assert "0.20" in decision.explanation


def test_what_stands_out_from_unrelated_questions_is_on_topic_though_its_cosine_is_low() -> None:
    for standing, reason in ((1.6, "OFF_TOPIC"), (1.7, "HIGHEST_UTILITY")):
        facts = replace(LONG, survey=replace(FAR, standing=standing))
        assert decide(facts).reason == reason


def test_a_question_that_the_corpus_seems_not_to_tell_is_declined_for_nothing() -> None:
    decision = decide(LONG, model(crag=-2.0, infini_retri=-2.0, decline=1.0))
    assert (decision.route, decision.reason) == (Route.DECLINE, "UNANSWERABLE")
    assert "73% likely" in decision.explanation
    assert "next is crag" in decision.explanation
    (declined,) = [one for one in decision.options if one.route is Route.DECLINE]
    assert (declined.tokens, declined.p95) == (0, 0.0)


@pytest.mark.parametrize(
    ("facts", "likely", "reason"),
    [
        (LONG, -0.5, "LIKELY_TOLD"),
        (
            replace(LONG, seconds_left=0.0),
            -0.5,
            "LIKELY_TOLD",
        ),  # late, which is no reason to decline
        (replace(LONG, kind=Kind.OVERVIEW), 5.0, "OVERVIEW"),
        (replace(LONG, corpus_tokens=256), 5.0, "SHORT_TEXT"),
    ],
)
def test_what_the_corpus_is_likely_to_tell_is_not_declined(
    facts: Facts, likely: float, reason: str
) -> None:
    decision = decide(facts, model(crag=-9.0, infini_retri=-9.0, decline=likely))
    assert decision.route is not Route.DECLINE
    assert closed(decision)[Route.DECLINE] == reason
    assert Route.DECLINE not in {one.route for one in decision.fallbacks}


def test_a_short_text_does_not_tell_what_it_does_not_speak_of() -> None:
    facts = replace(LONG, corpus_tokens=80, survey=FAR)
    assert decide(facts, model(decline=1.0)).route is Route.DECLINE
    assert decide(replace(facts, corpus_tokens=257, survey=NEAR), model(decline=1.0)).route is (
        Route.DECLINE
    )


def test_a_service_that_is_set_so_never_declines() -> None:
    policy = RoutingPolicy(gates=GateSettings(decline_above=1.0))
    decision = choose(Route.AUTO, LONG, policy, model(crag=-9.0, decline=30.0), COSTS)
    assert decision.route is not Route.DECLINE
    with pytest.raises(ValueError, match=r"decline_above is 1\.5"):
        GateSettings(decline_above=1.5)


def test_a_question_about_the_whole_may_lie_further_from_each_sentence() -> None:
    gates = GateSettings(off_topic=0.45, off_topic_overview=0.30)
    facts = replace(LONG, survey=replace(FAR, nearest=0.35))
    for kind, reason in ((Kind.LOOKUP, "OFF_TOPIC"), (Kind.OVERVIEW, "HIGHEST_UTILITY")):
        decision = choose(
            Route.AUTO, replace(facts, kind=kind), RoutingPolicy(gates=gates), QualityModel(), COSTS
        )
        assert decision.reason == reason


def test_an_overview_of_nothing_in_particular_is_of_the_corpus() -> None:
    decision = decide(replace(LONG, survey=FAR, kind=Kind.OVERVIEW, is_nameless=True))
    assert decision.route is Route.CRAG


def test_a_guard_lets_an_overview_of_nothing_in_particular_in() -> None:
    guarded = replace(GOOD, guard=Guard(0.45, 0.05, 0.9))
    facts = replace(LONG, cartridge=guarded, survey=replace(FAR, nearest=0.44), kind=Kind.OVERVIEW)
    for is_nameless, reason in ((False, "CARTRIDGE_OFF_TOPIC"), (True, "")):
        decision = decide(replace(facts, is_nameless=is_nameless))
        assert closed(decision).get(Route.CARTRIDGE, "") == reason


def test_a_guard_lets_in_what_lies_nearer_than_its_threshold() -> None:
    guarded = replace(GOOD, guard=Guard(0.45, 0.05, 0.9))
    for nearest, reason in ((0.45, "CARTRIDGE_OFF_TOPIC"), (0.46, "")):
        facts = replace(SHORT, survey=replace(NEAR, nearest=nearest), cartridge=guarded)
        assert closed(decide(facts))[Route.CARTRIDGE] == reason


def test_a_deadline_that_no_route_is_sure_to_meet_takes_the_fastest() -> None:
    decision = decide(replace(LONG, seconds_left=0.0))
    assert (decision.route, decision.reason) == (Route.CRAG, "DEADLINE_TOO_SHORT")


def test_a_deadline_shuts_out_what_takes_longer_at_the_95th_percentile() -> None:
    slow = CostModel({**COSTS.stages, "attend": Stage.prior(5.0, 0.0, 1000.0)})
    facts = replace(LONG, seconds_left=8.0)
    decision = choose(Route.AUTO, facts, POLICY, model(infini_retri=9.0), slow)
    assert closed(decision)[Route.INFINI_RETRI] == "DEADLINE_TOO_SHORT"
    assert decision.route is Route.CRAG
    later = choose(
        Route.AUTO, replace(facts, seconds_left=90.0), POLICY, model(infini_retri=9.0), slow
    )
    assert later.route is Route.INFINI_RETRI


@pytest.mark.parametrize("wish", ROUTES)
def test_an_explicit_wish_is_taken_past_every_rule(wish: Route) -> None:
    facts = replace(LONG, survey=FAR, cartridge=WEAK, seconds_left=0.0)
    decision = decide(facts, wish=wish)
    assert (decision.route, decision.requested, decision.reason) == (wish, wish, "REQUESTED")
    assert decision.fallbacks == ()
    assert decision.cartridge_id == ("weak" if wish is Route.CARTRIDGE else "")


def test_obstacles_stand_in_the_way_of_two_routes_only() -> None:
    for route in Route:
        blocked = obstacle(route, LONG)
        expected = {Route.CARTRIDGE: "CARTRIDGE_NOT_FOUND", Route.FULL_CONTEXT: "CONTEXT_TOO_LONG"}
        assert (blocked[0] if blocked else None) == expected.get(route)
    assert obstacle(Route.CARTRIDGE, replace(LONG, cartridge=STALE)) == STALE.problem
    assert obstacle(Route.CARTRIDGE, replace(LONG, cartridge=WEAK)) is None
    assert obstacle(Route.FULL_CONTEXT, replace(LONG, corpus_tokens=LONG.room)) is None


def test_what_callers_said_of_a_route_moves_its_worth() -> None:
    facts = replace(SHORT, cartridge=GOOD)
    before = decide(facts, model(cartridge=0.5, crag=0.4)).route
    disliked = {Route.CARTRIDGE: Verdicts(good=1, bad=12)}
    after = choose(Route.AUTO, facts, POLICY, model(cartridge=0.5, crag=0.4), COSTS, disliked)
    assert (before, after.route) == (Route.CARTRIDGE, Route.CRAG)
    liked = {Route.CARTRIDGE: Verdicts(good=12)}
    again = choose(Route.AUTO, facts, POLICY, model(cartridge=0.5, crag=0.4), COSTS, liked)
    options = {one.route: one.quality for one in again.options}
    assert options[Route.CARTRIDGE] > 0.75


def test_a_cartridge_that_is_in_memory_need_not_be_loaded() -> None:
    loaded, stored = replace(GOOD, mebibytes=0.0), replace(GOOD, mebibytes=40.0)
    assert "load" not in amounts(Route.CARTRIDGE, replace(SHORT, cartridge=loaded))
    assert amounts(Route.CARTRIDGE, replace(SHORT, cartridge=stored))["load"] == 40.0


def test_some_questions_try_other_open_routes_with_a_chance_that_is_told() -> None:
    decision, chance = decide(replace(SHORT, cartridge=GOOD)), random.Random(0)
    open_ones = {one.route for one in decision.options if not one.closed}
    taken = [explored(decision, 0.4, chance) for _ in range(2000)]
    others = [one for one in taken if one.route is not decision.route]
    each = 0.4 / len(open_ones)
    assert {one.route for one in taken} == open_ones
    assert len(others) / 2000 == pytest.approx(0.4 - each, abs=0.04)
    assert {one.propensity for one in others} == {each}
    assert {one.reason for one in others} == {"EXPLORED"}
    stayed = {one.propensity for one in taken if one.route is decision.route}
    (only,) = stayed
    assert only == pytest.approx(0.6 + each)
    wished = decide(SHORT, wish=Route.CRAG)
    assert explored(wished, 1.0, chance) == wished
    assert explored(decision, 0.0, chance) == decision


def test_signals_are_the_numbers_that_were_decided_on() -> None:
    facts = replace(SHORT, is_fresh=False, cartridge=GOOD)
    signals = facts.signals()
    assert signals == dict(decide(facts).signals)
    assert (signals["nearest_cosine"], signals["index_fresh"]) == (0.6, 0.0)
    assert signals["cartridge_recovered"] == 0.95
    assert "cartridge_recovered" not in replace(facts, cartridge=STALE).signals()


@pytest.mark.parametrize("field", ["a_second", "a_thousand_tokens"])
def test_prices_below_nothing_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match="prices"):
        RoutingPolicy(**{field: -0.1})
