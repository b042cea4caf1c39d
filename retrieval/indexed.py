"""A registered corpus read through its stored keys: one short pass over the question, then no more than
its coverage asks for (see retrieval/infini_retri.py).
"""

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.embedding import Embedder
from retrieval.attention_index import AttentionScorer
from retrieval.contrast import standardised
from retrieval.corpus_index import CorpusIndex
from retrieval.draft import Drafter
from retrieval.infini_retri import ReadingSettings, Steps, conclude, finished, read_again
from retrieval.lines import Effort, Findings, Line
from retrieval.ranking import rank
from retrieval.second_reading import Rereading, SecondReading


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """One search of an index: a score a sentence, 0 for an average one, the question's coverage, and
    what asking the stored keys and vectors took, the reading of the question apart.
    """

    scores: NDArray[np.float32]
    coverage: float
    seconds: float


class IndexedReader:
    """Reads a registered corpus."""

    def __init__(
        self,
        scorer: AttentionScorer,
        second: SecondReading,
        drafter: Drafter,
        embedder: Embedder | None = None,
    ) -> None:
        self._scorer, self._second = scorer, second
        self._drafter, self._embedder = drafter, embedder

    def read(self, text: CorpusIndex, question: str, settings: ReadingSettings) -> Findings:
        """Evidence from an index; the same question gives the same evidence."""
        return finished(self.steps(text, question, settings))

    def steps(self, text: CorpusIndex, question: str, settings: ReadingSettings) -> Steps:
        """The reading in pieces: a search, then passes of bounded size."""
        if not len(text):
            return Findings()
        first = self.search(text, question)
        yield
        rereading = self._second.begin(question)
        effort = replace(settings.effort(first.coverage), search_seconds=first.seconds)
        lines, scores = yield from self._ranked(text, first.scores, rereading, effort, settings)
        if effort.rounds > 1:
            draft = yield from self._draft(lines, scores, question, settings)
            second = self.search(text, draft)
            yield
            effort = replace(effort, search_seconds=first.seconds + second.seconds)
            both = first.scores + second.scores
            lines, scores = yield from self._ranked(text, both, rereading, effort, settings)
        costs = [self._second.cost(line) for line in lines]
        return conclude(lines, scores, costs, settings, effort)

    def search(self, index: CorpusIndex, question: str) -> Search:
        """Every sentence's score by the stored keys and, by its calibrated weight, the embedder."""
        asked, weight = self._scorer.ask(question), self._scorer.heads.dense
        encoder = self._embedder if weight else None
        vector = index.vector_of(question, encoder) if encoder else None
        began = time.perf_counter()
        found = self._scorer.score(index, asked)
        scores = standardised(found.scores)
        if vector is not None:
            scores = scores + weight * standardised(index.vectors @ vector)
        return Search(scores, found.coverage, time.perf_counter() - began)

    def _ranked(
        self,
        index: CorpusIndex,
        scores: NDArray[np.float32],
        rereading: Rereading,
        effort: Effort,
        settings: ReadingSettings,
    ) -> Generator[None, None, tuple[list[Line], NDArray[np.float32]]]:
        order = rank(scores, settings.ranked)
        lines = [index.line(sentence) for sentence in order]
        read = yield from read_again(rereading, lines, scores[order], effort, settings)
        return lines, read

    def _draft(
        self,
        lines: Sequence[Line],
        scores: NDArray[np.float32],
        question: str,
        settings: ReadingSettings,
    ) -> Generator[None, None, str]:
        costs = [self._second.cost(line) for line in lines]
        found = conclude(lines, scores, costs, settings)
        draft = yield from self._drafter.steps([line.text for line in found.told()], question)
        return draft or question
