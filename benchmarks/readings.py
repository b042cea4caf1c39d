"""The indexed reader as the service has it, on questions with gold passages, by several rules."""

import time
from dataclasses import dataclass, replace
from statistics import mean

import numpy as np
from rich.progress import track

from benchmarks.bench_corpora import Bench, GoldSet
from benchmarks.recall import Scores, of_passages, row_of
from retrieval.corpus_index import CorpusIndex
from retrieval.indexed import IndexedReader
from retrieval.infini_retri import ReadingSettings
from retrieval.lines import Effort
from retrieval.readers import Readers


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """What one reading ranked, by passages, and what it took."""

    scores: Scores
    wall_seconds: float
    cpu_seconds: float
    effort: Effort


class Readings:
    """Reads the questions of one set with the embedder and without it."""

    def __init__(self, bench: Bench, gold: GoldSet, index: CorpusIndex) -> None:
        self.gold, self.index, self.rule = gold, index, ReadingSettings()
        alone = replace(bench.heads, dense=0.0)
        self.readers = {
            "attention": Readers(bench.model, alone, None, bench.reader.size).indexed,
            "attention + dense": Readers(
                bench.model, bench.heads, bench.embedder, bench.reader.size
            ).indexed,
        }

    def rows(self, questions: int) -> list[dict[str, object]]:
        """Recall by each reader and rule over the first questions, and what a question takes."""
        rows = []
        for legs, reader in self.readers.items():
            ways: dict[str, list[Read]] = {}
            asked = self.gold.questions[:questions]
            for question in track(asked, f"{self.gold.name}: {legs}", transient=True):
                for way, read in self._ways(reader, question).items():
                    ways.setdefault(way, []).append(read)
            rows += [self._row(f"{legs}, {way}", reads) for way, reads in ways.items()]
        return rows

    def _ways(self, reader: IndexedReader, question: str) -> dict[str, Read]:
        """A question read by each rule. Two rounds for all are for questions of several hops alone;
        what the service's own rule does is one of the others.
        """
        once = self._read(reader, question, replace(self.rule, again=0.0, further=0.0))
        again = self._read(reader, question, replace(self.rule, again=1.0, further=0.0))
        effort = self.rule.effort(again.effort.coverage)
        ways = {"searched once": once, "read again always": again, "by the rule": again}
        if self.gold.hops > 1 or effort.rounds > 1:
            twice = self._read(reader, question, replace(self.rule, again=1.0, further=1.0))
            if self.gold.hops > 1:
                ways["two rounds always"] = twice
            if effort.rounds > 1:
                ways["by the rule"] = twice
        if not effort.read_again:
            ways["by the rule"] = once
        return ways

    def _read(self, reader: IndexedReader, question: str, settings: ReadingSettings) -> Read:
        wall, cpu = time.perf_counter(), time.process_time()
        found = reader.read(self.index, question, settings)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        ranked = np.full(len(self.index), -np.inf, np.float32)
        for place, one in enumerate(found.ranking):
            ranked[one.sentence] = -place
        assert found.effort is not None
        return Read(of_passages(self.index, ranked), wall, cpu, found.effort)

    def _row(self, leg: str, reads: list[Read]) -> dict[str, object]:
        return row_of(self.gold, leg, [read.scores for read in reads]) | {
            "wall_seconds": mean(read.wall_seconds for read in reads),
            "cpu_seconds": mean(read.cpu_seconds for read in reads),
            "read_again": mean(float(read.effort.read_again) for read in reads),
            "second_round": mean(float(read.effort.rounds > 1) for read in reads),
        }
