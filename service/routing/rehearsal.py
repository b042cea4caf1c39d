"""What a corpus' own questions showed: how well each route tells their answers, and how words weigh.

A self-made question is about one sentence and uses its words, so it speaks for lookups alone, and all
routes do better on it than on people's questions. Hence only what sets a route apart from the others
moves what is promised of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

PRIOR_QUESTIONS = 24.0  # self-made ones that weigh as much as what was known before


@dataclass(frozen=True, slots=True)
class Tried:
    """A route on the questions of a rehearsal: of how many it told the answer, and the mean share, 0..1,
    that its text recovers of the loss between no text and the very sentence.
    """

    route: str
    told: int
    recovered: float


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """`wanted` questions were tried for and `questions` were sound. `lexical` is the weight of words in
    a search of this corpus, None where the shipped one stays; `rank` and `shipped_rank` are the mean
    reciprocal ranks, 0..1, of the sentences asked about under it and under the shipped weight.
    """

    wanted: int
    questions: int = 0
    routes: tuple[Tried, ...] = ()
    lexical: float | None = None
    rank: float = 0.0
    shipped_rank: float = 0.0

    def told(self, route: str) -> int | None:
        """Of how many questions a route told the answer; None where it was not tried."""
        return next((one.told for one in self.routes if one.route == route), None)

    def moved(self, likely: Mapping[str, float]) -> dict[str, float]:
        """Chances, 0..1, of routes: tried ones nearer to where they stood here, their mean as it was."""
        tried = {one.route: one.told for one in self.routes if one.route in likely}
        if len(tried) < 2 or not self.questions:
            return dict(likely)
        weight = self.questions / (self.questions + PRIOR_QUESTIONS)
        told = {route: (count + 1) / (self.questions + 2) for route, count in tried.items()}
        usual, here = fmean(likely[route] for route in tried), fmean(told.values())
        moved = dict(likely)
        for route in tried:
            own = (1.0 - weight) * (likely[route] - usual) + weight * (told[route] - here)
            moved[route] = min(1.0, max(0.0, usual + own))
        return moved
