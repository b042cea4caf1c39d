"""BM25 over sentences (Robertson & Zaragoza 2009; bm25s), each indexed twice: bare, and in its place.

A sentence says little of what it is about; its document's first line and its neighbours say it. What is
found is the sentence itself, with its span.
"""

from collections.abc import Sequence

import bm25s
import numpy as np
from numpy.typing import NDArray


class LexicalIndex:
    """Immutable. `texts` are sentences in order, `document_of` [n] the number of each one's document."""

    def __init__(self, texts: Sequence[str], document_of: NDArray[np.int32]) -> None:
        self.places = [
            " ".join(texts[row] for row in dict.fromkeys(rows))
            for rows in places_of(document_of).tolist()
        ]
        self._size = len(texts)
        self._bare, self._placed = _bm25(texts), _bm25(self.places)

    def scores(self, question: str) -> NDArray[np.float32]:
        """BM25 of each sentence bare plus in its place, [n]; zeros where no word is known."""
        return self._ask(self._bare, question) + self._ask(self._placed, question)

    def placed_scores(self, question: str) -> NDArray[np.float32]:
        """BM25 of each sentence in its place alone."""
        return self._ask(self._placed, question)

    def _ask(self, index: "bm25s.BM25 | None", question: str) -> NDArray[np.float32]:
        known = [w for w in tokenise([question])[0] if index and w in index.vocab_dict]
        if not index or not known:
            return np.zeros(self._size, np.float32)
        scores: NDArray[np.float32] = index.get_scores(known).astype(np.float32)
        return scores


def places_of(document_of: NDArray[np.int32]) -> NDArray[np.int64]:
    """Where each sentence stands, [n, 4]: its document's first sentence, the one before, itself and the
    one behind; itself where there is none of these.
    """
    rows = np.arange(len(document_of), dtype=np.int64)
    first = np.searchsorted(document_of, document_of, side="left")
    last = np.searchsorted(document_of, document_of, side="right") - 1
    return np.stack([first, np.maximum(rows - 1, first), rows, np.minimum(rows + 1, last)], axis=1)


def tokenise(texts: Sequence[str]) -> list[list[str]]:
    """Words in lower case, English stop words left out."""
    words: list[list[str]] = bm25s.tokenize(
        list(texts), stopwords="en", return_ids=False, show_progress=False
    )
    return words


def _bm25(texts: Sequence[str]) -> "bm25s.BM25 | None":
    words = tokenise(texts)
    if not any(words):
        return None
    index = bm25s.BM25()
    index.index(words, show_progress=False)
    return index
