"""BM25 over sentences (Robertson & Zaragoza 2009; bm25s), each indexed twice: bare, and in its place.

A sentence says little of what it is about; its document's first line and its neighbours say it. What is
found is the sentence itself, with its span. Both indexes share one vocabulary and are kept in one file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import bm25s
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from engine.plain_file import plain_path

_ARRAYS = ("data", "indices", "indptr")
_WAYS = ("bare", "placed")


class LexicalIndexError(Exception):
    """A file that holds no lexical index of this many sentences."""


@dataclass(frozen=True, eq=False)
class LexicalIndex:
    """Immutable. `ways` are the BM25 indexes by name, none where no sentence has a word."""

    size: int
    vocabulary: Mapping[str, int]
    ways: Mapping[str, bm25s.BM25]

    @classmethod
    def build(cls, texts: Sequence[str], document_of: NDArray[np.int32]) -> "LexicalIndex":
        """`texts` are sentences in order, `document_of` [n] the number of each one's document."""
        words = tokenise(texts)
        vocabulary = {word: i for i, word in enumerate(dict.fromkeys(chain.from_iterable(words)))}
        if not vocabulary:
            return cls(len(texts), {}, {})
        bare = [[vocabulary[word] for word in own] for own in words]
        placed = [
            list(chain.from_iterable(bare[row] for row in dict.fromkeys(rows)))
            for rows in places_of(document_of).tolist()
        ]
        ways = {}
        for name, ids in zip(_WAYS, (bare, placed), strict=True):
            ways[name] = bm25s.BM25()
            ways[name].index((ids, vocabulary), show_progress=False)
        return cls(len(texts), vocabulary, ways)

    def save(self, path: Path) -> None:
        """Writes one safetensors file."""
        words = json.dumps(list(self.vocabulary), ensure_ascii=False).encode()
        arrays = {"words": np.frombuffer(words, np.uint8)}
        for name, index in self.ways.items():
            arrays |= {f"{name}.{part}": np.asarray(index.scores[part]) for part in _ARRAYS}
        save_file(arrays, path, metadata={"sentences": str(self.size)})

    @classmethod
    def load(cls, path: Path, size: int, root: Path | None = None) -> "LexicalIndex":
        """Reads what `save` wrote for so many sentences.

        Raises:
            LexicalIndexError: the file is no such index.
            FileNotPlainError: it is a link, or lies behind one below `root`.
        """
        try:
            with plain_path(path, root) as plain:
                arrays = load_file(plain)
            words = json.loads(arrays["words"].tobytes())
            ways = {name: _restored(arrays, name, size) for name in _WAYS} if words else {}
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise LexicalIndexError(f"{path.name} is no lexical index: {error}") from error
        return cls(size, {word: i for i, word in enumerate(words)}, ways)

    def scores(self, question: str) -> NDArray[np.float32]:
        """BM25 of each sentence bare plus in its place, [n]; zeros where no word is known."""
        return self._ask("bare", question) + self.placed_scores(question)

    def placed_scores(self, question: str) -> NDArray[np.float32]:
        """BM25 of each sentence in its place alone."""
        return self._ask("placed", question)

    def _ask(self, way: str, question: str) -> NDArray[np.float32]:
        known = [self.vocabulary[w] for w in tokenise([question])[0] if w in self.vocabulary]
        if not known:
            return np.zeros(self.size, np.float32)
        scores: NDArray[np.float32] = self.ways[way].get_scores_from_ids(known).astype(np.float32)
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


def _restored(arrays: Mapping[str, NDArray[np.generic]], name: str, size: int) -> bm25s.BM25:
    index = bm25s.BM25()
    index.scores = {part: arrays[f"{name}.{part}"] for part in _ARRAYS} | {"num_docs": size}
    index.nonoccurrence_array = None  # only some of its variants of BM25 have one
    rows = index.scores["indices"]
    if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < size:
        raise ValueError(f"it is not of {size} sentences")
    return index
