"""`longmemory top`: what a server does now, from its metrics page, as a view that renews itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.output import JsonOption, MetricsOption, count, errors_told, print_json, size, stop
from service.client.types import ErrorReport

if TYPE_CHECKING:
    from rich.table import Table

    from service.telemetry.snapshot import Snapshot

DEFAULT_METRICS = "127.0.0.1:7421"


def top(
    metrics: MetricsOption = DEFAULT_METRICS,
    every: Annotated[
        float, typer.Option("--every", min=0.1, help="Seconds between two looks.")
    ] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Watch a server until Ctrl-C. With --json, one JSON line for each look."""
    with errors_told(as_json):
        try:
            looks = islice(_looks(metrics, every), 1 if once else None)
            if as_json:
                for now in looks:
                    print_json(now.as_json())
            else:
                _show(looks, metrics, once)
        except OSError as error:
            stop(ErrorReport("UNAVAILABLE", "SERVER_UNREACHABLE", str(error)), as_json)


def _looks(metrics: str, every: float) -> Iterator[Snapshot]:
    from service.telemetry.reading import read_page
    from service.telemetry.snapshot import Snapshot

    before = read_page(metrics)
    while True:
        time.sleep(every)
        now = read_page(metrics)
        yield Snapshot.of(before, now)
        before = now


def _show(looks: Iterator[Snapshot], metrics: str, once: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    if once:
        Console().print(view(next(looks), metrics))
        return
    with Live(view(next(looks), metrics), screen=True, auto_refresh=False) as live:
        for now in looks:
            live.update(view(now, metrics), refresh=True)


def view(now: Snapshot, metrics: str) -> Table:
    """A snapshot as one table: what is named, and how it stands."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"longmemory at {metrics}", title_justify="left", box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, told in rows(now):
        table.add_row(Text(name), Text(told))
    return table


def rows(now: Snapshot) -> list[tuple[str, str]]:
    """What is shown, line by line."""
    alive = "alive" if now.model_alive else "DEAD"
    jobs = ", ".join(f"{number:.0f} {state}" for state, number in now.jobs.items()) or "none"
    silent = "".join(f"; {kind} silent for {age:.0f} s" for kind, age in now.heartbeat_ages.items())
    lines = [
        ("model", f"{alive}, {now.tokens_per_second:,.1f} tokens/s, {count(now.tokens)} so far"),
        ("questions", f"{now.questions:.0f} under way, {now.queue:.0f} wait for the model"),
        ("batch", f"{now.batch:.0f} answers, {size(now.batch_bytes)}"),
        ("jobs", f"{jobs}{silent}; worker {'runs' if now.worker_alive else 'rests'}"),
        ("corpora", f"{now.corpora:.0f} in memory"),
        (
            "cartridges",
            f"{now.cartridges:.0f} in memory, {size(now.cartridge_bytes)}, "
            f"{now.hits:.0f} hits, {now.loads:.0f} loads",
        ),
    ]
    for route, told in now.routes.items():
        first = "-" if told.p50 is None else f"{told.p50:.2f} / {told.p95:.2f} s"
        lines.append((route, f"{told.answers:.0f} answers, first token p50 / p95 {first}"))
    refused = ", ".join(f"{number:.0f} {reason}" for reason, number in now.rejected.items())
    lines.append(("refused", refused or "none"))
    return lines
