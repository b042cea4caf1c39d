"""RULER's retrieval tasks and Needle Threading by all routes: what was found, and what was answered.

`python -m benchmarks.tasks --data .work/data` writes `results/tasks.json`. It can be ended and begun
again: finished cells are kept in the data folder.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from benchmarks.record import write_result
from evaluation.ruler import RulerSuite
from evaluation.runs import Progress, Run, measured_length
from evaluation.scenes import Suite
from evaluation.server_process import running_server
from evaluation.summary import GroupFigures, group_figures
from evaluation.threads import ThreadsSuite
from service.client.connection import Client
from service.client.types import Route

ROUTES = "infini_retri,crag,full_context,none"


def row_of(suite: str, group: GroupFigures) -> dict[str, object]:
    """The figures of one task by one route."""
    own = group.figures
    return {
        "suite": suite,
        **group.labels,
        "route": group.route,
        "cells": own.count,
        "failed": own.failed,
        "recall": own.recall,
        "score": own.score,
        "right": own.right,
        "prompt_tokens": own.prompt_tokens,
        "prepare_seconds": own.prepare_seconds,
        "total_seconds": own.total_seconds,
    }


def measure(
    client: Client, suites: list[Suite], routes: list[Route], folder: Path
) -> Iterator[tuple[str, GroupFigures]]:
    """Each suite's groups: over all of it first, then by its own labels."""

    def say(step: Progress) -> None:
        print(f"{step.done} cells, {step.doing}", flush=True)

    for suite in suites:
        run = Run(client, suite, routes, folder / suite.name)
        run.go(say)
        cells = [row for row in run.rows.read() if row.route in routes]
        for names in ((), suite.grouped_by):
            for group in group_figures(cells, names, ranked=False):
                yield suite.name, group


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.tasks", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--length", default="4k", help="of RULER's texts; the model's window is 8k")
    parser.add_argument("--samples", type=int, default=5, help="texts a RULER task")
    parser.add_argument("--pairs", type=int, default=115, help="of a map of keys to values")
    parser.add_argument("--maps", type=int, default=1)
    parser.add_argument("--routes", default=ROUTES)
    parser.add_argument("--haystack", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    routes = [Route(name) for name in given.routes.split(",")]
    with (
        running_server(given.data, given.data / "logs" / "bench.log") as address,
        Client(address) as client,
    ):
        length = measured_length(client.count_tokens, given.length, given.haystack)
        suites: list[Suite] = [
            RulerSuite(given.seed, length.characters, length.label, given.samples, given.haystack),
            ThreadsSuite(seed=given.seed, pairs=given.pairs, samples=given.maps),
        ]
        groups = list(measure(client, suites, routes, given.data / "bench-tasks"))
    headline = {
        f"{name}_{suite}_{group.route}": getattr(group.figures, name)
        for suite, group in groups
        if not group.labels
        for name in ("recall", "score")
    }
    print(write_result("tasks", [row_of(*group) for group in groups], headline))


if __name__ == "__main__":
    main()
