"""Words and vectors together, and what the first find leads to."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.embedding import Embedder
from retrieval.contrast import standardised
from retrieval.corpus_index import CorpusIndex, Document, Placement
from retrieval.hybrid import HybridSettings, novel_names, search
from retrieval.lexical import LexicalIndex, LexicalIndexError, places_of
from retrieval.ranking import rank as best_of
from retrieval.sentences import split_sentences

DOCUMENTS = (
    "The Marigold\nShe was built in Falmouth for the herring fleet. Her master was Elias Thorne.",
    "Elias Thorne\nHe was born in Penzance and never learned to swim. His dog was called Bosun.",
    "Falmouth\nThe harbour has two piers. Trains leave for Truro every hour.",
    "Truro\nThe cathedral has three spires. A market is held on Wednesdays.",
    "Cooking\nOnions are fried slowly in butter. Salt is added at the end.",
)
BRIDGE = "How many piers are there where the Marigold was built?"
ANSWER = "two piers"


@pytest.fixture(scope="module")
def index(embedder: Embedder, handbook: str) -> CorpusIndex:
    placements = []
    texts = (*DOCUMENTS, handbook)
    for number, text in enumerate(texts):
        spans = split_sentences(text)
        record: Any = SimpleNamespace(
            spans=np.array([(span.start, span.end) for span in spans], np.int64),
            token_counts=np.ones(len(spans), np.int32),
            vectors=embedder.embed([span.of(text) for span in spans]),
            keys=None,
        )
        placements.append(Placement(number, 0, record))
    return CorpusIndex([Document(str(i), text) for i, text in enumerate(texts)], placements)


def rank(
    embedder: Embedder, index: CorpusIndex, told: str, question: str, settings: HybridSettings
) -> int:
    """How many sentences score above the one that tells it."""
    scores = search(index, question, embedder.embed_question(question), settings)
    wanted = next(i for i in range(len(index)) if told in index.text(i))
    return int((scores > scores[wanted]).sum())


def test_a_second_hop_finds_what_only_the_first_one_names(
    embedder: Embedder, index: CorpusIndex
) -> None:
    once, twice = HybridSettings(second=0.0), HybridSettings()
    assert rank(embedder, index, ANSWER, BRIDGE, twice) < rank(
        embedder, index, ANSWER, BRIDGE, once
    )
    assert rank(embedder, index, "Falmouth for the herring", BRIDGE, twice) <= 2


def test_one_search_is_the_legs_by_their_weights(embedder: Embedder, index: CorpusIndex) -> None:
    settings = HybridSettings(second=0.0, place=0.0, lexical=0.25)
    vector = embedder.embed_question(BRIDGE)
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
def test_words_that_nothing_holds_score_nothing(
    embedder: Embedder, index: CorpusIndex, question: str
) -> None:
    assert not index.lexical.scores(question).any()
    assert np.isfinite(
        search(index, question, embedder.embed_question("x y z"), HybridSettings())
    ).all()


def test_texts_of_nothing_but_stop_words_can_be_searched() -> None:
    lexical = LexicalIndex.build(["the of and", "a"], np.zeros(2, np.int32))
    assert lexical.scores("the cathedral").tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("field", "value"), [("lexical", -0.1), ("second", -1.0), ("places", 0), ("place", -1.0)]
)
def test_settings_that_cannot_be_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match="weights"):
        HybridSettings(**{field: value})


def test_words_that_were_saved_are_found_as_before(index: CorpusIndex, tmp_path: Path) -> None:
    path = tmp_path / "words.safetensors"
    index.lexical.save(path)
    loaded = LexicalIndex.load(path, len(index))
    for question in (BRIDGE, "Truro spires", "nothing known"):
        assert np.array_equal(loaded.scores(question), index.lexical.scores(question))
    LexicalIndex.build(["the"], np.zeros(1, np.int32)).save(path)
    assert not LexicalIndex.load(path, 1).scores("the").any()


def test_a_file_of_other_sentences_or_of_none_is_refused(
    index: CorpusIndex, tmp_path: Path
) -> None:
    path = tmp_path / "words.safetensors"
    index.lexical.save(path)
    with pytest.raises(LexicalIndexError, match="sentences"):
        LexicalIndex.load(path, 3)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(LexicalIndexError):
        LexicalIndex.load(path, len(index))
    with pytest.raises(LexicalIndexError):
        LexicalIndex.load(tmp_path / "absent", len(index))


@pytest.mark.parametrize("most", [0, 1, 3, 7, 50])
def test_the_best_are_those_of_a_whole_sort(most: int) -> None:
    chance = np.random.default_rng(0)
    for _ in range(50):
        scores = chance.integers(0, 6, 20).astype(np.float32)
        whole = np.argsort(-scores, kind="stable")[:most].tolist()
        assert best_of(scores, most) == whole
