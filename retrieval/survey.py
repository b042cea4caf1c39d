"""What a cheap search tells about a question and a corpus, before anything is read: where the answer
seems to lie, how surely, and in how many places.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.corpus_index import CorpusIndex
from retrieval.lexical import tokenise
from retrieval.ranking import rank

TOP, WIDE = 10, 50  # sentences looked at for agreement and margin, and for spread


@dataclass(frozen=True, slots=True)
class Background:
    """Cosines that unrelated questions have with their nearest sentence of a corpus."""

    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, index: CorpusIndex, vectors: NDArray[np.float32]) -> "Background":
        """`vectors` are unrelated questions, [questions, dimension]."""
        if not len(index) or not len(vectors):
            return cls()
        nearest = [float(index.search(vector, 1)[1][0]) for vector in vectors]
        return cls(float(np.mean(nearest)), max(1e-3, float(np.std(nearest))))


@dataclass(frozen=True, slots=True)
class Survey:
    """Signals of one question. `sentence` is the nearest, -1 where there is none."""

    sentence: int = -1
    nearest: float = -1.0  # its cosine
    standing: float = 0.0  # how far above unrelated questions' that is, in their deviations
    margin: float = 0.0  # cosine of the nearest less that of the tenth
    agreement: float = 0.0  # share of the ten nearest windows that the words find as well, 0..1
    spread: float = 0.0  # over how many windows the fifty nearest lie, 0 one, 1 each its own
    known: float = 0.0  # share of the question's words that the ten nearest and their places hold


def survey(
    index: CorpusIndex, question: str, vector: NDArray[np.float32], background: Background
) -> Survey:
    """`vector` is the question's, unit length."""
    if not len(index):
        return Survey()
    numbers, cosines = index.search(vector, WIDE)
    nearest = float(cosines[0])
    lexical = index.lexical.scores(question)
    by_words = [i for i in rank(lexical, TOP) if lexical[i] > 0]
    dense_windows = set(_windows(index, numbers[:TOP]))
    shared = dense_windows & set(_windows(index, by_words))
    return Survey(
        int(numbers[0]),
        nearest,
        (nearest - background.mean) / background.deviation,
        nearest - float(cosines[min(TOP, len(cosines)) - 1]),
        len(shared) / len(dense_windows),
        _evenness(_windows(index, numbers)),
        _known(index, question, {*by_words, *(int(i) for i in numbers[:TOP])}),
    )


def _windows(index: CorpusIndex, sentences: Sequence[int] | NDArray[np.int64]) -> list[int]:
    return [index.window_of(int(sentence)) for sentence in sentences]


def _evenness(places: Sequence[int]) -> float:
    """Entropy of where things lie, as a share of the most there could be."""
    _, counts = np.unique(places, return_counts=True)
    shares = counts / counts.sum()
    most = np.log(len(places))
    return float(-(shares * np.log(shares)).sum() / most) if most > 0 else 0.0


def _known(index: CorpusIndex, question: str, sentences: set[int]) -> float:
    words = set(tokenise([question])[0])
    told = {word for own in tokenise([index.text(i) for i in sentences]) for word in own}
    return len(words & told) / len(words) if words else 1.0
