"""Dense and lexical search fused, and a second hop over the names that the first one turned up.

Cosines and BM25 are each standardised over the corpus and added: on questions with gold passages that
keeps more than reciprocal ranks do (benchmarks/crag). A question of several hops names only where to
begin. What it needs next is named in what is found first, so the best places are searched for the names
in them that the question lacks (the idea of iterated retrieval, Xiong et al. 2021, with no model in it).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.contrast import standardised
from retrieval.corpus_index import CorpusIndex
from retrieval.ranking import rank

Scores = NDArray[np.float32]
_NAME = re.compile(r"[A-Z][\w'’.-]+(?:\s+(?:of|the|de|and|&)?\s*[A-Z][\w'’.-]+)*")
_LOOKED_AT = 64  # best sentences among which the second hop begins
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class HybridSettings:
    """Weights are against the dense leg's 1; `place` is what the mean cosine of a sentence's place
    counts beside its own. A hop from a place that scores d deviations below the best counts `gate`
    times d less; `second` 0 searches once.
    """

    place: float = 0.5
    lexical: float = 0.25
    second: float = 0.5
    places: int = 2  # that the second hop begins from
    names: float = 0.75
    gate: float = 1.0

    def __post_init__(self) -> None:
        weights = self.place, self.lexical, self.second, self.names, self.gate
        if min(weights) < 0 or self.places < 1:
            raise ValueError("weights must not be below 0, and places at least 1")


def search(index: CorpusIndex, question: str, vector: Scores, settings: HybridSettings) -> Scores:
    """A score for every sentence [n], 0 for an average one; `vector` is the question's, unit length."""
    cosines = index.vectors @ vector
    placed = cosines + settings.place * cosines[index.places].mean(axis=1)
    lexical = index.lexical.scores(question)
    first: Scores = standardised(placed) + settings.lexical * standardised(lexical)
    if not settings.second or not len(index):
        return first
    return first + settings.second * standardised(second_hop(index, question, first, settings))


def second_hop(
    index: CorpusIndex, question: str, first: Scores, settings: HybridSettings
) -> Scores:
    """What sentences are worth behind the best places: their own score, and that of the names there.
    What stands in such a place itself is worth what it was.
    """
    found = np.full(len(first), -np.inf, np.float32)
    best = float(first.max())
    for sentence in _beginnings(index, first, settings.places):
        names = " ".join(novel_names(index.place(sentence), question))
        hop = first + settings.names * standardised(index.lexical.placed_scores(names))
        hop -= settings.gate * (best - float(first[sentence]))
        own = index.sentences_of_windows[index.window_of(sentence)]
        hop[own.start : own.stop] = first[own.start : own.stop]
        found = np.maximum(found, hop)
    return found


def novel_names(text: str, question: str) -> list[str]:
    """Words of names in a text that the question lacks, in lower case, each once."""
    asked = set(_WORD.findall(question.lower()))
    words = (w for name in _NAME.findall(text) for w in _WORD.findall(name.lower()))
    return list(dict.fromkeys(word for word in words if word not in asked))


def _beginnings(index: CorpusIndex, scores: Scores, most: int) -> Iterator[int]:
    """The best sentences of different windows, best first."""
    seen: set[int] = set()
    for sentence in rank(scores, _LOOKED_AT):
        window = index.window_of(sentence)
        if window not in seen:
            seen.add(window)
            yield sentence
        if len(seen) == most:
            return
