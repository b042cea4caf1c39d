"""The order in which waiting answers are decoded, against the order of their arrival.

    python -m benchmarks.waiting --data .work/data

Long prompts with short answers, evidence, and cartridges with long answers come at once in an order of
chance and wait for a few places; the same requests are decoded in both orders.
"""

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from unittest import mock

import numpy as np
from rich.progress import track

from benchmarks.memory import peak_mib, reset_peak
from benchmarks.record import write_result
from benchmarks.study_corpora import read_text
from engine.answer_row import GenerationRequest
from engine.config import EngineConfig
from engine.generation import GenerationBatch
from engine.model import LanguageModel
from engine.sampling import SamplingParams
from service import waiting_answers
from service.waiting_answers import Start, WaitingAnswers

KINDS = (("whole text", 1500, 16, False), ("evidence", 400, 32, False), ("cartridge", 24, 64, True))
ROUNDS = 8  # of each kind
SEEDS = (0, 1, 2)
PREFIX = 64  # tokens


def read_requests(model: LanguageModel, seed: int) -> list[GenerationRequest]:
    """`ROUNDS` of every kind, shuffled; a request's id begins with its kind."""
    text = read_text("python")[0]
    ids = model.encode(text * (1 + ROUNDS * 2000 // len(text)))
    prefix, made = model.prefill(ids[:PREFIX]), list[GenerationRequest]()
    for kind, prompt, told, has_prefix in KINDS:
        for number in range(ROUNDS):
            part = tuple(ids[number * 50 : number * 50 + prompt])
            params = SamplingParams(max_tokens=told)
            name = f"{kind} {number}"
            made.append(GenerationRequest(name, part, prefix if has_prefix else None, params))
    random.Random(seed).shuffle(made)
    return made


def decode(
    model: LanguageModel, requests: Sequence[GenerationRequest], places: int
) -> dict[str, float]:
    """What it took, in seconds from the moment at which all arrived."""
    waiting, batch = WaitingAnswers(), GenerationBatch(model, 0)
    under_way: dict[str, Start] = {}
    for request in requests:
        waiting.add(Start(request, lambda piece: None, "default"))
    reset_peak()
    first, ended, tokens = dict[str, float](), dict[str, float](), 0
    began, began_cpu = time.perf_counter(), time.process_time()
    while waiting or len(batch):
        joining = waiting.take(places - len(batch), under_way.values())
        under_way |= {start.request.id: start for start in joining}
        batch.add([start.request for start in joining])
        for piece in batch.step():
            now, tokens = time.perf_counter() - began, tokens + 1
            first.setdefault(piece.request_id, now)
            if piece.finish is not None:
                ended[piece.request_id] = now
                del under_way[piece.request_id]
    took = {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - began_cpu,
        "peak_mib": peak_mib(),
        "tokens": float(tokens),
        "first_token_mean": fmean(first.values()),
        "first_token_p50": float(np.median(list(first.values()))),
        "first_token_worst": max(first.values()),
        "ended_mean": fmean(ended.values()),
    }
    for kind, *_ in KINDS:
        took[f"first_token_mean {kind}"] = fmean(
            seconds for name, seconds in first.items() if name.startswith(kind)
        )
    return took


def measure(model: LanguageModel, places: int) -> list[dict[str, object]]:
    """A row for each seed and order."""
    rows: list[dict[str, object]] = []
    decode(model, read_requests(model, 0)[:4], places)  # warm
    for seed in track(SEEDS, "orders"):
        requests = read_requests(model, seed)
        for order, patience in (("arrival", 0), ("soon read first", waiting_answers.PATIENCE)):
            with mock.patch.object(waiting_answers, "PATIENCE", patience):
                rows.append({"order": order, "seed": seed} | decode(model, requests, places))
            print(rows[-1], flush=True)
    return rows


def headline(rows: Sequence[dict[str, object]]) -> dict[str, float | None]:
    """Ratios of the order served to that of arrival, means over seeds."""

    def mean(order: str, figure: str) -> float:
        return fmean(float(str(row[figure])) for row in rows if row["order"] == order)

    figures = ("seconds", "first_token_mean", "first_token_p50", "first_token_worst", "ended_mean")
    return {
        f"{figure}_ratio": mean("soon read first", figure) / mean("arrival", figure)
        for figure in figures
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.waiting", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--places", type=int, default=4, help="answers decoded at once")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    model = LanguageModel.load(EngineConfig(given.data, threads=given.threads))
    rows = measure(model, given.places)
    print(write_result("waiting", rows, headline(rows)))


if __name__ == "__main__":
    main()
