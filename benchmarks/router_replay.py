"""Choices of the router and of its rivals over answers that are there already, each judged by weights
that never saw the question's corpus.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from sklearn.linear_model import LogisticRegression

from cartridges.guard import ALPHA, Guard
from retrieval.question_kind import kind_of, names_nothing
from retrieval.survey import Survey
from service.answers import Route
from service.routing.choice import ROUTES, RoutingPolicy, amounts, choose
from service.routing.costs import CostModel, Stage
from service.routing.facts import CartridgeFacts, Facts
from service.routing.quality import QualityModel, features

POLICY = RoutingPolicy()
SUBSTITUTE = Route.CRAG  # what a single route gives way to where it cannot run
_DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Result:
    """One answer: score 0..1, seconds, prompt tokens."""

    score: float
    seconds: float
    tokens: int

    @property
    def cost(self) -> float:
        """In shares of a right answer, by the service's own prices."""
        return POLICY.a_second * self.seconds + POLICY.a_thousand_tokens * self.tokens / 1000


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A question with what was known of it and what came of it by each route that can run."""

    corpus: str
    group: str
    facts: Facts
    results: Mapping[Route, Result]

    def of(self, route: Route) -> Result:
        return self.results.get(route, self.results[SUBSTITUTE])


Chooser = Callable[[Case], Route]


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """What was learned from some cases."""

    quality: QualityModel
    costs: CostModel
    table: Mapping[tuple[str, int], tuple[Route, ...]]

    def route(self, case: Case) -> Route:
        """The router's choice."""
        return choose(Route.AUTO, case.facts, POLICY, self.quality, self.costs).route

    def by_table(self, case: Case) -> Route:
        """The best, of those that can run, for the kind of question and length of text; for the kind
        alone where that is new.
        """
        kind, size = key_of(case)
        keys = ((kind, size), (kind, -1), ("", -1))
        ranked = (route for key in keys for route in self.table.get(key, ()))
        return next((route for route in ranked if route in case.results), SUBSTITUTE)


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """All cases, and for each corpus what the others teach."""

    cases: tuple[Case, ...]
    fitted: Mapping[str, Fitted]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, object]]) -> "Replay":
        cases = tuple(cases_of(rows))
        names = {case.corpus for case in cases}
        return cls(cases, {n: fit([case for case in cases if case.corpus != n]) for n in names})

    def rows(self) -> list[dict[str, object]]:
        """A row a policy, with its means over all questions and over each group."""
        made = [self._row(f"always {one.value}", _always(one)) for one in ROUTES]
        made += [
            self._row("static table", lambda case: self.fitted[case.corpus].by_table(case)),
            self._row("router", lambda case: self.fitted[case.corpus].route(case)),
            self._row("oracle", best_of),
        ]
        return [*made, self._calibration()]

    def gain(self, one: Chooser, other: Chooser) -> tuple[float, float, float]:
        """Mean score of one above the other, with a 95 % bootstrap interval over questions."""
        differences = np.array([c.of(one(c)).score - c.of(other(c)).score for c in self.cases])
        chance = np.random.default_rng(0)
        drawn = chance.choice(differences, (_DRAWS, len(differences))).mean(axis=1)
        low, high = np.quantile(drawn, (0.025, 0.975))
        return float(differences.mean()), float(low), float(high)

    def _row(self, name: str, chooser: Chooser) -> dict[str, object]:
        chosen = [(case, chooser(case)) for case in self.cases]
        results = [case.of(route) for case, route in chosen]
        groups = defaultdict(list)
        for (case, _), result in zip(chosen, results, strict=True):
            groups[case.group].append(result.score)
        return {
            "policy": name,
            "questions": len(results),
            "score": fmean(one.score for one in results),
            "seconds": fmean(one.seconds for one in results),
            "prompt_tokens": fmean(one.tokens for one in results),
            "cost": fmean(one.cost for one in results),
            "by_group": {group: fmean(scores) for group, scores in sorted(groups.items())},
            "routes": {r.value: sum(route is r for _, route in chosen) for r in ROUTES},
        }

    def _calibration(self) -> dict[str, object]:
        """Brier score and expected calibration error (10 bins) over every route of every question."""
        pairs = [
            (self.fitted[case.corpus].quality.expected(route, case.facts), result.score)
            for case in self.cases
            for route, result in case.results.items()
        ]
        told, real = (np.array(column) for column in zip(*pairs, strict=True))
        bins = np.minimum((told * 10).astype(int), 9)
        errors = [
            abs(told[bins == b].mean() - real[bins == b].mean()) * (bins == b).mean()
            for b in range(10)
            if (bins == b).any()
        ]
        return {
            "policy": "calibration", "brier": float(((told - real) ** 2).mean()),
            "ece": float(sum(errors)), "pairs": len(pairs),
        }  # fmt: skip


