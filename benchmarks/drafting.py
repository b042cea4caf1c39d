"""Answers from evidence with tokens guessed ahead and without, beside transformers' own prompt lookup.

`python -m benchmarks.drafting --data .work/data --questions FOLDER` writes `results/drafting.json`:
Natural Questions, what CRAG finds for each as evidence, greedy answers of the default model.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import fmean

import torch

from benchmarks.bench_corpora import Bench, read_nq
from benchmarks.decoding import Answers, Timed, decode, quoting, timed
from benchmarks.memory import peak_mib, reset_peak
from benchmarks.record import write_result
from engine.answer_row import GenerationRequest
from engine.drafting import MOST_DRAFTED
from engine.model import LanguageModel
from engine.prompts import Prompter
from retrieval.crag import CragSettings, retrieve

BATCHES = (1, 2, 4, 8, 16)
ANSWER = 96  # tokens at the most
PASSAGES = 400
PEER = 7  # tokens that transformers' prompt lookup is told to guess


def read_requests(bench: Bench, folder: Path, most: int) -> list[GenerationRequest]:
    """Prompts as the service makes them for CRAG's route."""
    gold, prompter = read_nq(folder), Prompter(bench.model)
    index = bench.index_without_keys(gold.passages[:PASSAGES])

    def cost(sentence: int) -> int:
        return len(prompter.line_ids(index.text(sentence)))

    requests = []
    for number, question in enumerate(gold.questions[:most]):
        found = retrieve(bench.embedder, index, question, CragSettings(), cost)
        lines = [line.text for line in found.told()]
        requests.append(quoting(prompter, lines, question, ANSWER, str(number)))
    return requests


@torch.inference_mode()
def theirs(model: LanguageModel, requests: Sequence[GenerationRequest], guessed: int) -> Answers:
    """By transformers' `generate`, one by one: it guesses for a single row alone."""
    answers: Answers = {}
    for request in requests:
        prompt = torch.tensor([request.prompt], device=model.device)
        extra = {"prompt_lookup_num_tokens": guessed} if guessed else {}
        made = model.network.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=request.params.max_tokens,
            do_sample=False,
            stop_strings=list(request.params.stop),
            tokenizer=model.tokenizer,
            pad_token_id=model.tokenizer.eos_token_id,
            **extra,
        )
        answers[request.id] = made[0, prompt.shape[1] :].tolist()
    return answers


@contextmanager
def counted_passes(model: LanguageModel) -> Iterator[Callable[[], int]]:
    """Counts the passes of the network within."""
    passes = 0

    def see(*_: object) -> None:
        nonlocal passes
        passes += 1

    hook = model.network.register_forward_pre_hook(see)
    try:
        yield lambda: passes
    finally:
        hook.remove()


def measure(model: LanguageModel, requests: list[GenerationRequest]) -> Iterator[dict[str, object]]:
    """Rows: every batch without and with guesses, then the peer; `faster` is against no guesses."""
    decode(model, requests[:4], 4, MOST_DRAFTED)  # warm
    for size in BATCHES:
        own = partial(decode, model, requests, size)
        yield from compared(model, ("longmemory", "longmemory, drafted"), size, own, MOST_DRAFTED)
    peer = partial(theirs, model, requests)
    yield from compared(model, ("transformers", "transformers, prompt lookup"), 1, peer, PEER)


def compared(
    model: LanguageModel,
    names: tuple[str, str],
    size: int,
    answer: Callable[[int], Answers],
    most: int,
) -> Iterator[dict[str, object]]:
    """The rows of an engine that guesses nothing, and at most so many tokens a pass."""
    plain: Timed | None = None
    for name, guessed in zip(names, (0, most), strict=True):
        reset_peak()
        with counted_passes(model) as passes:
            own = timed(partial(answer, guessed))
        plain = plain or own
        yield {
            "engine": name,
            "batch": size,
            "tokens": own.tokens,
            "passes": passes(),
            "tokens_a_second": own.tokens / own.seconds,
            "seconds": own.seconds,
            "cpu_seconds": own.cpu_seconds,
            "peak_mib": peak_mib(),
            "faster": plain.seconds / own.seconds,
            # transformers looks for stop strings behind a whole pass and may tell more than that
            "answers_equal": fmean(
                own.answers[key][: len(told)] == told for key, told in plain.answers.items()
            ),
        }


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
    for row in measure(bench.model, requests):
        rows.append(row)
        print(row, flush=True)
    print(write_result("drafting", rows, headline(rows)))


if __name__ == "__main__":
    main()
