"""A server under load: many clients at once, batched and one by one, from a cartridge and from the text.

`python -m benchmarks.load --data .work/data` starts servers of its own on loopback and writes
`results/load.json`: closed-loop clients at 1, 4, 16 and 64 for `--seconds` each, then many
that ask together ten times as often as it can answer, for `--overload` seconds, beside a probe of the
server's health, then a flood of calls that are refused. Answers that were begun are waited for. At last
workers are killed, see `benchmarks.kill_runs`.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.kill_runs import KILLS, measure_kills
from benchmarks.load_clients import Tally, Work, ask_together, begin_health_probe
from benchmarks.record import write_result
from evaluation.corpora import KnownCorpus, handbook
from evaluation.demo import register, train
from evaluation.server_process import running_server
from service.client.connection import Client
from service.client.types import Route

CLIENTS = (1, 4, 16, 64)
READERS = CLIENTS[:3]  # of the full context, at seconds a text
BATCH = 16
CRUSH, TIMES = 10 * BATCH, 10  # clients, and how often they ask as multiples of what is answered
FLOOD = 150  # calls a second that are refused beside 64 clients whose questions are let in
TOKENS = 24  # of an answer at most
PREFIX, CONVERSATIONS, STEPS = 64, 8, 1  # how fast a cartridge serves does not hang on its training
Row = dict[str, Any]


def prepare(address: str, corpus: KnownCorpus) -> None:
    """The corpus with an index and a cartridge."""
    with Client(address) as client:
        register(client, corpus)
        train(client, corpus.id, PREFIX, CONVERSATIONS, STEPS)


def told(name: str, clients: int, tallies: Sequence[Tally], seconds: float) -> Row:
    """A row of what clients saw together; milliseconds, and tokens of ended answers a second."""
    first = [x * 1000 for tally in tallies for x in tally.first] or [float("nan")]
    whole = [x * 1000 for tally in tallies for x in tally.whole] or [float("nan")]
    refused = [one for tally in tallies for one in tally.refused]
    answers = sum(len(tally.whole) for tally in tallies)
    row: Row = {
        "served": name, "clients": clients, "seconds": seconds, "answers": answers,
        "answers_per_second": answers / seconds,
        "tokens_per_second": sum(tally.tokens for tally in tallies) / seconds,
        "refused": len(refused), "refused_for": sorted(set(refused)),
        "failed": sorted({reason for tally in tallies for reason in tally.failed}),
    }  # fmt: skip
    for percent in (50, 95, 99):
        row[f"first_p{percent}_ms"] = float(np.percentile(first, percent))
        row[f"whole_p{percent}_ms"] = float(np.percentile(whole, percent))
    return row


def overload(work: Work, server: psutil.Process) -> Row:
    """What a server is like that is asked ten times as much as it can answer."""
    before = server.memory_info().rss
    probe = begin_health_probe(work.address, work.seconds)
    tallies, seconds = ask_together(work, CRUSH)
    assert probe.stdout is not None
    health = [float(line) for line in probe.stdout]
    probe.wait()
    time.sleep(2)
    row = told("overload", CRUSH, tallies, seconds)
    row["health_p50_ms"], row["health_p99_ms"] = np.percentile(health, (50, 99)).tolist()
    row["rss_growth_mb"] = (server.memory_info().rss - before) / 2**20
    row["threads"], row["files"] = server.num_threads(), server.num_fds()
    row["refused_share"] = row["refused"] / max(1, row["refused"] + row["answers"])
    return row


def measure(given: argparse.Namespace) -> list[Row]:
    """All rows; every server is a process of its own."""
    corpus, rows = handbook(4), []
    questions = [one.question for one in corpus.questions]
    log, threads = given.data / "logs" / "load.log", ("--threads", str(given.threads))
    servers = (
        ("batched", BATCH, Route.CARTRIDGE), ("unbatched", 1, Route.CARTRIDGE),
        ("batched", BATCH, Route.FULL_CONTEXT),
    )  # fmt: skip
    for name, batch, route in servers:
        with running_server(given.data, log, "--batch", str(batch), *threads) as address:
            prepare(address, corpus)
            work = Work(address, corpus.id, questions, route, given.seconds, TOKENS)
            ask_together(replace(work, seconds=1.0), 1)  # warm
            for clients in READERS if route == Route.FULL_CONTEXT else CLIENTS:
                tallies, seconds = ask_together(work, clients)
                rows.append(told(f"{route}, {name}", clients, tallies, seconds))
                print(rows[-1], flush=True)
            if (name, route) == ("batched", Route.CARTRIDGE):
                capacity = max(row["answers_per_second"] for row in rows)
                pause = CRUSH / (TIMES * capacity)
                crush = replace(work, seconds=given.overload, pause=pause)
                rows.append(overload(crush, psutil.Process().children()[0]))
                print(rows[-1], flush=True)
                flood = replace(work, pause=(CRUSH - CLIENTS[-1]) / FLOOD)
                rows.append(told("flood", CRUSH, *ask_together(flood, CRUSH)))
                print(rows[-1], flush=True)
    return rows


def headline(rows: Sequence[Row]) -> dict[str, float | None]:
    """Ratios of answers a second at 16 clients, and what an overload does."""
    pace = {(row["served"], row["clients"]): row["answers_per_second"] for row in rows}
    ours = pace["cartridge, batched", 16]
    # Sixteen that read the whole text at once may outlast their clients' patience: its best counts.
    full = max(each for (name, _), each in pace.items() if name.startswith("full_context"))
    crushed = next(row for row in rows if row["served"] == "overload")
    flooded = next(row for row in rows if row["served"] == "flood")
    return {
        "throughput_ratio_batched_16": ours / pace["cartridge, unbatched", 16],
        "throughput_ratio_cartridge_16": ours / full,
        "health_p99_ms_overload": crushed["health_p99_ms"],
        "rejected_share_overload": crushed["refused_share"],
        "rss_growth_mb": crushed["rss_growth_mb"],
        "flooded_answers_ratio": flooded["answers_per_second"] / pace["cartridge, batched", 64],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.load", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each number of clients")
    parser.add_argument("--overload", type=float, default=120.0, help="seconds of overload")
    parser.add_argument("--kills", type=int, default=KILLS, help="workers killed at random")
    given = parser.parse_args()
    rows = measure(given)
    killed = measure_kills(given.data.resolve(), given.kills)
    figures = headline(rows) | killed.headline()
    print(write_result("load", rows + killed.told(), figures))


if __name__ == "__main__":
    main()
