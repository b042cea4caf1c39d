"""A summary on the terminal: one table by route, then by the suite's labels."""

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evaluation.report import seconds_text
from evaluation.summary import (
    Figures,
    GroupFigures,
    RouteFigures,
    Summary,
    label_text,
    percent,
    pivoted,
)

MOST_LINES = 30  # more lines than that nobody reads: a table by each label alone is shown instead


def print_summary(console: Console, summary: Summary) -> None:
    """What each route got right and what it took; then, line by line, the values of the labels."""
    if not summary.routes:
        console.print("no cells were measured")
        return
    console.print(_by_route(summary))
    tables: dict[tuple[str, ...], Sequence[GroupFigures]] = {}
    if len(pivoted(summary.groups)) > MOST_LINES:
        tables |= {(name,): groups for name, groups in summary.by_label.items()}
    elif summary.groups:
        tables[summary.grouped_by] = summary.groups
    routes = [item.route for item in summary.routes]
    for names, groups in tables.items():
        console.print(_by_labels(names, groups, routes))


def _by_route(summary: Summary) -> Table:
    # Routes are the columns: there are few of them, and a terminal is narrower than a page.
    table = Table(title="by route", title_justify="left", pad_edge=False, box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    lines = [_route_lines(item, summary.ranked) for item in summary.routes]
    for item in summary.routes:
        table.add_column(escape(item.route), justify="right")
    for name in lines[0]:
        table.add_row(name, *(line[name] for line in lines))
    return table


def _route_lines(item: RouteFigures, ranked: bool) -> dict[str, str]:
    own = item.figures
    low, high = (percent(end).removesuffix(" %") for end in (item.right_low, item.right_high))
    ranks = {
        "recall@1": percent(own.recall_at_1),
        "recall@5": percent(own.recall_at_5),
        "recall@10": percent(own.recall_at_10),
    }
    return {
        "cells": str(own.count),
        "failed": f"[red]{own.failed}[/]" if own.failed else "0",
        "answers right": f"[bold]{percent(own.right)}[/]",
        "95 % interval": f"{low}–{high} %",
        "parts said": percent(own.score),
        "evidence found": percent(own.recall),
        **(ranks if ranked else {}),
        "prompt tokens, mean": "–" if own.prompt_tokens is None else f"{own.prompt_tokens:,.0f}",
        "context ready, median": seconds_text(own.prepare_seconds),
        "first token, median": seconds_text(own.first_token_seconds),
        "whole answer, median": seconds_text(own.total_seconds),
    }


def _by_labels(
    names: Sequence[str], groups: Iterable[GroupFigures], routes: Sequence[str]
) -> Table:
    words = [name.replace("_", " ") for name in names]
    title = f"by {' and '.join(words)}: right · evidence"
    table = Table(title=escape(title), title_justify="left", pad_edge=False, box=SIMPLE_HEAD)
    for word in words:
        table.add_column(escape(word), no_wrap=True)
    for route in routes:
        table.add_column(escape(route), justify="right")
    for values, by_route in pivoted(groups).items():
        labels = [escape(label_text(value)) for value in values]
        table.add_row(*labels, *(_group_cell(by_route.get(route)) for route in routes))
    return table


def _group_cell(own: Figures | None) -> str:
    if own is None:
        return ""
    if own.failed == own.count:
        return "[red]failed[/]"
    found = "" if own.recall is None else f" [dim]· {percent(own.recall)}[/]"
    return f"{percent(own.right)}{found}"
