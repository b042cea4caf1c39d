"""How the router did, from answers that callers judged: promised against right, predicted against taken,
and what other policies would have come to.

What a policy that always takes one route would have scored is a doubly robust estimate (Dudík et al.
2011): what the model promises of it, corrected by the judged answers that it would have given too, each
weighed by one over the chance with which it was given.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

BINS = 10


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer with its verdict. `promises` are what each open route promised, and `propensity` the
    chance that this one had to be taken.
    """

    kind: str
    route: str
    promises: Mapping[str, float]
    propensity: float
    predicted_seconds: float
    seconds: float
    is_good: bool


@dataclass(frozen=True, slots=True)
class RouteFigures:
    """One route's answers: how many, how many were right, and what was promised of them, 0..1."""

    route: str
    answers: int
    right: float
    promised: float
    predicted_seconds: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Audit:
    """All that judged answers tell. `always` has the estimate of every route that was ever open."""

    answers: int
    right: float
    brier: float
    ece: float
    routes: tuple[RouteFigures, ...]
    always: Mapping[str, float]


def audit(judged: Sequence[Judged]) -> Audit:
    """Figures of judged answers.

    Raises:
        ValueError: there are none.
    """
    if not judged:
        raise ValueError(
            "no answer that the router chose has been judged; judge some with `longmemory feedback`"
        )
    told = [one.promises[one.route] for one in judged]
    real = [float(one.is_good) for one in judged]
    by_route: dict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        by_route[one.route].append(one)
    known = sorted({route for one in judged for route in one.promises})
    return Audit(
        len(judged),
        fmean(real),
        fmean((t - r) ** 2 for t, r in zip(told, real, strict=True)),
        calibration_error(told, real),
        tuple(_figures(route, own) for route, own in sorted(by_route.items())),
        {route: doubly_robust(judged, route) for route in known},
    )


def calibration_error(told: Sequence[float], real: Sequence[float]) -> float:
    """Expected calibration error over ten bins: how far promises are from what came of them."""
    bins: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for pair in zip(told, real, strict=True):
        bins[min(BINS - 1, int(pair[0] * BINS))].append(pair)
    return sum(
        len(own) * abs(fmean(t for t, _ in own) - fmean(r for _, r in own)) for own in bins.values()
    ) / max(1, len(told))


def doubly_robust(judged: Sequence[Judged], route: str) -> float:
    """What always taking a route would have scored, where it was open; elsewhere what was taken did."""
    scores = []
    for one in judged:
        promised = one.promises.get(route)
        if promised is None:
            scores.append(float(one.is_good))
        elif one.route == route:
            scores.append(promised + (float(one.is_good) - promised) / one.propensity)
        else:
            scores.append(promised)
    return fmean(scores)


def _figures(route: str, own: Sequence[Judged]) -> RouteFigures:
    return RouteFigures(
        route,
        len(own),
        fmean(float(one.is_good) for one in own),
        fmean(one.promises[route] for one in own),
        fmean(one.predicted_seconds for one in own),
        fmean(one.seconds for one in own),
    )
