"""How high gold passages rank, by scores of sentences."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.bench_corpora import GoldSet
from retrieval.corpus_index import CorpusIndex

CUTS = (1, 5, 10)
Scores = NDArray[np.float32]


def of_passages(index: CorpusIndex, scores: Scores) -> Scores:
    """A document's score is its best sentence's."""
    starts = np.flatnonzero(np.diff(index.document_of, prepend=-1))
    found: Scores = np.maximum.reduceat(scores, starts)
    return found


def recall(scores: list[Scores], gold: GoldSet) -> dict[str, float]:
    """Mean share of a question's gold passages among the first 1, 5, 10, and MRR of the first."""
    rows = []
    for own, wanted in zip(scores, gold.gold, strict=False):
        order = [int(i) for i in np.argsort(-own, kind="stable")]
        first = next(place for place, i in enumerate(order, start=1) if i in wanted)
        rows.append([*(len(wanted & set(order[:k])) / len(wanted) for k in CUTS), 1 / first])
    means = np.mean(rows, axis=0)
    return {f"recall@{k}": float(v) for k, v in zip(CUTS, means, strict=False)} | {
        "mrr": float(means[-1])
    }


def row_of(gold: GoldSet, leg: str, scores: list[Scores]) -> dict[str, object]:
    return {"set": gold.name, "leg": leg, "questions": len(scores), **recall(scores, gold)}
