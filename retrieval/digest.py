"""A corpus in a few of its sentences: what an overview is answered from, made when it is indexed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.extract import extract

BUDGET = 256  # tokens that a digest is made for at registration
ALIKE = 0.5  # cosine from which a sentence says about what a chosen one says
_BLOCK = 4096  # rows compared with others at once


@dataclass(frozen=True, slots=True)
class Digest:
    """Sentences that speak for all within `budget` tokens, in the order they were chosen, and for how
    many sentences each speaks, itself among them: those it is the nearest of the chosen to, at a cosine
    of `ALIKE` and more.
    """

    budget: int
    sentences: tuple[int, ...]
    speaks_for: tuple[int, ...]

    def tokens(self, cost: Callable[[int], int]) -> int:
        """Of its lines with their labels; `cost` gives a sentence's."""
        pairs = zip(self.sentences, self.speaks_for, strict=True)
        return sum(cost(row) + size_tokens(count) for row, count in pairs)


@dataclass(frozen=True, slots=True)
class Summary:
    """What the model says of a cluster of so many sentences, of which `sentence` is the most central;
    `key` is a hash of the model and of what it was asked.
    """

    sentence: int
    speaks_for: int
    text: str
    key: str


def size_label(count: int) -> str:
    """What stands before a line of an overview: for how many sentences it speaks, if for others too."""
    return f"({count} alike) " if count > 1 else ""


def size_tokens(count: int) -> int:
    """Tokens of the label, where every digit is one."""
    return len(str(count)) + 4 if count > 1 else 0


def make_digest(
    vectors: NDArray[np.float32],
    texts: list[str],
    cost: Callable[[int], int],
    budget: int,
) -> Digest:
    """`vectors` [n, dimension] are unit rows of `texts`; `cost` gives a sentence's tokens, without those
    of its label.
    """
    costs = [cost(row) + size_tokens(most) for row, most in enumerate(_most_alike(vectors))]
    chosen = extract(vectors, texts, np.array(costs, dtype=np.int32), budget)
    counts = np.zeros(len(chosen), dtype=np.int64)
    for start in range(0, len(vectors) if chosen else 0, _BLOCK):
        cosines = vectors[start : start + _BLOCK] @ vectors[chosen].T
        nearest = cosines.argmax(axis=1)[cosines.max(axis=1) >= ALIKE]
        counts += np.bincount(nearest, minlength=len(chosen))
    # Of two chosen that are equal, the first is the nearest to both.
    return Digest(budget, tuple(chosen), tuple(max(1, int(count)) for count in counts))


def _most_alike(vectors: NDArray[np.float32]) -> list[int]:
    """For how many sentences each can speak at most; of a large corpus, where each would have to be
    compared with all, for all of them.
    """
    if len(vectors) > _BLOCK:
        return [len(vectors)] * len(vectors)
    found: list[int] = ((vectors @ vectors.T) >= ALIKE).sum(axis=1).tolist()
    return found
