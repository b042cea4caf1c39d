"""Stored keys leave a shortlist, the shortlist is read again together, and what is evidence fits."""

import copy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from stub_embedder import StubEmbedder
from transformers import AutoModelForCausalLM

from engine.model import LanguageModel
from retrieval.corpus_index import CorpusIndex, Document, Placement
from retrieval.heads import RetrievalHeads, retrieval_heads
from retrieval.infini_retri import IndexedReader, ReadingSettings
from retrieval.lines import Line
from retrieval.readers import Readers, corpus_lines
from retrieval.second_reading import SecondReading
from retrieval.window_index import WindowReader
from retrieval.windows import WindowSize, cut_windows

QUESTION = "When is the lamp lit?"
TEXTS = (
    "The lamp is lit at dusk.",
    "Gulls nest on the north wall, and nobody minds.",
    "Salt comes by ferry.",
    "A bell rings twice when the rope is cut.",
)


def lines(*texts: str) -> list[Line]:
    return [Line(i, text) for i, text in enumerate(texts)]


def make_index(model: LanguageModel, text: str) -> CorpusIndex:
    reader = WindowReader(model, StubEmbedder(), retrieval_heads(model))  # type: ignore[arg-type]
    windows = cut_windows(text, reader.count_tokens, WindowSize(300, 600))
    return CorpusIndex(
        [Document("a", text)], [Placement(0, w.start, reader.read(text, w)) for w in windows]
    )


@pytest.fixture
def second(model: LanguageModel) -> SecondReading:
    return SecondReading(model, retrieval_heads(model))


@pytest.fixture
def reader(model: LanguageModel) -> IndexedReader:
    return Readers(model, retrieval_heads(model), size=WindowSize(300, 600)).indexed


class Fixed:
    """Scores by hand in place of attention."""

    def __init__(self, model: LanguageModel, scores: NDArray[np.float32]) -> None:
        self.scores, self.heads = scores, retrieval_heads(model)

    def score(self, index: CorpusIndex, question: str) -> NDArray[np.float32]:
        return self.scores


def test_a_line_is_paid_the_eager_attention_of_the_question(
    model: LanguageModel, second: SecondReading
) -> None:
    parts = [second.prompter.line_ids(text) for text in TEXTS]
    opening, asked = second.prompter.context_ids([]), second.prompter.asked_ids(QUESTION)
    text = [token for part in parts for token in part]
    ids = [*opening, *text, *second.prompter.asking_ids(), *asked]
    twin = AutoModelForCausalLM.from_config(
        copy.deepcopy(model.network.config), attn_implementation="eager"
    )
    twin.load_state_dict(model.network.state_dict())
    with torch.inference_mode():
        attentions = twin.eval()(input_ids=torch.tensor([ids]), output_attentions=True).attentions
    last = len(opening) + len(text)
    expected = np.zeros(len(TEXTS))
    for place in second.heads.reread:
        seen = attentions[place.layer][0, place.head, -len(asked) :, :last]
        seen = (seen / seen.sum(-1, keepdim=True))[:, len(opening) :]
        expected += [float(p.amax(-1).sum()) for p in seen.split([len(p) for p in parts], dim=-1)]

    np.testing.assert_allclose(second.attention(lines(*TEXTS), QUESTION), expected, rtol=1e-4)


