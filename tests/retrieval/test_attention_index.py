"""Stored keys give the scores that reading the window with the question would give."""

import copy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from stub_embedder import StubEmbedder
from transformers import AutoModelForCausalLM

from engine.attention import Enough, Head, Tap
from engine.model import LanguageModel
from engine.prompts import Prompter
from retrieval.attention_index import NULL_QUESTION, AttentionScorer, rank, sentence_scores
from retrieval.corpus_index import CorpusIndex, Document, Placement
from retrieval.heads import RetrievalHeads
from retrieval.window_index import WindowReader
from retrieval.windows import Window, WindowSize, cut_windows

SIZE = WindowSize(60, 120)
QUESTION = "When is the lamp lit?"
HEADS = RetrievalHeads((Head(1, 0), Head(1, 3), Head(2, 1), Head(3, 2)), False)


def windows_of(model: LanguageModel, text: str, heads: RetrievalHeads) -> list[Window]:
    reader = WindowReader(model, StubEmbedder(), heads)  # type: ignore[arg-type]
    return cut_windows(text, reader.count_tokens, SIZE)


def make_index(model: LanguageModel, text: str, heads: RetrievalHeads) -> CorpusIndex:
    reader = WindowReader(model, StubEmbedder(), heads)  # type: ignore[arg-type]
    placed = [Placement(0, w.start, reader.read(text, w)) for w in windows_of(model, text, heads)]
    return CorpusIndex([Document("a", text)], placed)


@torch.inference_mode()
def read_together(model: LanguageModel, window: list[int], question: str) -> tuple[Tap, int, int]:
    """One pass over opening, window and question; the question stands behind a full window and does
    not see this one, so that its queries are the same for every window.
    """
    opening, asked = Prompter(model).opening_ids(), Prompter(model).asked_ids(question)
    first, last = len(opening), len(opening) + len(window)
    ids = [*opening, *window, *asked]
    place = first + SIZE.most
    positions = [*range(last), *range(place, place + len(asked))]
    mask = torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
    mask[last:, first:last] = False
    tap = Tap(frozenset(range(model.geometry.layers)))
    with pytest.raises(Enough):
        model.network.model(
            input_ids=torch.tensor([ids]),
            position_ids=torch.tensor([positions]),
            attention_mask=mask[None, None],
            use_cache=False,
            tap=tap,
        )
    return tap, first, last


def plain_scores(
    model: LanguageModel, window: list[int], counts: list[int], question: str, heads: RetrievalHeads
) -> list[float]:
    """Softmax over opening and window, the largest weight in a sentence, summed; by plain loops."""
    tap, first, last = read_together(model, window, question)
    group = model.geometry.heads // model.geometry.kv_heads
    totals = [0.0] * len(counts)
    for place in heads.heads:
        keys = tap.keys[place.layer][place.head // group, :last]
        for query in tap.queries[place.layer][place.head, last:]:
            logits = torch.tensor([float(query @ key) for key in keys]) * keys.shape[-1] ** -0.5
            weights = logits.softmax(-1)[first:]
            at = 0
            for sentence, count in enumerate(counts):
                totals[sentence] += float(weights[at : at + count].max())
                at += count
    return totals


def test_scores_from_stored_keys_equal_a_reading_of_window_and_question_together(
    family_model: LanguageModel, handbook: str
) -> None:
    model, text = family_model, handbook[:1100]
    index = make_index(model, text, HEADS)
    scorer = AttentionScorer(model, HEADS, SIZE.most)
    expected: list[float] = []
    for window, numbers in zip(
        windows_of(model, text, HEADS), index.sentences_of_windows, strict=True
    ):
        ids = model.encode(window.of(text))
        counts = index.token_counts[numbers.start : numbers.stop].tolist()
        asked, null = (
            plain_scores(model, ids, counts, question, HEADS)
            for question in (QUESTION, NULL_QUESTION)
        )
        expected.extend(a - b for a, b in zip(asked, null, strict=True))

    found = scorer.score(index, QUESTION)

    assert len(index.sentences_of_windows) > 2
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-2 * np.abs(expected).max())
    # Nothing but the halved precision of stored keys stands between the two.
    index.keys = [exact_keys(model, w.of(text)) for w in windows_of(model, text, HEADS)]
    np.testing.assert_allclose(scorer.score(index, QUESTION), expected, atol=1e-4)


