"""A run as one HTML page that needs nothing but itself, and its heat maps as pictures beside it."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.heat_map import DARK, draw_heat_map
from evaluation.rows import Row
from evaluation.scenes import Label
from evaluation.summary import (
    DRAWS,
    Figures,
    GroupFigures,
    RouteFigures,
    Summary,
    group_figures,
    label_text,
    natural,
    percent,
    pivoted,
)

TEMPLATE = "report.html.j2"
GRID = ("length", "depth")  # the labels that make a heat map
METRICS = {"right": "answers right", "recall": "evidence found"}
STATED = ("source", "repetition", "licence", "seed")  # a reader looks for these first


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What was run. `server` tells its model, device and versions, `description` the suite's texts;
    `when` is a date as people write it, `seconds` how long the run took.
    """

    suite: str
    title: str
    command: str
    server: Mapping[str, str]
    description: Mapping[str, Label]
    seconds: float
    when: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A heat map for light pages and for dark ones, as data URIs."""

    name: str
    light: str
    dark: str


@dataclass(frozen=True, slots=True)
class RoutePictures:
    """A route's heat maps, one for each figure that it has."""

    route: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class GroupTable:
    """Figures of every route (columns) by the values of some labels (lines)."""

    names: tuple[str, ...]
    routes: tuple[str, ...]
    lines: tuple[tuple[tuple[Label, ...], Mapping[str, Figures]], ...]


@dataclass(frozen=True, slots=True)
class WrongCells:
    """The cells of a route that failed or were answered wrong."""

    route: str
    failed: int
    rows: tuple[Row, ...]


def write_report(folder: Path, run: RunInfo, summary: Summary, rows: Sequence[Row]) -> Path:
    """Write `report.html`, and `heat_map_ROUTE_METRIC.png` where there are lengths and depths.

    Returns the path of the page. Raises MissingExtraError without matplotlib where there is a heat
    map to draw, and OSError.
    """
    page = folder / "report.html"
    text = _fill(
        run=run,
        summary=summary,
        rows=rows,
        questions=len({(row.scene, row.probe) for row in rows}),
        right=sum(row.is_right for row in rows),
        failed=sum(bool(row.error) for row in rows),
        facts=_facts(run),
        stated=_stated(run.description),
        pictures=_draw_pictures(folder, rows, summary),
        tables=_tables(summary),
        slowest=max((r.figures.total_seconds or 0.0 for r in summary.routes), default=0.0),
        wrong=_wrong_cells(rows, summary.routes),
        draws=DRAWS,
    )
    page.write_text(text, encoding="utf-8")
    return page


def _fill(**values: object) -> str:
    """The page. Jinja escapes every value: questions and answers may hold markup."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    own: dict[str, Any] = {
        "percent": percent,
        "seconds": seconds_text,
        "count": _count,
        "label": label_text,
        "words": _words,
    }
    environment.filters |= own
    return environment.get_template(TEMPLATE).render(**values)


def seconds_text(seconds: float | None) -> str:
    """A duration in the unit that people read, "–" for None."""
    if seconds is None:
        return "–"
    if seconds < 0.1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 100:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _count(number: float | None) -> str:
    return "–" if number is None else f"{number:,.0f}"


def _words(name: str) -> str:
    """A name of a program as words; a route's name is left as it is typed."""
    return name.replace("_", " ")


def _facts(run: RunInfo) -> dict[str, str]:
    """What stands at the head of the page."""
    own = {"when": run.when, "took": seconds_text(run.seconds)}
    seed = run.description.get("seed")
    return own | dict(run.server) | ({} if seed is None else {"seed": label_text(seed)})


def _stated(description: Mapping[str, Label]) -> dict[str, str]:
    """How the texts were made: first what a reader must know, said even where a suite is silent."""
    first = {name: label_text(description.get(name, "not stated")) for name in STATED}
    return first | {name: label_text(value) for name, value in description.items()}


def _draw_pictures(
    folder: Path, rows: Sequence[Row], summary: Summary
) -> tuple[RoutePictures, ...]:
    if not set(GRID) <= set(summary.grouped_by):
        return ()
    groups = group_figures(rows, GRID, summary.ranked)
    return tuple(_draw_route(folder, route.route, groups) for route in summary.routes)


def _draw_route(folder: Path, route: str, groups: Sequence[GroupFigures]) -> RoutePictures:
    # All groups give the grid's sides, so that the pictures of all routes can be laid side by side.
    lengths, depths = _side(groups, "length"), _side(groups, "depth")
    pictures = []
    for metric, name in METRICS.items():
        cells = _cells(groups, route, metric)
        if not cells:
            continue
        sides = (depths, lengths, f"{route}: {name} (%)", "length", "depth")
        light = draw_heat_map(cells, *sides)
        file = f"heat_map_{re.sub(r'[^A-Za-z0-9-]+', '_', route)}_{metric}.png"
        (folder / file).write_bytes(light)
        dark = draw_heat_map(cells, *sides, theme=DARK)
        pictures.append(Picture(name, _data_uri(light), _data_uri(dark)))
    return RoutePictures(route, tuple(pictures))


def _side(groups: Sequence[GroupFigures], name: str) -> list[str]:
    """The values of a label in order, each once."""
    values = sorted({group.labels[name] for group in groups}, key=natural)
    return list(dict.fromkeys(label_text(value) for value in values))


def _cells(groups: Sequence[GroupFigures], route: str, metric: str) -> dict[tuple[str, str], float]:
    """Shares by (depth, length). A cell of which every try failed is absent: it was not measured."""
    cells: dict[tuple[str, str], float] = {}
    for group in groups:
        share = getattr(group.figures, metric)
        if (
            group.route == route
            and share is not None
            and group.figures.failed < group.figures.count
        ):
            cells[label_text(group.labels["depth"]), label_text(group.labels["length"])] = share
    return cells


def _data_uri(image: bytes) -> str:
    return f"data:image/png;base64,{b64encode(image).decode()}"


def _tables(summary: Summary) -> tuple[GroupTable, ...]:
    """One table by all labels together; beside heat maps, one by each label but the depth."""
    routes = tuple(route.route for route in summary.routes)
    groups: dict[tuple[str, ...], Sequence[GroupFigures]] = {}
    if set(GRID) <= set(summary.grouped_by):
        groups |= {(name,): own for name, own in summary.by_label.items() if name != "depth"}
    elif summary.groups:
        groups[summary.grouped_by] = summary.groups
    return tuple(
        GroupTable(names, routes, tuple(pivoted(own).items())) for names, own in groups.items()
    )


def _wrong_cells(rows: Sequence[Row], routes: Sequence[RouteFigures]) -> tuple[WrongCells, ...]:
    groups = []
    for route in routes:
        wrong = [row for row in rows if row.route == route.route and not row.is_right]
        if wrong:
            failed = sum(bool(row.error) for row in wrong)
            groups.append(WrongCells(route.route, failed, tuple(wrong)))
    return tuple(groups)
