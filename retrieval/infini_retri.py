"""InfiniRetri (Ye et al. 2025, arXiv 2502.12962) beyond the paper: three ways to read, one interface.

* `IndexedReader` (retrieval/indexed.py) asks the keys that registration stored.
* `StreamingReader` (retrieval/streaming.py) reads a text of any length once and keeps its best lines.
* `PublishedReader` (retrieval/published.py) is the algorithm as its authors describe it.

How much more is done is decided by one figure, the coverage: the share of what the question finds
anywhere that the best sentence accounts for. Where it is high, the answer's place is found and nothing
is read again. Where it is low, the best passages are read again, with the question behind them. Where
it is lowest, the question has several hops: a draft of its answer is searched for as well.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval.lines import Effort, Findings, Line
from retrieval.packing import Candidate, pack
from retrieval.second_reading import Rereading

Text = TypeVar("Text", contravariant=True)
Steps = Generator[None, None, Findings]  # bounded pieces of work, with pauses between them


@dataclass(frozen=True, slots=True)
class ReadingSettings:
    """Budgets in tokens: `evidence` is what a prompt may have of it, `shortlist` what is read again.

    `share` of the best score is the least that counts as evidence, since what lies below is noise to a
    small model; `sure_share` is that of questions that nothing is read again for, whose best sentence
    stands out. Below a coverage of `again` the shortlist is read again; below `further` an indexed
    text is searched once more, with a draft of the answer. 0 turns either off; 1 does it wherever one
    sentence is not all that the question finds.
    """

    evidence: int = 256
    share: float = 0.5
    sure_share: float = 0.65
    ranked: int = 100  # candidates that are named, read twice or not
    shortlist: int = 1280
    again: float = 0.3
    further: float = 0.2

    def __post_init__(self) -> None:
        if self.evidence < 1:
            raise ValueError(f"evidence budget {self.evidence} must be at least 1 token")
        if not 0.0 <= self.further <= self.again <= 1.0:
            raise ValueError(
                f"coverage bounds must be 0 <= further {self.further} <= again {self.again} <= 1"
            )
        if not (0.0 <= self.share <= 1.0 and 0.0 <= self.sure_share <= 1.0):
            raise ValueError(
                f"share {self.share} and sure_share {self.sure_share} must lie in 0..1"
            )

    def effort(self, coverage: float, most_rounds: int = 2) -> Effort:
        """How far a question of such coverage is read."""
        rounds = most_rounds if coverage < self.further else 1
        return Effort(coverage, coverage < self.again, rounds)


class Reader(Protocol[Text]):
    """One way to read: a text and a question to evidence."""

    def read(self, text: Text, question: str, settings: ReadingSettings) -> Findings: ...


def finished(steps: Steps) -> Findings:
    """What comes of all the steps, taken without a pause."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Findings = end.value
            return found


def read_again(
    rereading: Rereading,
    lines: Sequence[Line],
    scores: NDArray[np.float32],
    effort: Effort,
    settings: ReadingSettings,
) -> Generator[None, None, NDArray[np.float32]]:
    """Scores of ranked lines, by a second reading too where the effort has one."""
    if not effort.read_again:
        return scores
    read = yield from rereading.steps(lines, scores, settings.shortlist)
    return read


def conclude(
    lines: Sequence[Line],
    scores: NDArray[np.float32],
    costs: Sequence[int],
    settings: ReadingSettings,
    effort: Effort | None = None,
) -> Findings:
    """Lines with their final scores and costs in tokens to evidence."""
    ranking = [
        Candidate(line.sentence, float(score), cost)
        for line, score, cost in zip(lines, scores, costs, strict=True)
    ]
    ranking.sort(key=lambda one: (-one.score, one.sentence))
    sure = effort is not None and not effort.read_again
    share = settings.sure_share if sure else settings.share
    evidence = pack(ranking, settings.evidence, share)
    return Findings(evidence, ranking, {line.sentence: line for line in lines}, effort)
