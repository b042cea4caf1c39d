"""Recall of gold passages by each leg of the search, alone and fused, and what answers come of it."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
from rich.progress import track

from benchmarks.bench_corpora import Bench, GoldSet
from benchmarks.decoding import quoting
from benchmarks.recall import Scores, of_passages, row_of
from engine.generation import generate_text
from engine.prompts import Prompter
from retrieval.attention_index import AttentionScorer
from retrieval.contrast import standardised
from retrieval.corpus_index import CorpusIndex
from retrieval.crag import CragSettings, retrieve
from retrieval.hybrid import HybridSettings, search
from retrieval.infini_retri import ReadingSettings
from retrieval.lines import Findings
from retrieval.packing import Candidate, pack
from retrieval.readers import Readers

ONCE, TWICE = HybridSettings(second=0.0), HybridSettings()
ATTENTION = 0.5  # weight of the attention index beside the fused search


def recall_rows(
    bench: Bench, gold: GoldSet, index: CorpusIndex, attention: bool
) -> list[dict[str, object]]:
    """One row a leg; with `attention` the index has keys and they are asked too."""
    scorer = AttentionScorer(bench.model, bench.heads, bench.reader.size.most)
    found: dict[str, list[Scores]] = {}
    seconds: dict[str, list[float]] = {}
    for question in track(gold.questions, gold.name, transient=True):
        vector = bench.embedder.embed_question(question)

        legs: dict[str, Callable[[], Scores]] = {
            "bm25": partial(index.lexical.scores, question),
            "dense": partial(np.matmul, index.vectors, vector),
            "fused": partial(search, index, question, vector, ONCE),
            "fused, two hops": partial(search, index, question, vector, TWICE),
        }
        if attention:
            legs["attention"] = partial(_attention, scorer, index, question)
        scored = {}
        for name, leg in legs.items():
            began = time.perf_counter()
            scored[name] = leg()
            seconds.setdefault(name, []).append(time.perf_counter() - began)
        if attention:
            both = standardised(scored["fused, two hops"])
            scored["fused, two hops + attention"] = both + ATTENTION * scored["attention"]
        for name, scores in scored.items():
            found.setdefault(name, []).append(of_passages(index, scores))
    return [
        row_of(gold, name, scores)
        | {"ms": 1000 * float(np.median(seconds[name])) if name in seconds else None}
        for name, scores in found.items()
    ]


def _attention(scorer: AttentionScorer, index: CorpusIndex, question: str) -> Scores:
    return standardised(scorer.score(index, scorer.ask(question)).scores)


def answer_rows(
    bench: Bench,
    gold: GoldSet,
    index: CorpusIndex,
    accept: Sequence[Sequence[str]],
    most: int,
    attention: bool,
) -> list[dict[str, object]]:
    """What the default model answers from what each route finds, and what that takes."""
    prompter, settings = Prompter(bench.model), CragSettings()
    reader = Readers(bench.model, bench.heads, bench.embedder, bench.reader.size).indexed

    def cost(sentence: int) -> int:
        return len(prompter.line_ids(index.text(sentence)))

    def plain(question: str) -> Findings:
        numbers, cosines = index.search(bench.embedder.embed_question(question), settings.found)
        ranked = [
            Candidate(int(n), float(c), cost(int(n))) for n, c in zip(numbers, cosines, strict=True)
        ]
        lines = {one.sentence: index.line(one.sentence) for one in ranked}
        return Findings(pack(ranked, settings.evidence), ranked, lines)

    routes: dict[str, Callable[[str], Findings]] = {
        "plain RAG": plain,
        "crag": lambda q: retrieve(bench.embedder, index, q, settings, cost),
        "crag, half the tokens": lambda q: retrieve(
            bench.embedder, index, q, replace(settings, evidence=settings.evidence // 2), cost
        ),
    }
    if attention:
        routes["infini_retri"] = lambda q: reader.read(index, q, ReadingSettings())
    rows = []
    for name, find in routes.items():
        asked = list(zip(gold.questions[:most], accept, strict=False))
        rows.append({"set": gold.name, "route": name, **_answered(bench, prompter, find, asked)})
    return rows


def _answered(
    bench: Bench,
    prompter: Prompter,
    find: Callable[[str], Findings],
    asked: Sequence[tuple[str, Sequence[str]]],
) -> dict[str, object]:
    held, right, tokens, seconds = [], [], [], []
    for question, accept in track(asked, transient=True):
        began = time.perf_counter()
        found = find(question)
        lines = [line.text for line in found.told()]
        request = quoting(prompter, lines, question, 64, verbatim=True)
        (answer,) = generate_text(bench.model, [request], 1)
        seconds.append(time.perf_counter() - began)
        told = " ".join(lines).lower()
        held.append(any(one.lower() in told for one in accept))
        right.append(any(one.lower() in answer.lower() for one in accept))
        tokens.append(len(request.prompt))
    return {
        "questions": len(asked),
        "answer_in_evidence": fmean(held),
        "answer_right": fmean(right),
        "prompt_tokens": fmean(tokens),
        "seconds": fmean(seconds),
    }


def accepted(folder: Path, name: str) -> list[list[str]]:
    """The right strings of each question of a set."""
    if name == "nq":
        lines = (folder / "nq_open_passages.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["answers"] for line in lines]
    rows = json.loads((folder / "musique_100.json").read_text(encoding="utf-8"))
    return [[row["answer"], *row.get("answer_aliases", [])] for row in rows]
