"""How likely a route answers a question well: a calibrated line over what is known before it is asked.

Logistic regression a route, fitted on questions of several corpora that every route answered
(`benchmarks.router` writes `quality.json`), moved by what the
corpus' own questions showed (`rehearsal`), and by what callers said of answers since.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from retrieval.question_kind import Kind
from service.answers import Route
from service.routing.facts import Facts

PRIOR_ANSWERS = 8.0  # verdicts that weigh as much as the fitted line


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What callers said of a route's answers to one kind of question about one corpus."""

    good: int = 0
    bad: int = 0


@dataclass(frozen=True, slots=True)
class QualityModel:
    """Weights by route and feature; a route without weights is worth `unknown`, and nothing where it
    declines.
    """

    weights: Mapping[Route, Mapping[str, float]] = field(default_factory=dict)
    unknown: float = 0.5

    def expected(self, route: Route, facts: Facts, verdicts: Verdicts | None = None) -> float:
        """Probability that the answer is right, 0..1."""
        likely = self._fitted(route, facts)
        if (
            facts.rehearsal
            and facts.kind is Kind.LOOKUP
            and facts.rehearsal.told(route) is not None
        ):
            tried = [Route(one.route) for one in facts.rehearsal.routes]
            likely = facts.rehearsal.moved({one: self._fitted(one, facts) for one in tried})[route]
        seen = verdicts or Verdicts()
        return (PRIOR_ANSWERS * likely + seen.good) / (PRIOR_ANSWERS + seen.good + seen.bad)

    def _fitted(self, route: Route, facts: Facts) -> float:
        own = self.weights.get(route)
        if own is None:
            return 0.0 if route is Route.DECLINE else self.unknown
        known = features(facts)
        return sigmoid(sum(weight * known.get(name, 0.0) for name, weight in own.items()))

    @classmethod
    def from_json(cls, text: str) -> "QualityModel":
        """Raises ValueError for a route that does not exist."""
        routes = json.loads(text)["routes"]
        return cls({Route(route): dict(weights) for route, weights in routes.items()})


@cache
def shipped() -> QualityModel:
    """The model that comes with the service."""
    text = (files("service.routing") / "quality.json").read_text(encoding="utf-8")
    return QualityModel.from_json(text)


def features(facts: Facts) -> dict[str, float]:
    """Numbers of about the size of 1."""
    found = facts.survey
    return {
        "one": 1.0,
        "nearest": found.nearest,
        "standing": max(-1.0, min(2.0, found.standing / 5.0)),
        "margin": 5.0 * found.margin,
        "agreement": found.agreement,
        "known": found.known,
        "spread": found.spread,
        "length": math.log10(max(1, facts.corpus_tokens)) - 3.0,
        "recovered": facts.cartridge.recovered if facts.cartridge else 0.0,
        **{f"is_{kind.value}": float(facts.kind is kind) for kind in Kind},
    }


def sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, value))))
