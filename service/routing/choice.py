"""Which route answers a question: of those that are open, the one that is worth the most for its cost.

utility = P(right) - price of its seconds - price of its prompt tokens. A caller's own wish wins, or
fails with what stands in its way. The decision carries every route's terms.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from retrieval.question_kind import Kind
from service.answers import Decision, Fallback, Option, Route
from service.routing.costs import CostModel, Estimate
from service.routing.facts import Facts
from service.routing.gates import GateSettings, closed, is_off_topic
from service.routing.quality import QualityModel, Verdicts

ROUTES = (
    Route.CARTRIDGE, Route.CRAG, Route.INFINI_RETRI, Route.FULL_CONTEXT, Route.NONE, Route.DECLINE,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RoutingPolicy:
    """What an answer may cost: prices are in shares of a right answer."""

    a_second: float = 0.02
    a_thousand_tokens: float = 0.02  # of the prompt
    explore: float = 0.0  # share of questions that take any open route, to learn of them
    gates: GateSettings = field(default_factory=GateSettings)

    def __post_init__(self) -> None:
        if not 0.0 <= self.explore <= 1.0:
            raise ValueError(f"explore is {self.explore}; it is a share, from 0 to 1")
        if self.a_second < 0 or self.a_thousand_tokens < 0:
            raise ValueError("prices must not be below 0")


def choose(
    wish: Route,
    facts: Facts,
    policy: RoutingPolicy,
    quality: QualityModel,
    costs: CostModel,
    verdicts: Mapping[Route, Verdicts] | None = None,
) -> Decision:
    """The route for a question. A wish other than `auto` is taken as it is; see `obstacle` first."""
    options = [
        _option(route, facts, policy, quality, costs, (verdicts or {}).get(route))
        for route in ROUTES
    ]
    options.sort(key=lambda one: (bool(one.closed), -one.utility))
    if wish is not Route.AUTO:
        return _decision(wish, wish, "REQUESTED", "the caller asked for this route", facts, options)
    open_ones = [one for one in options if not one.closed]
    if not open_ones:  # a deadline that none meets: the cheapest of them tries
        able = [one for one in options if one.closed == "DEADLINE_TOO_SHORT"]
        best = min(able or options, key=lambda one: one.p50)
        return _decision(
            best.route, wish, "DEADLINE_TOO_SHORT",
            f"no route is sure to end in time; this one is the fastest, about {best.p50:.1f} s",
            facts, options,
        )  # fmt: skip
    best, runner_up = open_ones[0], open_ones[1] if len(open_ones) > 1 else None
    reason, told = "HIGHEST_UTILITY", _told(best, runner_up) + _rehearsed(best.route, facts)
    if is_off_topic(facts, policy.gates):
        reason = "OFF_TOPIC"
        told = f"{next(one.why for one in options if one.closed == 'OFF_TOPIC')}; {told}"
    if best.route is Route.DECLINE:
        reason = "UNANSWERABLE"
    return _decision(best.route, wish, reason, told, facts, options)


def explored(decision: Decision, explore: float, chance: random.Random) -> Decision:
    """The decision, or with a chance of `explore` any of the open routes, with how likely it was."""
    open_ones = [one for one in decision.options if not one.closed]
    if decision.requested is not Route.AUTO or len(open_ones) < 2 or not explore:
        return decision
    each = explore / len(open_ones)
    if chance.random() >= explore:
        return replace(decision, propensity=1.0 - explore + each)
    taken = chance.choice(open_ones)
    if taken.route is decision.route:
        return replace(decision, propensity=1.0 - explore + each)
    return replace(
        decision,
        route=taken.route,
        reason="EXPLORED",
        explanation=f"tried to learn of it; {decision.route.value} promised more",
        cartridge_id="",
        propensity=each,
    )


def amounts(route: Route, facts: Facts) -> dict[str, float]:
    """How much of each stage a route takes."""
    if route is Route.DECLINE:
        return {}
    stages = {"read": float(_prompt(route, facts)), "decode": float(facts.answer)}
    if route is Route.CARTRIDGE and facts.cartridge and facts.cartridge.mebibytes:
        stages["load"] = facts.cartridge.mebibytes
    if route is Route.CRAG:
        stages["search"] = facts.sentences / 1000
    if route is Route.INFINI_RETRI:
        stages["attend"] = float(facts.corpus_tokens)
    return stages


def _prompt(route: Route, facts: Facts) -> int:
    return 0 if route is Route.DECLINE else facts.asked + _context(route, facts)


def _context(route: Route, facts: Facts) -> int:
    if route is Route.FULL_CONTEXT:
        return facts.corpus_tokens
    if route in (Route.CRAG, Route.INFINI_RETRI):
        return min(facts.evidence, facts.corpus_tokens)
    return 0


def _option(
    route: Route,
    facts: Facts,
    policy: RoutingPolicy,
    quality: QualityModel,
    costs: CostModel,
    verdicts: Verdicts | None,
) -> Option:
    estimate: Estimate = costs.estimate(amounts(route, facts))
    tokens = _prompt(route, facts)
    likely = quality.expected(route, facts, verdicts)
    price = policy.a_second * estimate.p50 + policy.a_thousand_tokens * tokens / 1000
    reason, why = closed(route, facts, policy.gates, estimate, likely) or ("", "")
    return Option(route, likely, estimate.p50, estimate.p95, tokens, likely - price, reason, why)


def _told(best: Option, runner_up: Option | None) -> str:
    own = f"{best.quality:.0%} likely right for {best.tokens} prompt tokens and about {best.p50:.1f} s"
    if best.route is Route.DECLINE:
        own = f"the corpus does not seem to tell, {best.quality:.0%} likely"
    if runner_up is None:
        return f"{own}; no other route is open"
    return (
        f"{own}; next is {runner_up.route.value}, {runner_up.quality:.0%} for {runner_up.tokens} "
        f"tokens and {runner_up.p50:.1f} s"
    )


def _rehearsed(route: Route, facts: Facts) -> str:
    known = facts.rehearsal
    told = known.told(route) if known and facts.kind is Kind.LOOKUP else None
    if known is None or told is None:
        return ""
    return f"; rehearsed on this corpus, it told {told} of {known.questions} answers"


def _decision(
    route: Route, wish: Route, reason: str, told: str, facts: Facts, options: list[Option]
) -> Decision:
    left = tuple(
        Fallback(one.route, one.closed, one.why)
        for one in options
        if one.closed not in ("", "OFF_TOPIC", "ON_TOPIC", "CARTRIDGE_NOT_FOUND")
        and one.route is not Route.DECLINE
    )
    cartridge_id = facts.cartridge.id if route is Route.CARTRIDGE and facts.cartridge else ""
    return Decision(
        route, wish, reason, told, facts.signals(), cartridge_id,
        left if wish is Route.AUTO else (), tuple(options),
    )  # fmt: skip
