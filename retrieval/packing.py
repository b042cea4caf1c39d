"""Scored sentences to a prompt's worth: the best under a token budget, in document order."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence by its number in the corpus, with its score and its cost in prompt tokens."""

    sentence: int
    score: float
    tokens: int


def pack(candidates: Iterable[Candidate], budget: int, share: float = 0.0) -> list[Candidate]:
    """The best candidates whose tokens fit `budget`, in document order.

    Candidates that score below `share` of a positive best are left out: a small model wants few and
    clean sentences. A candidate that does not fit is passed over for smaller ones behind it; one that
    never could is no measure for the others.
    """
    ordered = sorted(
        (c for c in candidates if c.tokens <= budget), key=lambda c: (-c.score, c.sentence)
    )
    kept: list[Candidate] = []
    left = budget
    best = ordered[0].score if ordered else 0.0
    least = share * best if share > 0.0 and best > 0.0 else float("-inf")
    for candidate in ordered:
        if candidate.score < least:
            break
        if candidate.tokens <= left:
            kept.append(candidate)
            left -= candidate.tokens
    return in_document_order(kept)


def in_document_order(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Sorted by place, each sentence once."""
    unique = {candidate.sentence: candidate for candidate in candidates}
    return [unique[sentence] for sentence in sorted(unique)]
