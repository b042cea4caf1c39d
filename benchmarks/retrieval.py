"""Recall of gold passages: lexical, dense, attention over stored keys, and what is made of them.

Each set of rows tells how many questions it is over: what is read again is over the first of them, and
the rows "searched once" are over the same. A passage ranks by its best sentence. `python -m
benchmarks.retrieval --data .work/data --questions FOLDER` writes `results/retrieval.json`.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import bm25s
import numpy as np
from rich.progress import track

from benchmarks.bench_corpora import Bench, GoldSet, read_musique, read_nq
from benchmarks.readings import Readings
from benchmarks.recall import Scores, of_passages, row_of
from benchmarks.record import write_result
from engine.attention import Head
from retrieval.attention_index import AttentionScorer
from retrieval.calibration import NULL
from retrieval.contrast import CAP, contrast, odds, standardised
from retrieval.corpus_index import CorpusIndex
from retrieval.pooling import Pooling


class Legs:
    """Every way to score the passages of one set by one search, nothing read again."""

    def __init__(self, bench: Bench, gold: GoldSet, index: CorpusIndex) -> None:
        self.bench, self.gold, self.index = bench, gold, index
        self.scorer = AttentionScorer(bench.model, bench.heads, bench.reader.size.most)
        other: Pooling = "log_sum_exp" if bench.heads.pooling == "max" else "max"
        heads = replace(bench.heads, pooling=other)
        self._other = AttentionScorer(bench.model, heads, self.scorer.window)
        self._heads = [head for own in self.scorer.sharing.values() for head in own]
        self._lexical = bm25s.BM25()
        self._lexical.index(_words(gold.passages), show_progress=False)
        asked = self.scorer.ask(NULL)
        pooled = self.scorer.pooled_logits(asked, index.keys, index.token_counts)
        self._null = odds(pooled).mean(axis=0)
        self.seconds: dict[str, list[float]] = {"ask": [], "search": []}

    def all(self, questions: int) -> dict[str, list[Scores]]:
        """Scores [passages] of each question by each leg."""
        found: dict[str, list[Scores]] = {}
        for question in track(self.gold.questions[:questions], self.gold.name, transient=True):
            for name, scores in self._legs(question).items():
                found.setdefault(name, []).append(scores)
        return found

    def _legs(self, question: str) -> dict[str, Scores]:
        index, began = self.index, time.perf_counter()
        asked = self.scorer.ask(question)
        read = time.perf_counter()
        pooled = self.scorer.pooled_logits(asked, index.keys, index.token_counts)
        attention = contrast(pooled, index.document_of).scores
        dense = index.vectors @ self.bench.embedder.embed_question(question)
        self.seconds["ask"].append(read - began)
        self.seconds["search"].append(time.perf_counter() - read)
        plain = odds(pooled)
        other = self._other.pooled_logits(asked, index.keys, index.token_counts)
        weight = self.bench.heads.dense
        sentences = {
            "attention": attention,
            "attention, without standardising": plain.mean(axis=0),
            "attention, less the null question": plain.mean(axis=0) - self._null,
            "attention, without neighbours": np.minimum(standardised(plain), CAP).sum(axis=0),
            f"attention, pooled by {self._other.heads.pooling}": contrast(
                other, index.document_of
            ).scores,
            **self._by_head(pooled),
            "dense": dense,
            "attention + dense": standardised(attention) + weight * standardised(dense),
        }
        scored = {name: of_passages(index, scores) for name, scores in sentences.items()}
        lexical = self._lexical.get_scores(_words([question])[0]).astype(np.float32)
        scored["bm25"] = lexical
        scored["attention + bm25"] = standardised(scored["attention"]) + standardised(lexical)
        fused = standardised(scored["attention + dense"])
        scored["attention + dense + bm25"] = fused + 0.5 * standardised(lexical)
        return scored

    def _by_head(self, pooled: Scores) -> dict[str, Scores]:
        """Each head alone, and all but each."""
        alone = [
            contrast(rows, self.index.document_of).scores
            for rows in np.split(pooled, len(self._heads))
        ]
        total = np.sum(alone, axis=0)
        return {
            **{
                f"attention, {_named(h)} alone": own
                for h, own in zip(self._heads, alone, strict=True)
            },
            **{
                f"attention, without {_named(h)}": total - own
                for h, own in zip(self._heads, alone, strict=True)
            },
        }


def _named(head: Head) -> str:
    return f"head {head.layer}.{head.head}"


def _words(texts: list[str] | tuple[str, ...]) -> list[list[str]]:
    tokenised: list[list[str]] = bm25s.tokenize(
        list(texts), stopwords="en", return_ids=False, show_progress=False
    )
    return tokenised


def measure(bench: Bench, gold: GoldSet, questions: int, read: int) -> list[dict[str, object]]:
    """One row a leg; `read` questions are read as the service reads them."""
    index = bench.index(gold.passages)
    legs = Legs(bench, gold, index)
    rows = [row_of(gold, name, scores) for name, scores in legs.all(questions).items()]
    rows += Readings(bench, gold, index).rows(min(read, questions))
    for name, seconds in legs.seconds.items():
        took = float(np.median(seconds)) * 1000
        rows.append({"set": gold.name, "leg": f"{name} ms", "median": took})
    rows.append({"set": gold.name, "leg": "tokens", "median": float(index.num_tokens)})
    return rows


HEADLINE = {
    "nq_attention": ("nq", "attention"),
    "nq_first_attention": ("nq", "attention, searched once"),
    "nq_first_attention_read_again": ("nq", "attention, read again always"),
    "nq_first_attention_by_the_rule": ("nq", "attention, by the rule"),
    "nq_bm25": ("nq", "bm25"),
    "nq_dense": ("nq", "dense"),
    "nq_fused": ("nq", "attention + dense"),
    "nq_first_fused": ("nq", "attention + dense, searched once"),
    "nq_first_fused_by_the_rule": ("nq", "attention + dense, by the rule"),
    "musique_attention": ("musique", "attention"),
    "musique_attention_read_again": ("musique", "attention, read again always"),
    "musique_attention_by_the_rule": ("musique", "attention, by the rule"),
    "musique_attention_two_rounds": ("musique", "attention, two rounds always"),
    "musique_bm25": ("musique", "bm25"),
    "musique_dense": ("musique", "dense"),
    "musique_fused": ("musique", "attention + dense"),
    "musique_fused_by_the_rule": ("musique", "attention + dense, by the rule"),
}


def headline(rows: list[dict[str, object]]) -> dict[str, float | None]:
    """Recall at 1 and at 5 of the rows that people ask for; `first` is over the questions read again."""
    by_leg = {(row["set"], row["leg"]): row for row in rows}
    return {
        f"recall{cut}_{name}": float(str(by_leg[place][f"recall@{cut}"]))
        for name, place in HEADLINE.items()
        for cut in (1, 5)
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.retrieval", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--questions", type=Path, required=True, help="folder of the question sets")
    parser.add_argument("--most", type=int, default=1000)
    parser.add_argument("--read", type=int, default=100, help="first questions, read again")
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    bench = Bench.load(given.data, given.threads)
    rows = measure(bench, read_nq(given.questions), given.most, given.read)
    rows += measure(bench, read_musique(given.questions), given.most, given.read)
    print(write_result("retrieval", rows, headline(rows)))
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