def cases_of(rows: Sequence[Mapping[str, object]]) -> list[Case]:
    """Answers grouped by their question."""
    grouped: dict[tuple[str, str], list[Mapping[str, object]]] = defaultdict(list)
    for row in rows:
        if row["score"] is not None:
            grouped[str(row["corpus"]), str(row["question"])].append(row)
    found = []
    for (corpus, question), own in grouped.items():
        results = {
            Route(str(row["route"])): Result(
                float(str(row["score"])), float(str(row["seconds"])), int(str(row["prompt_tokens"]))
            )
            for row in own
        }
        # Declining takes what deciding takes, which every route does too.
        results[Route.DECLINE] = Result(float(own[0]["group"] == "unanswerable"), 0.0, 0)
        if SUBSTITUTE in results:
            signals = max((dict(row["signals"]) for row in own), key=len)  # type: ignore[call-overload]
            facts = facts_of(question, signals)
            found.append(Case(corpus, str(own[0]["group"]), facts, results))
    return found


def facts_of(question: str, signals: Mapping[str, float]) -> Facts:
    """What the service knew, from the signals that it told."""
    cartridge = None
    if "cartridge_recovered" in signals:
        guard = None
        if "cartridge_guard" in signals:
            guard = Guard(signals["cartridge_guard"], ALPHA, kept=1.0)
        cartridge = CartridgeFacts("c", signals["cartridge_recovered"], guard)
    return Facts(
        corpus_tokens=int(signals["corpus_tokens"]),
        room=int(signals["context_room"]),
        kind=kind_of(question),
        is_nameless=names_nothing(question),
        survey=Survey(
            0, signals["nearest_cosine"], signals["nearest_standing"], signals["nearest_margin"],
            signals["words_agree"], signals["spread"], signals["words_known"],
        ),
        cartridge=cartridge,
        sentences=int(signals["corpus_tokens"] / 25),
        asked=30,
    )  # fmt: skip


def fit(cases: Sequence[Case]) -> Fitted:
    """Quality, costs and the static table of some cases."""
    return Fitted(QualityModel(_weights(cases)), _costs(cases), _table(cases))


def fit_all(replay: Replay) -> Fitted:
    return fit(replay.cases)


def to_json(fitted: Fitted) -> str:
    """The weights as the service reads them."""
    routes = {
        route.value: {name: round(weight, 4) for name, weight in weights.items()}
        for route, weights in fitted.quality.weights.items()
    }
    return json.dumps(
        {"fitted_by": "python -m benchmarks.router --fit", "routes": routes}, indent=1
    )


def key_of(case: Case) -> tuple[str, int]:
    """Kind of question, and whether its text has hundreds, thousands or more tokens."""
    return case.facts.kind.value, int(np.log10(max(1, case.facts.corpus_tokens)))


def best_of(case: Case) -> Route:
    """The oracle's choice: the best answer, the cheapest of equal ones."""
    return max(case.results, key=lambda route: (case.of(route).score, -case.of(route).cost))


