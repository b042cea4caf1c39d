"""Choices of the router and of its rivals over answers that are there already, each judged by weights
that never saw a corpus of the question's kind.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from benchmarks.router_cases import Case, cases_of
from benchmarks.router_fit import Fitted, fit
from service.answers import Route
from service.routing.choice import ROUTES

_DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Gain:
    """A mean difference with 95 % bootstrap intervals: of questions drawn anew, and of whole kinds of
    corpora, which says how it holds for texts that are not among these.
    """

    mean: float
    by_question: tuple[float, float]
    by_fold: tuple[float, float]


Chooser = Callable[[Case], Route]


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """All cases, and for each corpus what the others teach."""

    cases: tuple[Case, ...]
    fitted: Mapping[str, Fitted]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, object]]) -> "Replay":
        cases = tuple(cases_of(rows))
        folds = {case.fold for case in cases}
        return cls(cases, {n: fit([case for case in cases if case.fold != n]) for n in folds})

    def route(self, case: Case) -> Route:
        """The router's choice."""
        return self.fitted[case.fold].route(case)

    def by_table(self, case: Case) -> Route:
        """The static table's."""
        return self.fitted[case.fold].by_table(case)

    def rows(self) -> list[dict[str, object]]:
        """A row a policy, with its means over all questions and over each group."""
        made = [self._row(f"always {one.value}", _always(one)) for one in ROUTES]
        made += [
            self._row("static table", self.by_table),
            self._row("router", self.route),
            self._row("oracle", best_of),
        ]
        return [*made, self._calibration()]

    def gain(self, one: Chooser, other: Chooser) -> "Gain":
        """Mean score of one above the other."""
        differences = np.array([c.of(one(c)).score - c.of(other(c)).score for c in self.cases])
        chance = np.random.default_rng(0)
        drawn = chance.choice(differences, (_DRAWS, len(differences))).mean(axis=1)
        folds = np.array([case.fold for case in self.cases])
        own = [differences[folds == name] for name in np.unique(folds)]
        picked = chance.integers(0, len(own), (_DRAWS, len(own)))
        by_fold = [np.concatenate([own[i] for i in row]).mean() for row in picked]
        return Gain(float(differences.mean()), _interval(drawn), _interval(by_fold))

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
            (self.fitted[case.fold].quality.expected(route, case.facts), result.score)
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
    over_single = replay.gain(replay.route, lambda c: route)
    over_table = replay.gain(replay.route, replay.by_table)
    gap = figure("oracle", "score") - figure(single, "score")
    return {
        "score_router": figure("router", "score"),
        "score_best_single": figure(single, "score"),
        "score_static_table": figure("static table", "score"),
        "score_oracle": figure("oracle", "score"),
        "cost_ratio_router_vs_best_single": figure("router", "cost") / figure(single, "cost"),
        "cost_ratio_router_vs_static_table": figure("router", "cost")
        / figure("static table", "cost"),
        "share_of_gap_closed": over_single.mean / gap if gap else 0.0,
        **_told("gain_over_best_single", over_single),
        **_told("gain_over_static_table", over_table),
        "ece": figure("calibration", "ece"),
        "brier": figure("calibration", "brier"),
    }


def _told(name: str, gain: Gain) -> dict[str, float]:
    (low, high), (low_by_fold, high_by_fold) = gain.by_question, gain.by_fold
    return {
        f"{name}_low": low, f"{name}_high": high,
        f"{name}_low_by_corpora": low_by_fold, f"{name}_high_by_corpora": high_by_fold,
    }  # fmt: skip


def _interval(drawn: NDArray[np.float64] | Sequence[float]) -> tuple[float, float]:
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def _always(route: Route) -> Chooser:
    return lambda case: route
