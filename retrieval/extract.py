"""An extract: sentences that together say the most for their tokens.

Budgeted submodular cover (Lin & Bilmes 2011). A choice says much where every sentence of the text is
near a chosen one (facility location over embeddings), and where the terms that the text keeps coming
back to are in it. On annotated reviews the two together cover more of what people wrote about than
either (benchmarks/crag).
"""

import heapq
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer

BLOCK = 2048
"""Rows chosen from at once: their likeness to each other is a matrix."""


class Objective(Protocol):
    """A monotone submodular function of the rows taken so far."""

    def gain(self, row: int) -> float:
        """What the row would add."""

    def take(self, row: int) -> None:
        """The row is chosen."""


class FacilityLocation:
    """sum_i weights[i] * max_j in chosen cos(i, j) as a share of what all rows together give; negative
    cosines count as 0. `vectors` are unit rows [n, dimension].
    """

    def __init__(self, vectors: NDArray[np.float32], weights: NDArray[np.float32]) -> None:
        self._likeness = np.clip(vectors @ vectors.T, 0.0, None)
        self._weights = weights / max(1e-12, float(weights @ self._likeness.max(axis=1, initial=0)))
        self._covered = np.zeros(len(vectors), dtype=np.float32)

    def gain(self, row: int) -> float:
        return float(self._weights @ np.maximum(self._likeness[row] - self._covered, 0.0))

    def take(self, row: int) -> None:
        self._covered = np.maximum(self._covered, self._likeness[row])


class TermCoverage:
    """sum_t weights[t] * sqrt(how many chosen rows have term t), as a share of what all rows give.

    Terms are words and pairs of neighbouring words that stand in two rows at least; one counts by its
    rows times the logarithm of how rare it is: what the text is about, not what it is made of.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._terms = count_terms(texts)
        rows = np.asarray(self._terms.sum(axis=0)).ravel()
        weights = rows * np.log(max(1, len(texts)) / np.maximum(rows, 1))
        self._weights = weights / max(1e-12, float(weights @ np.sqrt(rows)))
        self._taken = np.zeros(len(rows))

    def gain(self, row: int) -> float:
        terms = self._of(row)
        taken = self._taken[terms]
        return float(self._weights[terms] @ (np.sqrt(taken + 1) - np.sqrt(taken)))

    def take(self, row: int) -> None:
        self._taken[self._of(row)] += 1

    def _of(self, row: int) -> NDArray[np.int32]:
        found: NDArray[np.int32] = self._terms.indices[
            self._terms.indptr[row] : self._terms.indptr[row + 1]
        ]
        return found


class Diversity:
    """sum_k (weight of the chosen rows of cluster k) ^ power, as a share of what all rows give (Lin &
    Bilmes 2011, section 4): the next row of a cluster that has a say already adds less.
    """

    def __init__(
        self, labels: NDArray[np.int64], weights: NDArray[np.float32], power: float
    ) -> None:
        self._labels, self._weights, self._power = labels, weights, power
        masses = np.bincount(labels, weights=weights)
        self._whole = max(1e-12, float((masses**power).sum()))
        self._taken = np.zeros(len(masses))

    def gain(self, row: int) -> float:
        taken = self._taken[self._labels[row]]
        more = (taken + self._weights[row]) ** self._power - taken**self._power
        return float(more / self._whole)

    def take(self, row: int) -> None:
        self._taken[self._labels[row]] += self._weights[row]


class Together:
    """Several objectives, each counting alike."""

    def __init__(self, *parts: Objective) -> None:
        self._parts = parts

    def gain(self, row: int) -> float:
        return sum(part.gain(row) for part in self._parts) / len(self._parts)

    def take(self, row: int) -> None:
        for part in self._parts:
            part.take(row)


def count_terms(texts: Sequence[str]) -> csr_matrix:
    """Which row has which term, [rows, terms] of ones; no terms where none stands in two rows."""
    counter = CountVectorizer(binary=True, ngram_range=(1, 2), stop_words="english", min_df=2)
    try:
        counted: csr_matrix = counter.fit_transform(texts).tocsr()
    except ValueError:  # nothing but stop words, or no term twice
        return csr_matrix((len(texts), 0))
    return counted


def extract(
    vectors: NDArray[np.float32], texts: Sequence[str], costs: NDArray[np.int32], budget: int
) -> list[int]:
    """Rows that speak for all, in the order they are chosen, their costs within the budget.

    More than `BLOCK` rows are chosen from block by block, and then from what the blocks chose (GreeDi;
    Mirzasoleiman et al. 2013).
    """

    def best(rows: Sequence[int]) -> list[int]:
        taken = np.array(rows, dtype=np.int64)
        parts = Together(
            FacilityLocation(vectors[taken], np.ones(len(rows), np.float32)),
            TermCoverage([texts[row] for row in rows]),
        )
        return [rows[i] for i in choose(parts, costs[taken], budget)]

    rows: Sequence[int] = range(len(texts))
    while len(rows) > BLOCK:
        blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
        fewer = sorted(row for block in blocks for row in best(block))
        if len(fewer) == len(rows):  # the budget has room for nearly all
            break
        rows = fewer
    return best(rows)


def choose(objective: Objective, costs: NDArray[np.int32], budget: int) -> list[int]:
    """Rows in the order they are chosen, by gain per token, their costs within the budget.

    Lazy greedy: a gain can only fall, so a row is looked at again when its old bound leads. The best
    single row is the answer where it alone is worth more (the usual guard for a knapsack).
    """
    heap = [(-np.inf, row) for row in range(len(costs)) if costs[row] <= budget]
    chosen: list[int] = []
    left, worth, best = budget, 0.0, (0.0, -1)
    while heap:
        _, row = heapq.heappop(heap)
        if costs[row] > left:
            continue
        gain = objective.gain(row)
        if not chosen:
            best = max(best, (gain, row))
        share = gain / max(1, int(costs[row]))
        if heap and -heap[0][0] > share:  # the bound was stale: put it back where it belongs
            heapq.heappush(heap, (-share, row))
            continue
        if gain <= 0.0:
            break
        chosen.append(row)
        worth += gain
        left -= int(costs[row])
        objective.take(row)
    return [best[1]] if best[0] > worth else chosen
