"""Our batches beside transformers' continuous batching, on requests that continue two shared prefixes.

`python -m benchmarks.batching --data .work/data` writes `results/batching.json`: tokens a second and
equality with what each request gets alone, at several numbers of requests at once.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from benchmarks.decoding import Answers, Timed, decode, timed
from benchmarks.memory import peak_mib, reset_peak
from benchmarks.paged_peer import PAGE, PagedPeer
from benchmarks.record import write_result
from benchmarks.study_corpora import read_text
from engine import generation
from engine.answer_row import GenerationRequest
from engine.config import EngineConfig
from engine.generation import GenerationBatch
from engine.model import LanguageModel
from engine.prompt_reading import PIECE
from engine.prompts import Prompter
from engine.sampling import SamplingParams

TOGETHER = (1, 4, 16, 64)
LONG = 8000  # tokens of a prompt that others must not wait for
PREFIX = 4 * PAGE  # tokens of a prefix; the peer shares whole pages alone


def read_requests(model: LanguageModel, most: int, tokens: int) -> list[GenerationRequest]:
    """Questions about two texts, each behind the first tokens of its text."""
    prompter, params = Prompter(model), SamplingParams(max_tokens=tokens)
    texts = [read_text(name) for name in ("handbook", "python")]
    prefixes = [model.prefill(model.encode(text)[:PREFIX]) for text, _ in texts]
    requests = []
    for number in range(most):
        asked, prefix = texts[number % 2][1], prefixes[number % 2]
        ids = prompter.question_ids(asked[number // 2 % len(asked)].question)
        requests.append(GenerationRequest(str(number), tuple(ids), prefix, params))
    return requests


def row_of(name: str, together: int, own: Timed, alone: Timed) -> dict[str, Any]:
    equal = [own.answers[key] == alone.answers[key] for key in own.answers]
    return {
        "engine": name,
        "together": together,
        "tokens": own.tokens,
        "tokens_a_second": own.tokens / own.seconds,
        "seconds": own.seconds,
        "cpu_seconds": own.cpu_seconds,
        "peak_mib": peak_mib(),
        "answers_equal_alone": sum(equal) / len(equal),
    }


def measure(
    model: LanguageModel, peer: PagedPeer, requests: list[GenerationRequest], drafted: int
) -> Iterator[dict[str, Any]]:
    """Rows of both; each engine is measured against our answers to one request at a time."""

    def one_by_one() -> Answers:
        return {k: v for one in requests for k, v in decode(model, [one], 1, 0).items()}

    alone = timed(one_by_one)
    yield row_of("longmemory, one by one", 1, alone, alone)
    engines: dict[str, Callable[[Sequence[GenerationRequest]], Answers]] = {
        "longmemory": lambda some: decode(model, some, len(some), 0),
        "longmemory, drafted": lambda some: decode(model, some, len(some), drafted),
        "transformers, continuous batching": peer.answer,
    }
    for together in TOGETHER:
        some = requests[:together]
        for name, answer in engines.items():
            reset_peak()
            own = timed(partial(answer, some))
            yield row_of(name, together, own, alone)


def largest_gap(model: LanguageModel, piece: int) -> dict[str, Any]:
    """How long an answer under way stands still while a long prompt joins that is read `piece` tokens
    at a time, and how long that prompt takes to its first token.
    """
    ids = model.encode(read_text("python")[0] * 4)[:LONG]
    stream = GenerationRequest("stream", tuple(ids[:64]), None, SamplingParams(max_tokens=1000))
    long = GenerationRequest("long", tuple(ids), None, SamplingParams(max_tokens=1))
    with mock.patch.object(generation, "PIECE", piece):
        batch = GenerationBatch(model, 0)
        batch.add([stream])
        batch.step()
        batch.add([long])
        began = last = time.perf_counter()
        gaps, told = list[float](), set[str]()
        while "long" not in told:
            told = {one.request_id for one in batch.step()}
            gaps.append(time.perf_counter() - last)
            last = time.perf_counter()
    return {
        "engine": f"longmemory, prompts in pieces of {piece}" if piece < LONG else "whole prompts",
        "prompt_tokens": LONG,
        "largest_gap_seconds": max(gaps),
        "first_token_seconds": last - began,
        "answer_tokens_meanwhile": len(gaps),
    }


def headline(rows: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    batches = [row for row in rows if "together" in row]
    rate = {(row["engine"], row["together"]): row["tokens_a_second"] for row in batches}
    theirs = "transformers, continuous batching"
    found: dict[str, float | None] = {}
    for together in TOGETHER:
        for name in ("longmemory", "longmemory, drafted"):
            key = f"ratio_{name.split(', ')[-1]}_{together}"
            found[key] = rate[name, together] / rate[theirs, together]
    pieces, whole = (row["largest_gap_seconds"] for row in rows if "largest_gap_seconds" in row)
    found["gap_ratio_pieces"] = pieces / whole
    for row in batches:
        if row["together"] == 16:
            name = row["engine"].replace(", ", "_").replace(" ", "_")
            found[f"equal_{name}_16"] = row["answers_equal_alone"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.batching", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=48, help="of an answer at most")
    parser.add_argument("--drafted", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    model = LanguageModel.load(EngineConfig(given.data, threads=given.threads))
    requests = read_requests(model, max(TOGETHER), given.tokens)
    rows = []
    with closing(PagedPeer(given.data, requests)) as peer:
        torch.set_num_threads(given.threads)
        for row in measure(model, peer, requests, given.drafted):
            rows.append(row)
            print(row, flush=True)
    rows += [largest_gap(model, piece) for piece in (PIECE, LONG)]
    print(*rows[-2:], sep="\n")
    print(write_result("batching", rows, headline(rows)))


if __name__ == "__main__":
    main()
