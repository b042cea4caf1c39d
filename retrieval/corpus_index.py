"""A corpus ready to be searched: documents, sentences, FAISS vectors and stored attention keys."""

import bisect
import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.embedding import Embedder
from retrieval.dense_index import DenseIndex
from retrieval.digest import Digest, Summary, make_digest
from retrieval.lexical import LexicalIndex, places_of
from retrieval.lines import Line
from retrieval.sentences import Span
from retrieval.window_index import WindowRecord

_MOST_DIGESTS = 16  # budgets whose digest is kept
_MOST_QUESTIONS = 16  # a router, a reader and a retriever want the vector of the same one


@dataclass(frozen=True, slots=True)
class Document:
    """One text of a corpus."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Placement:
    """A window record at its place: which document (by number) and at which character it starts."""

    document: int
    start: int
    record: WindowRecord


@dataclass(frozen=True, slots=True)
class Evidence:
    """A span of a document with its score; scores compare within one answer only."""

    document: str
    start: int
    end: int
    score: float
    text: str


class CorpusIndex:
    """Immutable once built, but for what it remembers. Sentences are numbered through the corpus in
    document order.
    """

    def __init__(
        self,
        documents: Sequence[Document],
        placements: Iterable[Placement],
        digests: Iterable[Digest] = (),
        lexical: LexicalIndex | None = None,
        dense: DenseIndex | None = None,
        summaries: Iterable[Summary] = (),
    ) -> None:
        self.documents = tuple(documents)
        placed = list(placements)
        self.spans: NDArray[np.int64] = _join(
            [p.record.spans + np.int64(p.start) for p in placed], 2
        )
        self.document_of: NDArray[np.int32] = np.repeat(
            np.array([p.document for p in placed], dtype=np.int32),
            [len(p.record.spans) for p in placed],
        )
        self.token_counts: NDArray[np.int32] = _join([p.record.token_counts for p in placed], 0)
        self.sentences_of_windows = _ranges([len(p.record.spans) for p in placed])
        self.keys = [p.record.keys for p in placed]  # one a window, mapped from its file
        self.vectors: NDArray[np.float32] = _join([p.record.vectors for p in placed], 1)
        self._lexical, self._dense = lexical, dense
        self._questions: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self.summaries = tuple(summaries)  # the largest cluster's first; often none
        self._digests = {digest.budget: digest for digest in digests}

    def __len__(self) -> int:
        return len(self.spans)

    @property
    def num_tokens(self) -> int:
        return int(self.token_counts.sum())

    @cached_property
    def lexical(self) -> LexicalIndex:
        """The words of the sentences; made when they are first searched, unless they came with the
        index.
        """
        if self._lexical is not None:
            return self._lexical
        return LexicalIndex.build([self.text(i) for i in range(len(self))], self.document_of)

    @cached_property
    def dense(self) -> DenseIndex:
        """The vectors of the sentences, searched exactly unless an inverted file came with them."""
        return DenseIndex.exact(self.vectors) if self._dense is None else self._dense

    @cached_property
    def places(self) -> NDArray[np.int32]:
        """Where each sentence stands, [n, 4]: see `places_of`."""
        return places_of(self.document_of).astype(np.int32)

    def place(self, sentence: int) -> str:
        """A sentence with its neighbours, behind its document's first."""
        return " ".join(self.text(row) for row in dict.fromkeys(self.places[sentence].tolist()))

    def vector_of(self, question: str, embedder: Embedder) -> NDArray[np.float32]:
        """A question's unit vector [dimension], read-only, by the embedder of this index. The last few
        are remembered here, so that whoever may not ask this index meets no trace of its questions.
        """
        if question not in self._questions:
            vector = embedder.embed_question(question)
            vector.flags.writeable = False
            self._questions[question] = vector
            if len(self._questions) > _MOST_QUESTIONS:
                self._questions.popitem(last=False)
        return self._questions[question]

    def window_of(self, sentence: int) -> int:
        """The number of the window that a sentence stands in."""
        spans = self.sentences_of_windows
        return bisect.bisect_right(spans, sentence, key=lambda span: span.start) - 1

    def text(self, sentence: int) -> str:
        return self.span(sentence).of(self.documents[self.document_of[sentence]].text)

    def line(self, sentence: int) -> Line:
        """A sentence as it is read."""
        place = int(self.spans[sentence, 0])
        return Line(sentence, self.text(sentence), place, int(self.document_of[sentence]))

    def lines(self) -> Iterator[Line]:
        """Every sentence in order."""
        return (self.line(sentence) for sentence in range(len(self)))

    def evidence(self, sentence: int, score: float) -> Evidence:
        start, end = (int(edge) for edge in self.spans[sentence])
        document = self.documents[self.document_of[sentence]]
        return Evidence(document.id, start, end, score, document.text[start:end])

    def span(self, sentence: int) -> Span:
        return Span(int(self.spans[sentence, 0]), int(self.spans[sentence, 1]))

    def digest(self, budget: int, cost: Callable[[int], int]) -> Digest:
        """The corpus in so many tokens. Made when it is first asked for, unless it came with the index,
        and kept under the budget alone.
        """
        if budget not in self._digests:
            texts = [self.text(sentence) for sentence in range(len(self))]
            if len(self._digests) >= _MOST_DIGESTS:
                self._digests.clear()
            self._digests[budget] = make_digest(self.vectors, texts, cost, budget)
        return self._digests[budget]

    def search(
        self, vector: NDArray[np.float32], most: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Sentence numbers and cosines of the `most` nearest sentences, best first."""
        return self.dense.search(vector, most)


def _ranges(counts: Sequence[int]) -> list[range]:
    edges = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    return [range(int(start), int(stop)) for start, stop in itertools.pairwise(edges)]


def _join(parts: list[NDArray[np.generic]], columns: int) -> NDArray:  # type: ignore[type-arg]
    if parts:
        return np.concatenate(parts)
    return np.empty((0, columns) if columns else (0,), dtype=np.float32)