def headline(replay: Replay) -> dict[str, float]:
    """The figures that people ask for."""
    by_name = {str(row["policy"]): row for row in replay.rows()}

    def figure(policy: str, name: str) -> float:
        return float(str(by_name[policy][name]))

    single = max(
        (name for name in by_name if name.startswith("always")), key=lambda n: figure(n, "score")
    )
    route = Route(single.removeprefix("always "))
    over_single = replay.gain(lambda c: replay.fitted[c.corpus].route(c), lambda c: route)
    over_table = replay.gain(
        lambda c: replay.fitted[c.corpus].route(c), lambda c: replay.fitted[c.corpus].by_table(c)
    )
    gap = figure("oracle", "score") - figure(single, "score")
    return {
        "score_router": figure("router", "score"),
        "score_best_single": figure(single, "score"),
        "score_static_table": figure("static table", "score"),
        "score_oracle": figure("oracle", "score"),
        "cost_ratio_router_vs_best_single": figure("router", "cost") / figure(single, "cost"),
        "cost_ratio_router_vs_static_table": figure("router", "cost")
        / figure("static table", "cost"),
        "share_of_gap_closed": over_single[0] / gap if gap else 0.0,
        "gain_over_best_single_low": over_single[1],
        "gain_over_best_single_high": over_single[2],
        "gain_over_static_table_low": over_table[1],
        "gain_over_static_table_high": over_table[2],
        "ece": figure("calibration", "ece"),
        "brier": figure("calibration", "brier"),
    }


def _weights(cases: Sequence[Case]) -> dict[Route, dict[str, float]]:
    """Logistic regression a route; a score between 0 and 1 is that share of a right answer."""
    found = {}
    for route in ROUTES:
        known = [
            (features(case.facts), case.results[route].score)
            for case in cases
            if route in case.results
        ]
        if not known:
            continue
        names = [name for name in known[0][0] if name != "one"]
        table = np.array([[own[name] for name in names] for own, _ in known])
        scores = np.array([score for _, score in known])
        model = _fit_line(table, scores)
        if model is None:
            continue
        found[route] = {"one": float(model[0]), **dict(zip(names, model[1:].tolist(), strict=True))}
    return found


def _fit_line(
    table: NDArray[np.float64], scores: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Intercept and weights; a lone intercept where all answers scored alike."""
    both = np.concatenate([table, table])
    labels = np.repeat([1, 0], len(table))
    weights = np.concatenate([scores, 1 - scores])
    if weights[: len(table)].sum() < 0.5 or weights[len(table) :].sum() < 0.5:
        likely = (scores.sum() + 0.5) / (len(scores) + 1.0)
        return np.array([np.log(likely / (1 - likely)), *np.zeros(table.shape[1])])
    model = LogisticRegression(C=0.5, max_iter=1000).fit(both, labels, sample_weight=weights)
    return np.concatenate([model.intercept_, model.coef_[0]])


def _costs(cases: Sequence[Case]) -> CostModel:
    """Stages whose lines add up to the seconds that were seen; none of their terms is below 0."""
    stages = ("search", "attend", "read", "decode")
    design, seconds = [], []
    for case in cases:
        for route, result in case.results.items():
            own = {**amounts(route, case.facts), "read": float(result.tokens)}
            design.append([x for s in stages for x in (float(s in own), own.get(s, 0.0))])
            seconds.append(result.seconds)
    solved, _ = nnls(np.array(design), np.array(seconds))
    lines = {
        stage: Stage.prior(solved[2 * i], solved[2 * i + 1], 1000.0)
        for i, stage in enumerate(stages)
    }
    return CostModel({**CostModel().stages, **lines})


def _table(cases: Sequence[Case]) -> dict[tuple[str, int], tuple[Route, ...]]:
    """Routes by their mean of score less cost where they ran, the best first: by kind and length, by
    kind, and over all.
    """
    sums: dict[tuple[str, int], dict[Route, list[float]]] = defaultdict(lambda: defaultdict(list))
    for case in cases:
        kind, size = key_of(case)
        for route, result in case.results.items():
            for key in ((kind, size), (kind, -1), ("", -1)):
                sums[key][route].append(result.score - result.cost)
    return {
        key: tuple(sorted(own, key=lambda route: -fmean(own[route]))) for key, own in sums.items()
    }


def _always(route: Route) -> Chooser:
    return lambda case: route
