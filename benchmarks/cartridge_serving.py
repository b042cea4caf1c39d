"""What a question costs behind a cartridge, behind the full context, and behind the stored context.

Time to the first token, tokens a second and memory a request, for contexts of several lengths and
batches of several sizes; the cartridge has 38.6 times fewer rows, as in the paper. Speed does not hang
on what rows hold, so a cut of the context stands in for a trained one. Full context is read for one
request and counted once for each of a batch: they are read one after the other here. `python -m
benchmarks.cartridge_serving --data .work/data` writes `results/cartridge_serving.json`.
"""

import argparse
import importlib
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.progress import track

from benchmarks.engine_flags import add_engine_flags, engine_config
from benchmarks.record import write_result
from cartridges.store import BuiltPart, load_cartridge, store_cartridge
from engine.answer_row import GenerationRequest
from engine.generation import generate_text
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.prompts import Prompter
from engine.sampling import SamplingParams

LENGTHS = (1500, 4000, 8000)
BATCHES = (1, 4, 16)
SMALLER = 38.6
DECODED = 16
QUESTION = "What does the text say about names?"


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def context_ids(prompter: Prompter, length: int) -> list[int]:
    """The first tokens of Python's own reference as a context."""
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    lines = "\n".join(topics[name] for name in sorted(topics)).split("\n")
    return prompter.context_ids(lines)[:length]


def answer(
    model: LanguageModel, prefix: KVPrefix, batch: int, tokens: int, is_shared: bool
) -> float:
    """Seconds for a batch of requests: behind one prefix, or each behind a prefix of its own."""
    prompt = tuple(Prompter(model).question_ids(QUESTION))
    params = SamplingParams(max_tokens=tokens, stop=())
    own = [prefix] * batch if is_shared else [_copy(prefix) for _ in range(batch)]
    requests = [GenerationRequest(str(i), prompt, own[i], params) for i in range(batch)]
    return timed(lambda: generate_text(model, requests, batch))


def _copy(prefix: KVPrefix) -> KVPrefix:
    return KVPrefix(prefix.keys.clone(), prefix.values.clone(), prefix.query_offset)


def measure(model: LanguageModel, length: int, folder: Path) -> list[dict[str, object]]:
    """Rows of one context length."""
    ids = context_ids(Prompter(model), min(length, model.geometry.window - 256))
    model.prefill(ids[:64])
    began = time.perf_counter()
    context = model.prefill(ids)
    reading = time.perf_counter() - began
    small = context.head(round(len(ids) / SMALLER))
    store_cartridge(folder / str(length), model, [BuiltPart(small)], "", {}, {})
    loading = timed(lambda: load_cartridge(folder / str(length), model))
    rows: list[dict[str, object]] = []
    ways = (("cartridge", small, loading, 0.0), ("stored context", context, 0.0, 0.0))
    for batch in BATCHES:
        for is_shared in (False, True) if batch > 1 else (False,):
            for way, prefix, once, each in (*ways, ("full context", context, 0.0, reading)):
                first = answer(model, prefix, batch, 1, is_shared)
                decoding = answer(model, prefix, batch, DECODED + 1, is_shared) - first
                before = once + batch * each
                rows.append(
                    {
                        "context_tokens": len(ids),
                        "batch": batch,
                        "way": way,
                        "corpora": 1 if is_shared else batch,
                        "rows": prefix.length,
                        "first_token_seconds": before + first,
                        "decoded_tokens_per_second": batch * DECODED / max(1e-9, decoding),
                        "answers_per_second": batch / (before + first + decoding),
                        "prefix_bytes": prefix.num_bytes * (1 if is_shared else batch),
                        "load_seconds": once,
                        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
                    }
                )
    return rows


def ratio(rows: list[dict[str, object]], batch: int, figure: str, over: str, under: str) -> float:
    """Of two ways at the longest context, each request with a corpus of its own."""
    longest = max(int(str(row["context_tokens"])) for row in rows)
    found = {
        row["way"]: float(str(row[figure]))
        for row in rows
        if (row["context_tokens"], row["batch"], row["corpora"]) == (longest, batch, batch)
    }
    return found[over] / found[under]


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.cartridge_serving", description=__doc__)
    add_engine_flags(parser)
    given = parser.parse_args()
    model = LanguageModel.load(engine_config(given))
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for length in track(LENGTHS, "lengths"):
            rows += measure(model, length, Path(folder))
    full, small, stored = "full context", "cartridge", "stored context"
    headline: dict[str, float | None] = {
        "ttft_ratio_8k": ratio(rows, 1, "first_token_seconds", full, small),
        "ttft_ratio_8k_stored": ratio(rows, 1, "first_token_seconds", stored, small),
        "memory_ratio": ratio(rows, 1, "prefix_bytes", full, small),
        "throughput_ratio": ratio(rows, 16, "decoded_tokens_per_second", small, stored),
        "answers_ratio": ratio(rows, 16, "answers_per_second", small, full),
    }
    print(write_result("cartridge_serving", rows, headline))
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
