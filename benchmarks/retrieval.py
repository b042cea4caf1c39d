"""Recall of gold passages: lexical, dense, attention over stored keys, and what is fused of them.

Every row is the same passages and questions. A passage ranks by its best sentence. `python -m
benchmarks.retrieval --data .work/data --questions FOLDER` writes `results/retrieval.json`.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import bm25s
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from benchmarks.bench_corpora import Bench, GoldSet, read_musique, read_nq
from benchmarks.record import write_result
from retrieval.attention_index import AttentionScorer
from retrieval.contrast import contrast, odds, standardised
from retrieval.corpus_index import CorpusIndex
from retrieval.lines import Line
from retrieval.second_reading import SecondReading

CUTS = (1, 5, 10)
SHORTLIST = 14  # passages that the second reading has in one window
ROOM = 2600  # tokens for them

Leg = Callable[[int, str], NDArray[np.float32]]  # question number and text to scores of passages


class Legs:
    """Every way to score the passages of one set."""

    def __init__(self, bench: Bench, gold: GoldSet, index: CorpusIndex) -> None:
        self.bench, self.gold, self.index = bench, gold, index
        self.scorer = AttentionScorer(bench.model, bench.heads, bench.reader.size.most)
        self.second = SecondReading(bench.model, bench.heads)
        edges = np.diff(index.document_of, prepend=-1)
        self._starts = np.flatnonzero(edges)
        self._lexical = bm25s.BM25()
        self._lexical.index(_words(gold.passages), show_progress=False)
        self.seconds: dict[str, list[float]] = {"ask": [], "search": []}

    def all(self, questions: int) -> dict[str, list[NDArray[np.float32]]]:
        """Scores [passages] of each question by each leg."""
        found: dict[str, list[NDArray[np.float32]]] = {}
        for question in track(self.gold.questions[:questions], self.gold.name, transient=True):
            for name, scores in self._legs(question).items():
                found.setdefault(name, []).append(scores)
        return found

    def _legs(self, question: str) -> dict[str, NDArray[np.float32]]:
        index, began = self.index, time.perf_counter()
        asked = self.scorer.ask(question)
        read = time.perf_counter()
        best = self.scorer.best_logits(asked, index.keys, index.token_counts)
        attention = contrast(best, index.document_of)
        dense = index.vectors @ self.bench.embedder.embed([question])[0]
        self.seconds["ask"].append(read - began)
        self.seconds["search"].append(time.perf_counter() - read)
        apart = np.minimum(standardised(odds(best)), 8.0).sum(axis=0)
        last = self.bench.heads.search[-1]
        weight = self.bench.heads.dense
        both = standardised(attention) + weight * standardised(dense)
        passages = {
            "attention": attention,
            "attention, without standardising": odds(best).sum(axis=0),
            "attention, without neighbours": apart,
            f"attention, head {last.layer}.{last.head} alone": self._of_last_head(best),
            "dense": dense,
            "attention + dense": both,
        }
        scored = {name: self._of_passages(scores) for name, scores in passages.items()}
        lexical = self._lexical.get_scores(_words([question])[0]).astype(np.float32)
        scored["bm25"] = lexical
        scored["attention + bm25"] = standardised(scored["attention"]) + standardised(lexical)
        scored["attention + dense + bm25"] = standardised(
            scored["attention + dense"]
        ) + 0.5 * standardised(lexical)
        return scored

    def _of_last_head(self, best: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = len(best) // len(self.bench.heads.search)
        return contrast(best[-rows:], self.index.document_of)

    def _of_passages(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = np.maximum.reduceat(scores, self._starts)
        return found

    def read_again(self, number: int, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """The best passages together in one window, their order by both readings."""
        order = np.argsort(-scores, kind="stable")[:SHORTLIST]
        lines = [Line(int(i), self.gold.passages[i]) for i in order]
        given = standardised(scores)[order]
        read = self.second.read(lines, given, self.gold.questions[number], ROOM)
        result: NDArray[np.float32] = (
            scores - scores.max() - 1.0
        )  # behind those that were read again
        for candidate in read:
            result[candidate.sentence] = candidate.score
        return result


def _words(texts: list[str] | tuple[str, ...]) -> list[list[str]]:
    tokenised: list[list[str]] = bm25s.tokenize(
        list(texts), stopwords="en", return_ids=False, show_progress=False
    )
    return tokenised


def recall(scores: list[NDArray[np.float32]], gold: GoldSet) -> dict[str, float]:
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


def measure(bench: Bench, gold: GoldSet, questions: int, again: int) -> list[dict[str, object]]:
    """One row a leg."""
    index = bench.index(gold.passages)
    legs = Legs(bench, gold, index)
    found = legs.all(questions)
    rows: list[dict[str, object]] = [
        {"set": gold.name, "leg": name, "questions": len(scores), **recall(scores, gold)}
        for name, scores in found.items()
    ]
    plain = found["attention"][:again]
    reread = [
        legs.read_again(i, scores) for i, scores in enumerate(track(plain, "again", transient=True))
    ]
    for name, scores in (("attention", plain), ("attention, read again", reread)):
        leg = f"{name} (first {again})"
        rows.append({"set": gold.name, "leg": leg, "questions": again, **recall(scores, gold)})
    for name, seconds in legs.seconds.items():
        took = float(np.median(seconds)) * 1000
        rows.append({"set": gold.name, "leg": f"{name} ms", "median": took})
    rows.append({"set": gold.name, "leg": "tokens", "median": float(index.num_tokens)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.retrieval", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--questions", type=Path, required=True, help="folder of the question sets")
    parser.add_argument("--most", type=int, default=1000)
    parser.add_argument("--again", type=int, default=200, help="questions read a second time")
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    bench = Bench.load(given.data, given.threads)
    rows = measure(bench, read_nq(given.questions), given.most, given.again)
    rows += measure(bench, read_musique(given.questions), given.most, min(100, given.again))

    def figure(set_name: str, leg: str, cut: int) -> float:
        return next(
            float(str(row[f"recall@{cut}"]))
            for row in rows
            if row["set"] == set_name and row["leg"] == leg
        )

    again = f"attention, read again (first {given.again})"
    headline = {
        "recall5_nq_attention": figure("nq", "attention", 5),
        "recall1_nq_attention": figure("nq", "attention", 1),
        "recall5_nq_attention_read_again": figure("nq", again, 5),
        "recall1_nq_attention_read_again": figure("nq", again, 1),
        "recall5_nq_bm25": figure("nq", "bm25", 5),
        "recall5_nq_fused": figure("nq", "attention + dense", 5),
        "recall5_musique_attention": figure("musique", "attention", 5),
        "recall5_musique_dense": figure("musique", "dense", 5),
        "recall5_musique_fused": figure("musique", "attention + dense", 5),
    }
    print(write_result("retrieval", rows, headline))
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
