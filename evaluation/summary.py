"""Rows to figures: by route, and by route and labels, in an order that people expect."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, median
from typing import Any

import numpy as np

from evaluation.rows import Row
from evaluation.scenes import Label
from service.client.types import Route

DRAWS = 1000
SEED = 0
ROUTES = [route.value for route in Route]
UNITS = {"": 1.0, "k": 1e3, "m": 1e6}

_CHUNK = re.compile(r"(\d+(?:\.\d+)?)([km]?)(?![a-z\d])|(\d+)|(\D+)")

SortKey = tuple[tuple[int, float, str], ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """What a group of rows comes to. Shares are 0..1.

    A failed cell counts as wrong in `right` and `score`; the other figures are over the cells that
    did not fail, and None where none of them has the figure.
    """

    count: int
    failed: int
    right: float  # share of cells whose whole answer was said
    score: float  # mean share of the answer's parts
    recall: float | None  # mean, over cells that showed evidence
    recall_at_1: float | None  # share of cells with a gold place that high in the ranking
    recall_at_5: float | None
    recall_at_10: float | None
    prompt_tokens: float | None  # mean
    prepare_seconds: float | None  # this and the times below: median
    first_token_seconds: float | None
    total_seconds: float | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class RouteFigures:
    """A route's figures, with the 95 % bootstrap interval of its right share."""

    route: str
    figures: Figures
    right_low: float
    right_high: float

    def as_json(self) -> dict[str, Any]:
        own = {"right_low": self.right_low, "right_high": self.right_high}
        return {"route": self.route} | self.figures.as_json() | own


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """The figures of a route's cells that have the same labels."""

    route: str
    labels: Mapping[str, Label]
    figures: Figures

    def as_json(self) -> dict[str, Any]:
        return {"route": self.route, "labels": dict(self.labels)} | self.figures.as_json()


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in figures: by route, by each label alone, and in `groups` by all labels together.

    `ranked` says whether the suite ranks its evidence.
    """

    suite: str
    grouped_by: tuple[str, ...]
    ranked: bool
    description: Mapping[str, Label]
    versions: Mapping[str, str]
    routes: tuple[RouteFigures, ...]
    by_label: Mapping[str, tuple[GroupFigures, ...]]
    groups: tuple[GroupFigures, ...]

    def as_json(self) -> dict[str, Any]:
        """The content of `summary.json`."""
        return {
            "suite": self.suite,
            "description": dict(self.description),
            "versions": dict(self.versions),
            "grouped_by": list(self.grouped_by),
            "ranked": self.ranked,
            "routes": [route.as_json() for route in self.routes],
            "by_label": {
                name: [group.as_json() for group in groups]
                for name, groups in self.by_label.items()
            },
            "groups": [group.as_json() for group in self.groups],
        }


def summarise(
    rows: Sequence[Row],
    grouped_by: Sequence[str],
    ranked: bool,
    description: Mapping[str, Label] | None = None,
    versions: Mapping[str, str] | None = None,
) -> Summary:
    """The figures of one suite's rows. Raises ValueError when they are of several suites."""
    suites = sorted({row.suite for row in rows})
    if len(suites) > 1:
        raise ValueError(f"rows of several suites: {', '.join(suites)}; give each its own folder")
    routes = []
    for group in group_figures(rows, (), ranked):
        low, high = _interval(group.figures)
        routes.append(RouteFigures(group.route, group.figures, low, high))
    return Summary(
        suite=suites[0] if suites else "",
        grouped_by=tuple(grouped_by),
        ranked=ranked,
        description=description or {},
        versions=versions or {},
        routes=tuple(routes),
        by_label={name: group_figures(rows, (name,), ranked) for name in grouped_by},
        groups=group_figures(rows, grouped_by, ranked) if grouped_by else (),
    )


