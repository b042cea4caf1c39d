"""Sentences on their way to a reader, and what a reader makes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from retrieval.packing import Candidate, best_run_first


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence as it is read: its number in the text, its words, its first character's place, and the
    number of its document where there are several.
    """

    sentence: int
    text: str
    start: int = 0
    document: int = 0


@dataclass(frozen=True, slots=True)
class Effort:
    """How far a question was read: its coverage, whether the best passages were read again, and how
    many times the text was searched.
    """

    coverage: float
    read_again: bool
    rounds: int


@dataclass(frozen=True, slots=True)
class Findings:
    """What a reader found: `evidence` in document order under the budget, the best of everything that
    was ranked, best first, and the lines of both by their numbers; with the effort it took where that
    hangs on the question.
    """

    evidence: Sequence[Candidate] = ()
    ranking: Sequence[Candidate] = ()
    lines: Mapping[int, Line] = field(default_factory=dict)
    effort: Effort | None = None

    def told(self) -> list[Line]:
        """The lines of the evidence in the order they are told to a model."""
        return [self.lines[one.sentence] for one in best_run_first(self.evidence)]
