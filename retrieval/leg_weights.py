"""How much words weigh in a corpus' hybrid search, fitted to questions whose sentence is known.

A handful of questions fits by chance. So another weight than the shipped one is taken only where it
ranks better by a margin on every half of the questions that it was not chosen on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from retrieval.corpus_index import CorpusIndex
from retrieval.hybrid import HybridSettings, search

LEXICAL = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0)  # tried weights against the dense leg's 1
MARGIN = 0.02  # of mean reciprocal rank
LEAST = 8  # questions, below which nothing is fitted


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """A question with its unit vector [dimension] and the number of the sentence that it asks about."""

    question: str
    vector: NDArray[np.float32]
    sentence: int


@dataclass(frozen=True, slots=True)
class LegWeight:
    """The weight of words, and the mean reciprocal ranks, 0..1, under it and the shipped one."""

    lexical: float
    rank: float
    shipped_rank: float


def fit_lexical(
    index: CorpusIndex, asked: Sequence[Known], shipped: HybridSettings
) -> LegWeight | None:
    """The weight that `asked` speaks for, the shipped one where they do not; None of no questions."""
    if not asked:
        return None
    ranks = {
        weight: [reciprocal_rank(index, one, replace(shipped, lexical=weight)) for one in asked]
        for weight in {*LEXICAL, shipped.lexical}
    }
    best = chosen(ranks, shipped.lexical)
    return LegWeight(best, fmean(ranks[best]), fmean(ranks[shipped.lexical]))


def reciprocal_rank(index: CorpusIndex, asked: Known, settings: HybridSettings) -> float:
    """One over the place of the sentence asked about; of equal ones the last place."""
    scores = search(index, asked.question, asked.vector, settings)
    return 1.0 / int((scores >= scores[asked.sentence]).sum())


def chosen(ranks: Mapping[float, Sequence[float]], shipped: float) -> float:
    """The weight to take by reciprocal ranks [weight][question]; of equal ones the nearest to the
    shipped.
    """
    count = len(ranks[shipped])
    halves = range(0, count, 2), range(1, count, 2)
    if count < LEAST:
        return shipped
    for fitted, held_out in (halves, halves[::-1]):
        best = _best(ranks, shipped, fitted)
        gain = fmean(ranks[best][i] for i in held_out) - fmean(ranks[shipped][i] for i in held_out)
        if gain < MARGIN:
            return shipped
    return _best(ranks, shipped, range(count))


def _best(ranks: Mapping[float, Sequence[float]], shipped: float, rows: range) -> float:
    return max(
        ranks, key=lambda one: (fmean(ranks[one][i] for i in rows), -abs(one - shipped), -one)
    )