def group_figures(
    rows: Iterable[Row], names: Sequence[str], ranked: bool
) -> tuple[GroupFigures, ...]:
    """Figures of each route and values of the named labels, ordered by labels, then by route.

    A row without a label has "" for it.
    """
    groups: dict[tuple[tuple[Label, ...], str], list[Row]] = {}
    for row in rows:
        values = tuple(row.labels.get(name, "") for name in names)
        groups.setdefault((values, row.route), []).append(row)
    ordered = sorted(
        groups, key=lambda group: ([natural(v) for v in group[0]], _route_place(group[1]))
    )
    return tuple(
        GroupFigures(
            route,
            dict(zip(names, values, strict=True)),
            figures_of(groups[values, route], ranked),
        )
        for values, route in ordered
    )


def figures_of(rows: Sequence[Row], ranked: bool) -> Figures:
    """The figures of at least one row; the recall at a rank is None unless `ranked`."""
    measured = [row for row in rows if not row.error]
    shown = [row for row in measured if row.recall is not None]
    ranks = [row.rank for row in shown] if ranked else []
    return Figures(
        count=len(rows),
        failed=len(rows) - len(measured),
        right=mean(float(row.is_right) for row in rows),
        score=mean(0.0 if row.error else row.score for row in rows),
        recall=_mean([row.recall for row in shown if row.recall is not None]),
        recall_at_1=_share_within(ranks, 1),
        recall_at_5=_share_within(ranks, 5),
        recall_at_10=_share_within(ranks, 10),
        prompt_tokens=_mean([row.prompt_tokens for row in measured]),
        prepare_seconds=_median([row.prepare_seconds for row in measured]),
        first_token_seconds=_median([row.first_token_seconds for row in measured]),
        total_seconds=_median([row.total_seconds for row in measured]),
    )


def pivoted(groups: Iterable[GroupFigures]) -> dict[tuple[Label, ...], dict[str, Figures]]:
    """Groups as the lines of a table: the values of the labels, to each route's figures."""
    lines: dict[tuple[Label, ...], dict[str, Figures]] = {}
    for group in groups:
        lines.setdefault(tuple(group.labels.values()), {})[group.route] = group.figures
    return lines


def natural(label: Label) -> SortKey:
    """A key that sorts numbers by size, within texts too: 4k < 32k < 1m, hop 2 < hop 10."""
    if not isinstance(label, str):
        return ((0, float(label), ""),)
    key: list[tuple[int, float, str]] = []
    for number, unit, digits, text in _CHUNK.findall(label.lower()):
        key.append((1, 0.0, text) if text else (0, float(number or digits) * UNITS[unit], ""))
    return tuple(key)


def label_text(label: Label) -> str:
    """A label as people read it: no trail of decimals."""
    return f"{label:g}" if isinstance(label, float) else str(label)


def percent(share: float | None) -> str:
    """A share as per cent, "–" for None; what is not all or nothing is not rounded to it."""
    if share is None:
        return "–"
    shown = round(100 * share, 1)
    if 0.0 < share < 1.0:
        shown = min(max(shown, 0.1), 99.9)
    return f"{shown:g} %"


def _interval(figures: Figures) -> tuple[float, float]:
    """The 95 % bootstrap interval of the right share."""
    # How many right cells a resample of zeros and ones holds is binomial: no need to draw rows. A
    # fresh generator each time, so that one route's interval does not hang on which others ran.
    chance = np.random.default_rng(SEED)
    shares = chance.binomial(figures.count, figures.right, DRAWS) / figures.count
    low, high = np.percentile(shares, [2.5, 97.5])
    return float(low), float(high)


def _route_place(route: str) -> tuple[int, str]:
    return (ROUTES.index(route) if route in ROUTES else len(ROUTES)), route


def _share_within(ranks: Sequence[int | None], most: int) -> float | None:
    return _mean([float(rank is not None and rank <= most) for rank in ranks])


def _mean(values: Sequence[float]) -> float | None:
    return mean(values) if values else None


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None
