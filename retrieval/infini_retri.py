"""InfiniRetri (Ye et al. 2025, arXiv 2502.12962) beyond the paper: three ways to read, one interface.

* `IndexedReader` asks the keys that registration stored: one short pass over the question.
* `StreamingReader` (retrieval/streaming.py) reads a text of any length once and keeps its best lines.
* `PublishedReader` (retrieval/published.py) is the algorithm as its authors describe it.

The first two end alike: the best lines are evidence by the scores of the first reading, or are read
again together, in document order, with the question behind them, and judged by both readings.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.embedding import Embedder
from retrieval.attention_index import AttentionScorer, rank
from retrieval.contrast import standardised
from retrieval.corpus_index import CorpusIndex
from retrieval.lines import Findings, Line
from retrieval.packing import Candidate, pack
from retrieval.second_reading import SecondReading

Text = TypeVar("Text", contravariant=True)


@dataclass(frozen=True, slots=True)
class ReadingSettings:
    """Budgets in tokens: `evidence` is what a prompt may have of it; `share` of the best score is the
    least that counts, since what lies below is noise to a small model.

    With `again` the best `shortlist` tokens are read a second time, together with the question. It is
    off by default: beside the embedder's cosine it costs answers (of 60 Natural Questions the 135M
    model has 16 right with it and 20 without); where attention is all there is, it lifts recall.
    """

    shortlist: int = 384
    evidence: int = 256
    share: float = 0.7
    ranked: int = 100  # candidates that are named, read twice or not
    again: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.evidence <= self.shortlist:
            raise ValueError(
                f"evidence budget {self.evidence} must be above 0 and at most the shortlist's "
                f"{self.shortlist}"
            )


class Reader(Protocol[Text]):
    """One way to read: a text and a question to evidence."""

    def read(self, text: Text, question: str, settings: ReadingSettings) -> Findings: ...


class IndexedReader:
    """Reads a registered corpus through its stored keys."""

    def __init__(
        self, scorer: AttentionScorer, second: SecondReading, embedder: Embedder | None = None
    ) -> None:
        self._scorer, self._second, self._embedder = scorer, second, embedder

    def read(self, text: CorpusIndex, question: str, settings: ReadingSettings) -> Findings:
        """Evidence from an index; the same question gives the same evidence."""
        if not len(text):
            return Findings()
        scores = self.score(text, question)
        order = rank(scores, settings.ranked)
        lines = [Line(sentence, text.text(sentence)) for sentence in order]
        return conclude(self._second, lines, scores[order], question, settings)

    def score(self, index: CorpusIndex, question: str) -> NDArray[np.float32]:
        """One score a sentence; 0 is an average sentence of this corpus."""
        scores = standardised(self._scorer.score(index, question))
        weight = self._scorer.heads.dense
        if weight and self._embedder is not None:
            cosines = index.vectors @ self._embedder.embed([question])[0]
            scores = scores + weight * standardised(cosines)
        return scores


def conclude(
    second: SecondReading,
    lines: Sequence[Line],
    scores: NDArray[np.float32],
    question: str,
    settings: ReadingSettings,
) -> Findings:
    """Ranked lines (best first, with their scores) to evidence: read the best again if so set, pack."""
    read = candidates = [
        Candidate(line.sentence, float(score), second.cost(line))
        for line, score in zip(lines, scores, strict=True)
    ]
    if settings.again:
        read = second.read(lines, scores, question, settings.shortlist)
    known = {one.sentence for one in read}
    behind = [replace(one, score=0.0) for one in candidates if one.sentence not in known]
    ranking = [*sorted(read, key=lambda c: (-c.score, c.sentence)), *behind]
    named = {line.sentence: line for line in lines}
    return Findings(pack(read, settings.evidence, settings.share), ranking, named)