def test_both_readings_count_as_shares_of_their_best(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = SecondReading(model, retrieval_heads(model), weight=0.5)
    paid = np.array([1.0, 4.0, 2.0, 0.0], np.float32)
    monkeypatch.setattr(second, "attention", lambda *_: paid)
    found = second.read(lines(*TEXTS), np.array([10.0, 5.0, -3.0, 0.0], np.float32), QUESTION, 999)
    assert [c.score for c in found] == pytest.approx([0.25 + 0.5, 1.0 + 0.25, 0.5, 0.0])


def test_lines_are_read_in_document_order_within_the_room(
    model: LanguageModel, second: SecondReading, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[int]] = []
    plain = second.attention
    monkeypatch.setattr(
        second, "attention", lambda ls, q: read.append([x.sentence for x in ls]) or plain(ls, q)
    )
    best_first = [Line(3, TEXTS[3]), Line(0, TEXTS[0]), Line(2, TEXTS[2]), Line(1, TEXTS[1])]
    room = sum(second.cost(line) for line in best_first[:3])
    found = second.read(best_first, np.array([4, 3, 2, 1], np.float32), QUESTION, room)

    assert read == [[0, 2, 3]]
    assert [c.sentence for c in found] == [0, 2, 3]
    assert [c.tokens for c in found] == [second.cost(Line(i, TEXTS[i])) for i in (0, 2, 3)]


def test_a_line_that_fits_nowhere_does_not_hide_the_others(second: SecondReading) -> None:
    best_first = [Line(0, "word " * 900), Line(1, TEXTS[1])]
    found = second.read(best_first, np.array([2, 1], np.float32), QUESTION, 300)
    assert [c.sentence for c in found] == [1]
    assert second.read(best_first[:1], np.array([2], np.float32), QUESTION, 300) == []


def test_an_indexed_corpus_gives_evidence_in_order_within_the_budget(
    model: LanguageModel, reader: IndexedReader, handbook: str
) -> None:
    index = make_index(model, handbook)
    settings = ReadingSettings(300, 100)

    found = reader.read(index, QUESTION, settings)
    numbers = [candidate.sentence for candidate in found.evidence]

    assert found.evidence
    assert numbers == sorted(set(numbers))
    assert sum(candidate.tokens for candidate in found.evidence) <= 100
    assert all(found.lines[n].text == index.text(n) for n in numbers)
    assert found == reader.read(index, QUESTION, settings)


def test_the_ranking_holds_what_was_read_twice_and_then_the_rest(
    model: LanguageModel, second: SecondReading, handbook: str
) -> None:
    index = make_index(model, handbook)
    scores = np.zeros(len(index), np.float32)
    scores[[5, 100, 40]] = 3.0, 2.0, 1.0
    reader = IndexedReader(Fixed(model, scores), second)  # type: ignore[arg-type]

    found = reader.read(index, QUESTION, ReadingSettings(200, 100, ranked=50))

    ranked = [candidate.sentence for candidate in found.ranking]
    assert len(ranked) == len(set(ranked)) == 50
    read = [c.sentence for c in found.ranking if c.score > 0]
    assert {5, 40, 100} <= set(read)
    assert ranked[: len(read)] == read
    assert {c.sentence for c in found.evidence} <= set(read)


def test_the_embedder_counts_by_its_calibrated_weight(model: LanguageModel, handbook: str) -> None:
    index = make_index(model, handbook[:3000])
    middle = retrieval_heads(model).search
    embedder = StubEmbedder()
    question = index.text(7)  # the stub knows a text again, and nothing else
    scores = {
        weight: Readers(
            model,
            RetrievalHeads(middle, middle, weight),
            embedder,  # type: ignore[arg-type]
        ).indexed.score(index, question)
        for weight in (0.0, 1.0, 50.0)
    }
    cosines = index.vectors @ embedder.embed([question])[0]
    expected = scores[0.0] + (cosines - cosines.mean()) / cosines.std()
    np.testing.assert_allclose(scores[1.0], expected, atol=1e-4)
    assert scores[50.0].argmax() == 7


def test_an_empty_index_leaves_no_evidence(reader: IndexedReader) -> None:
    assert reader.read(CorpusIndex([], []), QUESTION, ReadingSettings()).evidence == ()


@pytest.mark.parametrize("text", ["Lamp", "The lamp is lit at dusk.", "x" * 100_000, "灯" * 5000])
def test_the_smallest_and_the_oddest_corpora_are_read(
    model: LanguageModel, reader: IndexedReader, text: str
) -> None:
    found = reader.read(make_index(model, text), QUESTION, ReadingSettings(2000, 1500))
    assert found.ranking


def test_a_question_longer_than_a_window_is_answered_from_evidence(
    model: LanguageModel, reader: IndexedReader, handbook: str
) -> None:
    question = "When is the lamp lit, who lights it, and what does it cost? " * 60
    index = make_index(model, handbook[:2000])
    assert reader.read(index, question, ReadingSettings()).evidence


@pytest.mark.parametrize("evidence", [0, 385])
def test_a_budget_beyond_the_shortlist_is_refused(evidence: int) -> None:
    with pytest.raises(ValueError, match="evidence budget"):
        ReadingSettings(384, evidence)


def test_the_lines_of_a_corpus_are_its_sentences(model: LanguageModel, handbook: str) -> None:
    index = make_index(model, handbook[:2000])
    assert [(line.sentence, line.text) for line in corpus_lines(index)] == [
        (i, index.text(i)) for i in range(len(index))
    ]
