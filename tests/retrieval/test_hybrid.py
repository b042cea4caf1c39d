"""Words and vectors together, and what the first find leads to."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.contrast import standardised
from retrieval.corpus_index import CorpusIndex, Document, Placement
from retrieval.hybrid import HybridSettings, novel_names, search
from retrieval.lexical import LexicalIndex, places_of
from retrieval.sentences import split_sentences

DOCUMENTS = (
    "The Marigold\nShe was built in Falmouth for the herring fleet. Her master was Elias Thorne.",
    "Elias Thorne\nHe was born in Penzance and never learned to swim. His dog was called Bosun.",
    "Falmouth\nThe harbour has two piers. Trains leave for Truro every hour.",
    "Truro\nThe cathedral has three spires. A market is held on Wednesdays.",
    "Cooking\nOnions are fried slowly in butter. Salt is added at the end.",
)
BRIDGE = "Where was the master of the Marigold born?"
ANSWER = "born in Penzance"


def bag(text: str, size: int = 256) -> NDArray[np.float32]:
    """A unit vector of a text's letters in threes: near where words are shared."""
    vector = np.zeros(size, np.float32)
    for i in range(len(text) - 2):
        vector[hash_of(text[i : i + 3].lower()) % size] += 1
    return vector / max(1e-6, float(np.linalg.norm(vector)))


def hash_of(text: str) -> int:
    return sum(ord(letter) * 31**place for place, letter in enumerate(text))


@pytest.fixture(scope="module")
def index() -> CorpusIndex:
    placements = []
    for number, text in enumerate(DOCUMENTS):
        spans = split_sentences(text)
        record: Any = SimpleNamespace(
            spans=np.array([(span.start, span.end) for span in spans], np.int64),
            token_counts=np.ones(len(spans), np.int32),
            vectors=np.stack([bag(span.of(text)) for span in spans]),
            keys=None,
        )
        placements.append(Placement(number, 0, record))
    return CorpusIndex([Document(str(i), text) for i, text in enumerate(DOCUMENTS)], placements)


def rank(index: CorpusIndex, told: str, question: str, settings: HybridSettings) -> int:
    """How many sentences score above the one that tells it."""
    scores = search(index, question, bag(question), settings)
    wanted = next(i for i in range(len(index)) if told in index.text(i))
    return int((scores > scores[wanted]).sum())


def test_a_second_hop_finds_what_only_the_first_one_names(index: CorpusIndex) -> None:
    once, twice = HybridSettings(second=0.0), HybridSettings()
    bridge = "Which animal did the master of the Marigold keep?"
    assert rank(index, "Bosun", bridge, twice) < rank(index, "Bosun", bridge, once)
    assert rank(index, "Her master", bridge, twice) <= 2


def test_one_search_is_the_legs_by_their_weights(index: CorpusIndex) -> None:
    settings = HybridSettings(second=0.0, place=0.0, lexical=0.25)
    vector = bag(BRIDGE)
    plain = standardised(index.vectors @ vector)
    plain += 0.25 * standardised(index.lexical.scores(BRIDGE))
    np.testing.assert_allclose(search(index, BRIDGE, vector, settings), plain, rtol=1e-5)


def test_a_sentence_is_found_by_the_words_of_its_place(index: CorpusIndex) -> None:
    lexical = index.lexical
    asked = "the market of Truro"
    market = next(i for i in range(len(index)) if "market" in index.text(i))
    spires = next(i for i in range(len(index)) if "spires" in index.text(i))
    assert "Truro" not in index.text(market)
    found = lexical.placed_scores(asked)
    assert found[market] == found.max() > 0
    assert lexical.placed_scores("Truro")[[market, spires]].min() > 0


def test_places_are_the_first_sentence_and_the_neighbours_of_one_document() -> None:
    documents = np.array([0, 0, 0, 1, 2, 2], np.int32)
    expected = [[0, 0, 0, 1], [0, 0, 1, 2], [0, 1, 2, 2], [3, 3, 3, 3], [4, 4, 4, 5], [4, 4, 5, 5]]
    assert places_of(documents).tolist() == expected


def test_novel_names_are_those_that_the_question_lacks() -> None:
    text = "Her master was Elias Thorne of the Marigold; He sailed in June. he was late"
    assert novel_names(text, "Who was master of the Marigold?")[:2] == ["her", "elias"]
    assert "marigold" not in novel_names(text, "Who was master of the Marigold?")
    assert novel_names("nothing here", "Who?") == []


@pytest.mark.parametrize("question", ["", "?!", "zzz qqq", "the of and"])
def test_words_that_nothing_holds_score_nothing(index: CorpusIndex, question: str) -> None:
    assert not index.lexical.scores(question).any()
    assert np.isfinite(search(index, question, bag("x y z"), HybridSettings())).all()


def test_texts_of_nothing_but_stop_words_can_be_searched() -> None:
    lexical = LexicalIndex(["the of and", "a"], np.zeros(2, np.int32))
    assert lexical.scores("the cathedral").tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("field", "value"), [("lexical", -0.1), ("second", -1.0), ("places", 0), ("place", -1.0)]
)
def test_settings_that_cannot_be_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match="weights"):
        HybridSettings(**{field: value})
