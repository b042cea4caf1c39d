"""What keys in eight bits cost: recall of gold passages by stored keys in each precision.

The first passages of the Natural Questions are one corpus, asked by attention alone. `python -m
benchmarks.keys --data .work/data --questions FOLDER` writes `results/keys.json`.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich.progress import track

from benchmarks.bench_corpora import Bench, GoldSet, read_nq
from benchmarks.recall import Scores, of_passages, row_of
from benchmarks.record import write_result
from retrieval.attention_index import AttentionScorer
from retrieval.corpus_index import CorpusIndex, Document, Placement
from retrieval.quantised_keys import QuantisedKeys, quantise
from retrieval.window_index import WindowReader, WindowRecord, exact_keys
from retrieval.windows import cut_windows


def kept_as(dtype: torch.dtype) -> Callable[[torch.Tensor], QuantisedKeys]:
    """Keys [G, T, D] as they are in a precision, with a scale of 1."""
    return lambda keys: QuantisedKeys(keys.to(dtype).float(), torch.ones(keys.shape[:2]))


# How keys are kept, and bytes a token and head of 64 dimensions.
PRECISIONS: dict[str, tuple[Callable[[torch.Tensor], QuantisedKeys], int]] = {
    "float32": (kept_as(torch.float32), 256),
    "float16": (kept_as(torch.float16), 128),
    "int8": (quantise, 68),  # with the scale of each row
}


class ExactReader(WindowReader):
    """Reads windows and rounds no key."""

    def keys(self, ids: Sequence[int]) -> QuantisedKeys:
        (keys,) = exact_keys(self.model, self.heads, [ids])
        return kept_as(torch.float32)(keys.clone())  # else a window's keys keep its whole pass


def rekept(record: WindowRecord, keep: Callable[[torch.Tensor], QuantisedKeys]) -> WindowRecord:
    """A record of exact keys, with them kept in another precision."""
    return replace(record, keys=keep(record.keys.values))


def measure(bench: Bench, gold: GoldSet) -> list[dict[str, object]]:
    """A row a precision; the questions ask each index with the same queries."""
    reader = ExactReader(bench.model, bench.embedder, bench.heads)
    placements = []
    for number, text in enumerate(track(gold.passages, "index", transient=True)):
        for window in cut_windows(text, bench.reader.count_tokens, bench.reader.size):
            placements.append(Placement(number, window.start, reader.read(text, window)))
    documents = [Document(str(i), text) for i, text in enumerate(gold.passages)]
    scorer = AttentionScorer(bench.model, bench.heads, bench.reader.size.most)
    indexes = {
        name: CorpusIndex(
            documents,
            [replace(p, record=rekept(p.record, keep)) for p in placements],
        )
        for name, (keep, _) in PRECISIONS.items()
    }
    found: dict[str, list[Scores]] = {name: [] for name in indexes}
    for question in track(gold.questions, "ask", transient=True):
        asked = scorer.ask(question)
        for name, index in indexes.items():
            found[name].append(of_passages(index, scorer.score(index, asked).scores))
    return [
        row_of(gold, name, scores) | {"bytes_a_token_and_head": PRECISIONS[name][1]}
        for name, scores in found.items()
    ]


def first_passages(gold: GoldSet, most: int) -> GoldSet:
    """The first questions, each with its passage; passages and questions have equal numbers."""
    return GoldSet(gold.name, gold.passages[:most], gold.questions[:most], gold.gold[:most])


def headline(rows: Sequence[dict[str, object]]) -> dict[str, float | None]:
    return {
        f"recall{cut}_{row['leg']}": float(str(row[f"recall@{cut}"]))
        for row in rows
        for cut in (1, 5)
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.keys", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--questions", type=Path, required=True, help="folder of the question sets")
    parser.add_argument("--most", type=int, default=300)
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    bench = Bench.load(given.data, given.threads)
    rows = measure(bench, first_passages(read_nq(given.questions), given.most))
    print(write_result("keys", rows, headline(rows)))
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
