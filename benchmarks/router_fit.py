"""What the router and its rivals learn from some cases: quality, costs, and a static table."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from sklearn.linear_model import LogisticRegression

from benchmarks.router_cases import POLICY, SUBSTITUTE, Case
from service.answers import Route
from service.routing.choice import ROUTES, amounts, choose
from service.routing.costs import CostModel, Stage
from service.routing.quality import QualityModel, features


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


def fit(cases: Sequence[Case]) -> Fitted:
    """Quality, costs and the static table of some cases."""
    return Fitted(QualityModel(_weights(cases)), _costs(cases), _table(cases))


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
            own = amounts(route, case.facts)
            if not own:  # asks no model
                continue
            own["read"] = float(result.tokens)
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
