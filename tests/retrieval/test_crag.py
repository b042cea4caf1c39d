"""Clustered retrieval finds the sentence that answers, and pays for no more than it was given."""

from typing import Any

import numpy as np
import pytest
import torch

from engine.model import LanguageModel
from engine.prompts import Prompter
from retrieval.corpus_index import CorpusIndex, Document, Placement
from retrieval.crag import CragSettings, overview, retrieve
from retrieval.digest import ALIKE, size_label, size_tokens
from retrieval.heads import retrieval_heads
from retrieval.hybrid import HybridSettings, search
from retrieval.packing import Candidate
from retrieval.quantised_keys import QuantisedKeys
from retrieval.window_index import WindowReader, WindowRecord
from retrieval.windows import WindowSize, cut_windows


@pytest.fixture(scope="module")
def index(model: LanguageModel, embedder: Any, handbook: str) -> CorpusIndex:
    reader = WindowReader(model, embedder, retrieval_heads(model))
    windows = cut_windows(handbook, reader.count_tokens, WindowSize(200, 600))
    placed = [Placement(0, w.start, reader.read(handbook, w)) for w in windows]
    return CorpusIndex([Document("handbook", handbook)], placed)


def ask(
    embedder: Any, index: CorpusIndex, question: str, settings: CragSettings
) -> list[Candidate]:
    found = retrieve(embedder, index, question, settings, lambda i: int(index.token_counts[i]) + 3)
    ranked = [candidate.score for candidate in found.ranking]
    assert ranked == sorted(ranked, reverse=True)
    assert {c.sentence for c in found.evidence} <= {c.sentence for c in found.ranking}
    return list(found.evidence)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How many steps does the lighthouse tower have?", "188 steps"),
        ("Who cooks in the canteen?", "Bartholomew Pine"),
        ("What does a bicycle cost on the ferry?", "2.50 crowns"),
    ],
)
def test_the_sentence_that_answers_is_in_the_evidence(
    embedder: Any, index: CorpusIndex, question: str, answer: str
) -> None:
    found = ask(embedder, index, question, CragSettings(evidence=256))
    assert any(answer in index.text(candidate.sentence) for candidate in found)


@pytest.mark.parametrize("budget", [1, 30, 90, 256, 2000])
@pytest.mark.parametrize("clusters", [1, 4])
def test_the_budget_is_kept_in_document_order(
    embedder: Any, index: CorpusIndex, budget: int, clusters: int
) -> None:
    settings = CragSettings(evidence=budget, clusters=clusters)
    found = ask(embedder, index, "When do the ferries sail?", settings)
    numbers = [candidate.sentence for candidate in found]

    assert sum(candidate.tokens for candidate in found) <= budget
    assert numbers == sorted(set(numbers))
    assert (len(found) > 0) == (budget >= 30)
    assert found == ask(embedder, index, "When do the ferries sail?", settings)


def test_a_budget_for_everything_gives_all_that_was_found(
    embedder: Any, index: CorpusIndex
) -> None:
    question = "When do the ferries sail?"
    found = ask(embedder, index, question, CragSettings(found=20, share=0.0, evidence=100_000))
    vector = embedder.embed_question(question)
    scores = search(index, question, vector, HybridSettings())

    assert {c.sentence for c in found} == set(np.argsort(-scores, kind="stable")[:20].tolist())
    assert all(c.score == pytest.approx(scores[c.sentence]) for c in found)


class Fixed:
    """An embedder whose every question is the first axis."""

    def embed_question(self, question: str) -> np.ndarray:
        return np.eye(8, dtype=np.float32)[0]


def test_an_empty_corpus_has_no_evidence() -> None:
    found = retrieve(Fixed(), CorpusIndex([], []), "Who?", CragSettings(), len)  # type: ignore[arg-type]
    assert found.evidence == ()


def test_the_best_is_evidence_though_it_scores_below_nothing_and_equal_texts_are_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = WindowRecord(
        np.array([(0, 8), (9, 17), (18, 26)], np.int32),
        np.array([4, 4, 4], np.int32),
        np.ones((3, 8), np.float32) / np.float32(np.sqrt(8)),
        QuantisedKeys(torch.ones(1, 3, 4, dtype=torch.int8), torch.ones(1, 3)),
    )
    index = CorpusIndex([Document("a", "Same as. Same as. Same as.")], [Placement(0, 0, record)])
    below = np.full(3, -0.25, np.float32)
    monkeypatch.setattr("retrieval.crag.search", lambda *_: below)
    found = retrieve(Fixed(), index, "Same?", CragSettings(), lambda _: 6)  # type: ignore[arg-type]
    assert [one.sentence for one in found.evidence] == [0]
    assert len(found.ranking) == 3


@pytest.mark.parametrize("field", ["found", "clusters", "evidence"])
def test_settings_that_ask_for_nothing_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        CragSettings(**{field: 0})


@pytest.mark.parametrize("budget", [1, 40, 120, 256, 100_000])
def test_an_overview_tells_many_things_within_its_budget(
    embedder: Any, index: CorpusIndex, budget: int
) -> None:
    settings = CragSettings(evidence=budget)

    def cost(sentence: int) -> int:
        return int(index.token_counts[sentence]) + 3

    found = overview(embedder, index, "Summarise the text.", settings, cost)
    numbers = [one.sentence for one in found.evidence]
    assert numbers == sorted(set(numbers))
    assert sum(one.tokens for one in found.evidence) <= budget
    assert set(found.lines) == set(numbers)
    assert [one.score for one in found.ranking] == sorted(
        (one.score for one in found.evidence), reverse=True
    )
    if budget == 256:
        told = index.vectors[numbers]
        by_extract = (index.vectors @ told.T).max(axis=1).mean()
        nearest, _ = index.search(embedder.embed_question("Summarise the text."), len(numbers))
        by_search = (index.vectors @ index.vectors[nearest].T).max(axis=1).mean()
        assert by_extract > by_search + 0.05


def test_an_overview_says_for_how_many_sentences_each_speaks(
    embedder: Any, index: CorpusIndex
) -> None:
    settings = CragSettings(evidence=400)
    found = overview(
        embedder, index, "Summarise it.", settings, lambda i: int(index.token_counts[i])
    )
    counts = []
    for line in found.told():
        size, _, text = line.text.rpartition(" alike) ")
        counts.append(int(size.strip("(") or 1))
        assert text == index.text(line.sentence)
    assert set(counts) > {1}
    told = index.vectors[[line.sentence for line in found.told()]]
    near = (index.vectors @ told.T).max(axis=1) >= ALIKE
    assert sum(counts) == near.sum() < len(index)
    assert min(counts) >= 1


@pytest.mark.wheel
@pytest.mark.parametrize("sentences", [9, 1_000, 123_456])
def test_the_size_of_what_a_line_speaks_for_is_never_dearer_than_it_is_charged(
    wheel_model: LanguageModel, sentences: int
) -> None:
    cost = Prompter(wheel_model).line_ids
    label = size_label(sentences)
    assert len(cost(label + "Word.")) - len(cost("Word.")) <= size_tokens(sentences)


def test_a_digest_that_came_with_the_index_is_not_made_again(index: CorpusIndex) -> None:
    made = index.digest(200, lambda i: 10)
    stored = CorpusIndex(index.documents, [], [made])
    assert stored.digest(200, lambda i: pytest.fail("counted")) == made