def exact_keys(model: LanguageModel, text: str) -> NDArray[np.float32]:
    opening = Prompter(model).opening_ids()
    read = model.prefill([*opening, *model.encode(text)])
    group = model.geometry.heads // model.geometry.kv_heads
    places = HEADS.kv_heads(group)
    return torch.stack([read.keys[layer, head, len(opening) :] for layer, head in places]).numpy()


def test_first_layer_scores_equal_eager_attention(model: LanguageModel, handbook: str) -> None:
    """There queries depend on nothing before them, so a plain causal reading is the reference."""
    heads = RetrievalHeads((Head(0, 1), Head(0, 2)), False)
    text = handbook[:400]
    window = Window(0, len(text), tuple(windows_of(model, text, heads)[0].sentences), "")
    record = WindowReader(model, StubEmbedder(), heads).read(text, window)  # type: ignore[arg-type]
    index = CorpusIndex([Document("a", text)], [Placement(0, 0, record)])
    ids = model.encode(text)
    opening = Prompter(model).opening_ids()

    twin = AutoModelForCausalLM.from_config(
        copy.deepcopy(model.network.config), attn_implementation="eager"
    )
    twin.load_state_dict(model.network.state_dict())
    first, last = len(opening), len(opening) + len(ids)
    expected = np.zeros(len(index), np.float32)
    for question, sign in ((QUESTION, 1), (NULL_QUESTION, -1)):
        whole = torch.tensor([[*opening, *ids, *Prompter(model).asked_ids(question)]])
        with torch.inference_mode():
            attentions = twin.eval()(input_ids=whole, output_attentions=True).attentions
        seen = attentions[0][0][[1, 2], last:, :last]
        weights = (seen / seen.sum(-1, keepdim=True))[:, :, first:]
        parts = weights.split(index.token_counts.tolist(), dim=-1)
        expected += sign * np.array([float(part.amax(-1).sum()) for part in parts])

    found = AttentionScorer(model, heads, len(ids)).score(index, QUESTION)

    np.testing.assert_allclose(found, expected, atol=1e-2 * np.abs(expected).max())


def test_a_window_is_scored_alike_in_any_company(model: LanguageModel, handbook: str) -> None:
    text = handbook[:1500]
    index = make_index(model, text, HEADS)
    reader = WindowReader(model, StubEmbedder(), HEADS)  # type: ignore[arg-type]
    scorer = AttentionScorer(model, HEADS, SIZE.most)
    second = windows_of(model, text, HEADS)[1]
    alone = CorpusIndex(
        [Document("a", text)], [Placement(0, second.start, reader.read(text, second))]
    )

    numbers = index.sentences_of_windows[1]
    together = scorer.score(index, QUESTION)[numbers.start : numbers.stop]
    np.testing.assert_allclose(scorer.score(alone, QUESTION), together, atol=1e-6)


def test_a_question_that_asks_nothing_scores_nothing(model: LanguageModel, handbook: str) -> None:
    index = make_index(model, handbook[:900], HEADS)
    scores = AttentionScorer(model, HEADS, SIZE.most).score(index, NULL_QUESTION)
    np.testing.assert_array_equal(scores, np.zeros(len(index)))


def test_an_empty_index_has_no_scores(model: LanguageModel) -> None:
    assert len(AttentionScorer(model, HEADS, SIZE.most).score(CorpusIndex([], []), QUESTION)) == 0


def test_a_sentence_counts_by_its_best_token_for_each_question_token_and_head() -> None:
    weights = torch.tensor([[[0.1, 0.3, 0.2], [0.5, 0.0, 0.1]], [[0.0, 0.0, 0.9], [0.2, 0.1, 0.0]]])
    scores = sentence_scores(weights, np.array([2, 0, 1], np.int32))
    np.testing.assert_allclose(scores, [0.3 + 0.5 + 0.0 + 0.2, 0.0, 0.2 + 0.1 + 0.9 + 0.0])


def test_ranks_go_from_best_to_worst_and_equals_stay_in_order() -> None:
    assert rank(np.array([0.1, 0.5, 0.5, -1.0, 0.9], np.float32), 4) == [4, 1, 2, 0]
