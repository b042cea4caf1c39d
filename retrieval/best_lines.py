"""The best lines of a text that is read once, for one question, in memory that does not grow.

What sets a line apart is judged against the lines read so far, so the scores of those kept are brought
up to date as the reading goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.contrast import REACH, Contrast, combined, neighbourhood
from retrieval.lines import Line
from retrieval.running import RunningMoments


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Lines with what a question found: `own` and `among` are odds [R, lines], `cosines` [lines]."""

    lines: list[Line]
    own: NDArray[np.float32]
    among: NDArray[np.float32]
    cosines: NDArray[np.float32]

    def take(self, places: NDArray[np.int64]) -> "Seen":
        return Seen(
            [self.lines[i] for i in places],
            self.own[:, places],
            self.among[:, places],
            self.cosines[places],
        )

    def behind(self, other: "Seen") -> "Seen":
        """The lines of another and then these."""
        return Seen(
            [*other.lines, *self.lines],
            np.concatenate([other.own, self.own], axis=1),
            np.concatenate([other.among, self.among], axis=1),
            np.concatenate([other.cosines, self.cosines]),
        )


class BestLines:
    """Takes lines in order; keeps the best `most`. `rows` (head, question token) pairs ask, and the
    embedder's cosine counts with weight `dense`.
    """

    def __init__(self, rows: int, dense: float, most: int) -> None:
        self._dense, self._most = dense, most
        self._own, self._among = RunningMoments(rows), RunningMoments(rows)
        self._totals, self._cosines = RunningMoments(1), RunningMoments(1)
        nothing = np.zeros((rows, 0), np.float32)
        self.kept = Seen([], nothing, nothing, np.zeros(0, np.float32))
        # Lines whose neighbourhood may still grow, behind some that are done.
        self._recent = self.kept
        self._done = 0  # lines at the front of `_recent` that are counted already

    def add(
        self, lines: Sequence[Line], own: NDArray[np.float32], cosines: NDArray[np.float32]
    ) -> None:
        """Counts the lines whose neighbourhood is complete now; the last few wait."""
        seen = Seen(list(lines), own, own, cosines).behind(self._recent)
        documents = np.array([line.document for line in seen.lines], np.int32)
        seen = Seen(seen.lines, seen.own, neighbourhood(seen.own, documents), seen.cosines)
        complete = max(self._done, len(seen.lines) - REACH)
        self._count(seen.take(np.arange(self._done, complete)))
        first = max(0, complete - REACH)
        self._recent, self._done = seen.take(np.arange(first, len(seen.lines))), complete - first

    def finish(self) -> None:
        """Counts the lines that waited: none comes behind them."""
        waiting = np.arange(self._done, len(self._recent.lines))
        self._count(self._recent.take(waiting))
        self._done = len(self._recent.lines)

    def ranked(self, most: int) -> tuple[list[Line], NDArray[np.float32], float]:
        """The best of the lines kept, best first, with their scores, and the question's coverage."""
        scores = self.fused(self.kept)
        # Parts of an overlong line that came apart: its best one speaks for it.
        first: dict[int, int] = {}
        for place in np.argsort(-scores, kind="stable"):
            first.setdefault(self.kept.lines[place].sentence, int(place))
        order = [*first.values()][:most]
        return [self.kept.lines[i] for i in order], scores[order], self._coverage()

    def contrast(self, seen: Seen) -> NDArray[np.float32]:
        """Scores by attention, against all lines so far."""
        return combined(self._own.standardised(seen.own), self._among.standardised(seen.among))

    def fused(self, seen: Seen) -> NDArray[np.float32]:
        """Scores by attention and, with its weight, the cosine."""
        scores: NDArray[np.float32] = self._totals.standardised(self.contrast(seen)[None])[0]
        if self._dense:
            scores = scores + self._dense * self._cosines.standardised(seen.cosines[None])[0]
        return scores

    def _coverage(self) -> float:
        highest = combined(
            self._own.standardised(self._own.most), self._among.standardised(self._among.most)
        )
        return Contrast(self.contrast(self.kept), float(highest[0])).coverage

    def _count(self, seen: Seen) -> None:
        if not seen.lines:
            return
        self._own.add(seen.own)
        self._among.add(seen.among)
        self._cosines.add(seen.cosines[None])
        self._totals.add(self.contrast(seen)[None])
        every = seen.behind(self.kept)
        best = np.argsort(-self.fused(every), kind="stable")[: self._most]
        self.kept = every.take(np.sort(best))
