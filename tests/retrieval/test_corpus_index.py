"""Every sentence is found where it stands; a search finds the sentence that was meant."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from stub_embedder import StubEmbedder

from retrieval.corpus_index import CorpusIndex, Document, Placement
from retrieval.quantised_keys import QuantisedKeys
from retrieval.sentences import split_sentences
from retrieval.window_index import WindowRecord

DOCUMENTS = (
    Document("lamp", "The lamp is green. It flashes!\n\n- three times\n- at night"),
    Document("empty", ""),
    Document(
        "ferry", "  A ferry left at 6:40. 🙂 Nobody saw it — not even Silas.\nThe end. And after."
    ),
)


def placements() -> list[Placement]:
    """Two sentences a window; the vectors are the axes in the order of the sentences."""
    made: list[Placement] = []
    count = 0
    for number, document in enumerate(DOCUMENTS):
        spans = split_sentences(document.text)
        for first in range(0, len(spans), 2):
            part = spans[first : first + 2]
            start = part[0].start
            made.append(
                Placement(
                    number,
                    start,
                    WindowRecord(
                        np.array([(s.start - start, s.end - start) for s in part], np.int32),
                        np.array([5 + i for i in range(len(part))], np.int32),
                        np.eye(16, dtype=np.float32)[count : count + len(part)],
                        QuantisedKeys(
                            torch.ones(1, 11, 4, dtype=torch.int8),
                            torch.full((1, 11), float(count)),
                        ),
                    ),
                )
            )
            count += len(part)
    return made


@pytest.fixture
def index() -> CorpusIndex:
    return CorpusIndex(DOCUMENTS, placements())


def test_evidence_is_the_documents_own_text_in_order(index: CorpusIndex) -> None:
    texts = {document.id: document.text for document in DOCUMENTS}
    expected = [
        (document.id, span.of(document.text))
        for document in DOCUMENTS
        for span in split_sentences(document.text)
    ]
    found = [index.evidence(i, float(i)) for i in range(len(index))]

    assert [(piece.document, piece.text) for piece in found] == expected
    for i, piece in enumerate(found):
        assert piece.score == i
        assert texts[piece.document][piece.start : piece.end] == piece.text == index.text(i)


def test_windows_know_their_sentences_and_keys(index: CorpusIndex) -> None:
    numbers = [i for sentences in index.sentences_of_windows for i in sentences]
    assert numbers == list(range(len(index)))
    for sentences, keys in zip(index.sentences_of_windows, index.keys, strict=True):
        assert (keys.scales == sentences.start).all()
    assert index.num_tokens == sum(int(p.record.token_counts.sum()) for p in placements())


def test_a_sentences_own_vector_finds_it_with_cosine_one(index: CorpusIndex) -> None:
    for i in range(len(index)):
        numbers, cosines = index.search(np.eye(16, dtype=np.float32)[i], 3)
        assert (int(numbers[0]), float(cosines[0])) == (i, 1.0)
        assert list(cosines) == sorted(cosines, reverse=True)


def test_a_search_for_more_than_there_is_gives_all_of_it(index: CorpusIndex) -> None:
    numbers, cosines = index.search(np.ones(16, dtype=np.float32) / 4, 1000)
    assert sorted(numbers.tolist()) == list(range(len(index)))
    assert len(cosines) == len(index)


def test_an_empty_corpus_holds_and_finds_nothing() -> None:
    for documents in ((), (Document("empty", ""),)):
        index = CorpusIndex(documents, [])
        numbers, cosines = index.search(np.eye(16, dtype=np.float32)[0], 5)
        assert (len(index), index.num_tokens, len(numbers), len(cosines)) == (0, 0, 0, 0)


class CountingEmbedder(StubEmbedder):
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed_question(self, question: str) -> NDArray[np.float32]:
        self.asked.append(question)
        return super().embed_question(question)


def test_an_index_remembers_its_last_questions_and_no_other_index_does(index: CorpusIndex) -> None:
    embedder = CountingEmbedder()
    first = index.vector_of("Who saw the ferry?", embedder)  # type: ignore[arg-type]
    assert index.vector_of("Who saw the ferry?", embedder) is first  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0.0
    other = CorpusIndex(DOCUMENTS, placements())
    assert other.vector_of("Who saw the ferry?", embedder) is not first  # type: ignore[arg-type]
    assert embedder.asked == ["Who saw the ferry?"] * 2
    for number in range(16):
        index.vector_of(f"Question {number}?", embedder)  # type: ignore[arg-type]
    index.vector_of("Who saw the ferry?", embedder)  # type: ignore[arg-type]
    assert embedder.asked.count("Who saw the ferry?") == 3, "only the last few are kept"
