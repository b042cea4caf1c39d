"""From attention to scores: what sets a sentence apart from all others, question token by token.

A question token's attention to a sentence is the odds of the sentence's pooled keys against the prompt's
opening, whose first token takes the attention that nothing deserves. A token that finds something
everywhere ("the", "who") tells nothing, so each token's row is standardised over all sentences, as an
inverse document frequency would; what asks nothing then needs no null question to be taken off.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CAP = 12.0  # standard deviations: one token that stands out must not outvote all others
REACH = 3  # sentences to either side that a sentence is read among
AMONG = 10.0  # weight of the neighbourhood beside the sentence's own words


@dataclass(frozen=True, slots=True, eq=False)
class Contrast:
    """Scores of S sentences, and what one would score that held the best of every one of them."""

    scores: NDArray[np.float32]  # [S]
    most: float

    def __add__(self, other: "Contrast") -> "Contrast":
        """Of the rows of both: parts of a question add up to the whole."""
        return Contrast(self.scores + other.scores, self.most + other.most)

    @property
    def coverage(self) -> float:
        """Share, 0..1, of what the question finds anywhere that its best sentence accounts for: near
        1 one place says it all, near 0 what is asked lies apart or is not there. Where nothing sets any
        sentence apart it is 1: looking on would not help.
        """
        return max(0.0, float(self.scores.max())) / self.most if self.most > 0.0 else 1.0


def contrast(pooled: NDArray[np.float32], document_of: NDArray[np.int32]) -> Contrast:
    """Scores from `pooled` [R, S]: for each of R (head, question token) pairs the pooled logit of
    each sentence, less the opening's log-sum-exp. A sentence scores by itself and among the `REACH`
    sentences around it within its document: a question's words seldom all stand in one sentence.
    """
    if not pooled.size:
        return Contrast(np.zeros(pooled.shape[1], dtype=np.float32), 0.0)
    own = odds(pooled)
    own, among = standardised(own), standardised(neighbourhood(own, document_of))
    most = combined(own.max(axis=1, keepdims=True), among.max(axis=1, keepdims=True))
    return Contrast(combined(own, among), float(most[0]))


def combined(own: NDArray[np.float32], among: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores [S] of sentences by themselves and by their neighbourhoods, both standardised [R, S]."""
    total: NDArray[np.float32] = np.minimum(own, CAP).sum(axis=0) + AMONG * np.minimum(
        among, CAP
    ).sum(axis=0)
    return total


def odds(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """How keys stand against the prompt's opening, 0..1: the softmax of the two alone."""
    result: NDArray[np.float32] = np.reciprocal(
        1 + np.exp(-np.clip(logits, -30.0, 30.0)), dtype=np.float32
    )
    return result


def neighbourhood(
    values: NDArray[np.float32], document_of: NDArray[np.int32]
) -> NDArray[np.float32]:
    """The largest of `values` [R, S] (none negative) within `REACH` columns of one document."""
    widest = values.copy()
    for distance in range(1, min(REACH, len(document_of) - 1) + 1):
        same = document_of[distance:] == document_of[:-distance]
        behind, before = values[:, distance:] * same, values[:, :-distance] * same
        np.maximum(widest[:, :-distance], behind, out=widest[:, :-distance])
        np.maximum(widest[:, distance:], before, out=widest[:, distance:])
    return widest


def standardised(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Zero mean and unit deviation along the last axis; what does not vary is 0 everywhere, be it for
    the last digits that a product of matrices leaves open.
    """
    centred = values - values.mean(axis=-1, keepdims=True)
    largest = np.abs(values).max(axis=-1, keepdims=True, initial=0.0)
    deviation = centred.std(axis=-1, keepdims=True)
    result: NDArray[np.float32] = np.divide(
        centred, deviation, out=np.zeros_like(centred), where=deviation > 1e-6 * largest
    )
    return result
