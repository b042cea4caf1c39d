"""Needles by a server of its own: recall of what was planted, answers, what a search takes, and how
long it is until a prompt is ready (the question read, searched for, and its evidence packed).

`python -m benchmarks.needle --data .work/data` writes `results/needle.json`. It can be ended and
begun again: finished cells are kept in the data folder.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median

from benchmarks.record import recorded, write_result
from evaluation.haystack import read_haystack
from evaluation.needle_suite import NeedleGrid
from evaluation.rows import Row
from evaluation.runs import Progress, Run, measured_length
from evaluation.server_process import running_server
from service.client.connection import Client
from service.client.types import Route

LABELS = ("4k", "32k", "128k", "1m")


def milliseconds(seconds: Sequence[float | None]) -> float | None:
    """Their median; None where there are none."""
    known = [one for one in seconds if one is not None]
    return 1000 * median(known) if known else None


def row_of(label: str, route: str, cells: Sequence[Row]) -> dict[str, object]:
    """The figures of one length by one route."""
    return {
        "length": label,
        "route": route,
        "cells": len(cells),
        "failed": sum(bool(cell.error) for cell in cells),
        "recall": mean(cell.recall or 0.0 for cell in cells),
        "right": mean(cell.is_right for cell in cells),
        "first": mean(cell.rank == 1 for cell in cells),
        "prompt_tokens": mean(cell.prompt_tokens for cell in cells),
        "search_ms": milliseconds([cell.search_seconds for cell in cells]),
        "ready_ms": milliseconds([cell.prepare_seconds for cell in cells]),
        "first_token_seconds": median(cell.first_token_seconds for cell in cells),
        "total_seconds": median(cell.total_seconds for cell in cells),
    }


def headline(rows: Sequence[dict[str, object]]) -> dict[str, float | None]:
    """Flat figures of the infini_retri route, and those of the benchmarks `streaming` and `package`;
    null for what was not run.
    """
    own = {row["length"]: row for row in rows if row["route"] == Route.INFINI_RETRI.value}

    def figure(label: str, name: str) -> float | None:
        value = own[label][name] if label in own else None
        return None if value is None else float(str(value))

    return {
        **{f"recall_{label}": figure(label, "recall") for label in LABELS},
        **{f"answers_{label}": figure(label, "right") for label in LABELS},
        "search_ms_128k": figure("128k", "search_ms"),
        "search_ms_1m": figure("1m", "search_ms"),
        "ready_ms_128k": figure("128k", "ready_ms"),
        "ready_ms_1m": figure("1m", "ready_ms"),
        **{
            f"{name}_streaming_{label}": recorded("streaming", f"{name}_{label}")
            for label in LABELS
            for name in ("recall", "answers")
        },
        "peak_extra_mb_streaming_1m": recorded("streaming", "peak_extra_mib_1m"),
        "cpu_ratio_streaming_vs_package": recorded("package", "cpu_ratio_streaming_vs_package"),
        "cpu_ratio_indexed_vs_package": recorded("package", "cpu_ratio_indexed_vs_package"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.needle", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--lengths", default="4k,32k,128k")
    parser.add_argument("--depths", type=int, default=10)
    parser.add_argument("--routes", default="infini_retri,crag")
    parser.add_argument("--haystack", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    folder = given.data / "bench-needle"
    routes = [Route(name) for name in given.routes.split(",")]
    labels = given.lengths.split(",")

    def say(step: Progress) -> None:
        print(f"{step.done} cells, {step.doing}", flush=True)

    with (
        running_server(given.data, given.data / "logs" / "bench.log") as address,
        Client(address) as client,
    ):
        lengths = tuple(
            measured_length(client.count_tokens, label, given.haystack) for label in labels
        )
        grid = NeedleGrid(lengths, given.depths, given.seed, given.haystack)
        run = Run(client, grid, routes, folder)
        run.go(say)
    cells = run.rows.read()
    rows = [
        row_of(length.label, route.value, own)
        | {"source": read_haystack(given.haystack, length.characters).source}
        for length in lengths
        for route in routes
        if (own := [c for c in cells if (c.labels["length"], c.route) == (length.label, route)])
    ]
    print(write_result("needle", rows, headline(rows)))


if __name__ == "__main__":
    main()
