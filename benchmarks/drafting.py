"""Answers from evidence with tokens guessed ahead and without, beside transformers' own prompt lookup.

`python -m benchmarks.drafting --data .work/data --questions FOLDER` writes `results/drafting.json`:
Natural Questions, what CRAG finds for each as evidence, greedy answers of the default model.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch

from benchmarks.bench_corpora import Bench, read_nq
from benchmarks.memory import peak_mib, reset_peak
from benchmarks.record import write_result
from engine.answer_row import GenerationRequest
from engine.drafting import MOST_DRAFTED
from engine.generation import GenerationBatch
from engine.prompts import Prompter
from engine.sampling import SamplingParams
from retrieval.crag import CragSettings, retrieve

BATCHES = (1, 2, 4, 8, 16)
ANSWER = 96  # tokens at the most
PASSAGES = 400
PEER = 7  # tokens that transformers' prompt lookup is told to guess: the best of 3, 5, 7, 10 here


@dataclass(frozen=True, slots=True)
class Timed:
    """Tokens of each answer, and what they took."""

    answers: list[list[int]]
    seconds: float
    cpu_seconds: float
    passes: int

    @property
    def tokens(self) -> int:
        return sum(map(len, self.answers))


def read_requests(bench: Bench, folder: Path, most: int) -> list[GenerationRequest]:
    """Prompts as the service makes them for CRAG's route."""
    gold, prompter = read_nq(folder), Prompter(bench.model)
    index = bench.index_without_keys(gold.passages[:PASSAGES])
    params = SamplingParams(max_tokens=ANSWER, stop=prompter.quote.stop)

    def cost(sentence: int) -> int:
        return len(prompter.line_ids(index.text(sentence)))

    requests = []
    for number, question in enumerate(gold.questions[:most]):
        found = retrieve(bench.embedder, index, question, CragSettings(), cost)
        lines = [line.text for line in found.told()]
        ids = [*prompter.context_ids(lines), *prompter.question_ids(question, prompter.quote)]
        requests.append(GenerationRequest(str(number), tuple(ids), None, params))
    return requests


def ours(bench: Bench, requests: Sequence[GenerationRequest], size: int, most: int) -> Timed:
    """Answers by our engine, `size` at once for as long as there are so many, and `most` guessed."""
    answers: dict[str, list[int]] = {request.id: [] for request in requests}
    with counted_passes(bench) as passes:
        began, began_cpu = time.perf_counter(), time.process_time()
        batch, waiting = GenerationBatch(bench.model, most), list(requests)
        while waiting or len(batch):
            room = size - len(batch)
            batch.add(waiting[:room])
            waiting = waiting[room:]
            for piece in batch.step():
                answers[piece.request_id].append(piece.token)
        seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    return Timed([answers[one.id] for one in requests], seconds, cpu, passes())


@torch.inference_mode()
def theirs(bench: Bench, requests: Sequence[GenerationRequest], guessed: int | None) -> Timed:
    """The same by transformers' `generate`, one by one: it guesses for a single row alone."""
    answers, tokenizer = [], bench.model.tokenizer
    with counted_passes(bench) as passes:
        began, began_cpu = time.perf_counter(), time.process_time()
        for request in requests:
            prompt = torch.tensor([request.prompt], device=bench.model.device)
            extra = {"prompt_lookup_num_tokens": guessed} if guessed else {}
            made = bench.model.network.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=request.params.max_tokens,
                do_sample=False,
                stop_strings=list(request.params.stop),
                tokenizer=tokenizer,
                pad_token_id=tokenizer.eos_token_id,
                **extra,
            )
            answers.append(made[0, prompt.shape[1] :].tolist())
        seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    return Timed(answers, seconds, cpu, passes())


@contextmanager
def counted_passes(bench: Bench) -> Iterator[Callable[[], int]]:
    """Counts the passes of the network within."""
    passes = 0

    def see(*_: object) -> None:
        nonlocal passes
        passes += 1

    hook = bench.model.network.register_forward_pre_hook(see)
    try:
        yield lambda: passes
    finally:
        hook.remove()


def row_of(name: str, size: int, own: Timed, plain: Timed, peak: float) -> dict[str, object]:
    return {
        "engine": name,
        "batch": size,
        "tokens": own.tokens,
        "passes": own.passes,
        "tokens_a_second": own.tokens / own.seconds,
        "seconds": own.seconds,
        "cpu_seconds": own.cpu_seconds,
        "peak_mib": peak,
        "faster": plain.seconds / own.seconds,
        # transformers looks for stop strings behind a whole pass and may tell more than was asked for
        "answers_equal": fmean(
            a[: len(b)] == b for a, b in zip(own.answers, plain.answers, strict=True)
        ),
    }


def measure(bench: Bench, requests: list[GenerationRequest]) -> Iterator[dict[str, object]]:
    """Rows: every batch without and with guesses, then the peer; `faster` is against no guesses."""
    ours(bench, requests[:4], 4, MOST_DRAFTED)  # warm
    for size in BATCHES:
        plain = Timed([], 0.0, 0.0, 0)
        for most in (0, MOST_DRAFTED):
            reset_peak()
            own = ours(bench, requests, size, most)
            plain = own if not most else plain
            yield row_of(
                "longmemory, drafted" if most else "longmemory", size, own, plain, peak_mib()
            )
    plain = theirs(bench, requests, None)
    yield row_of("transformers", 1, plain, plain, peak_mib())
    yield row_of("transformers, prompt lookup", 1, theirs(bench, requests, PEER), plain, peak_mib())


def headline(rows: Sequence[dict[str, object]]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for row in rows:
        if row["engine"] == "longmemory, drafted":
            found[f"faster_batch_{row['batch']}"] = float(str(row["faster"]))
            found[f"answers_equal_batch_{row['batch']}"] = float(str(row["answers_equal"]))
        if row["engine"] == "transformers, prompt lookup":
            found["faster_transformers"] = float(str(row["faster"]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.drafting", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--questions", type=Path, required=True, help="folder of the question sets")
    parser.add_argument("--answers", type=int, default=48)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    bench = Bench.load(given.data, given.threads)
    requests = read_requests(bench, given.questions, given.answers)
    rows = []
    for row in measure(bench, requests):
        rows.append(row)
        print(row, flush=True)
    print(write_result("drafting", rows, headline(rows)))


if __name__ == "__main__":
    main()
