"""Sentences on their way to a reader, and what a reader makes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from retrieval.packing import Candidate, in_document_order


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
    """How far a question was read: its coverage, whether the best passages were read again, how many
    times the text was searched, and what that took where it was a search of something stored.
    """

    coverage: float
    read_again: bool
    rounds: int
    search_seconds: float = field(default=0.0, compare=False)


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
        """The lines of the evidence in the order they are told to a model: neighbours in document order,
        the run of neighbours with the best score first. A small model holds on to what it reads first.
        """
        runs: list[list[Candidate]] = []
        for one in in_document_order(self.evidence):
            if runs and self._are_neighbours(runs[-1][-1], one):
                runs[-1].append(one)
            else:
                runs.append([one])
        runs.sort(key=lambda run: -max(one.score for one in run))
        return [self.lines[one.sentence] for run in runs for one in run]

    def _are_neighbours(self, one: Candidate, next_one: Candidate) -> bool:
        first, second = self.lines[one.sentence], self.lines[next_one.sentence]
        return second.sentence == first.sentence + 1 and second.document == first.document
