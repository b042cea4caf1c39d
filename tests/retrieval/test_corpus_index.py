"""Every sentence is found where it stands; a search finds the sentence that was meant."""

import numpy as np
import pytest
import torch

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
