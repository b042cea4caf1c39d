"""Stored keys give the logits that reading the window with the question would give."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from stub_embedder import StubEmbedder

from engine.attention import Enough, Head, Tap
from engine.model import LanguageModel
from engine.prompts import Prompter
from retrieval import attention_index
from retrieval.attention_index import AttentionScorer
from retrieval.contrast import contrast
from retrieval.corpus_index import CorpusIndex, Document, Placement
from retrieval.heads import RetrievalHeads
from retrieval.pooling import POOLINGS, Pooling
from retrieval.quantised_keys import QuantisedKeys
from retrieval.ranking import rank
from retrieval.window_index import WindowReader, read_keys
from retrieval.windows import Window, WindowSize, cut_windows

SIZE = WindowSize(60, 120)
QUESTION = "When is the lamp lit?"
FOUR = (Head(1, 0), Head(1, 3), Head(2, 1), Head(3, 2))
HEADS = RetrievalHeads(FOUR)


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
    prompter = Prompter(model)
    opening, before, asked = (
        prompter.opening_ids(),
        prompter.asking_ids(),
        prompter.asked_ids(question),
    )
    first, last = len(opening), len(opening) + len(window)
    ids = [*opening, *window, *before, *asked]
    place = first + SIZE.most
    positions = [*range(last), *range(place, place + len(before) + len(asked))]
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
    return tap, first, last + len(before)


def plain_logits(
    model: LanguageModel, window: list[int], counts: list[int], question: str, pooling: Pooling
) -> NDArray[np.float32]:
    """The pooled logit of each sentence over the opening's log-sum-exp, by plain loops: rows are
    query heads in the order of their KV heads, and within each the question's tokens.
    """
    tap, first, asked = read_together(model, window, question)
    group = model.geometry.heads // model.geometry.kv_heads
    rows = []
    for place in sorted(FOUR, key=lambda h: (h.layer, h.head // group, h.head)):
        keys = tap.keys[place.layer][place.head // group, : first + len(window)]
        for query in tap.queries[place.layer][place.head, asked:]:
            logits = torch.tensor([float(query @ key) for key in keys]) * keys.shape[-1] ** -0.5
            odds = (logits[first:] - logits[:first].logsumexp(0)).split(counts)
            pool = torch.Tensor.max if pooling == "max" else partial(torch.logsumexp, dim=0)
            rows.append([float(pool(part)) for part in odds])
    return np.array(rows, np.float32)


def exact_keys(model: LanguageModel, text: str) -> QuantisedKeys:
    """Keys as they are, in the place of rounded ones."""
    opening = Prompter(model).opening_ids()
    read = model.prefill([*opening, *model.encode(text)])
    group = model.geometry.heads // model.geometry.kv_heads
    places = HEADS.kv_heads(group)
    keys = torch.stack([read.keys[layer, head, len(opening) :] for layer, head in places])
    return QuantisedKeys(keys, torch.ones(keys.shape[:2]))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_logits_from_stored_keys_equal_a_reading_of_window_and_question_together(
    family_model: LanguageModel, handbook: str, pooling: Pooling
) -> None:
    model, text = family_model, handbook[:1100]
    index = make_index(model, text, HEADS)
    scorer = AttentionScorer(model, replace(HEADS, pooling=pooling), SIZE.most)
    cut = windows_of(model, text, HEADS)
    parts = []
    for window, numbers in zip(cut, index.sentences_of_windows, strict=True):
        counts = index.token_counts[numbers.start : numbers.stop].tolist()
        parts.append(plain_logits(model, model.encode(window.of(text)), counts, QUESTION, pooling))
    expected = np.concatenate(parts, axis=1)
    asked = scorer.ask(QUESTION)

    assert len(cut) > 2
    exact = [exact_keys(model, window.of(text)) for window in cut]
    found = scorer.pooled_logits(asked, exact, index.token_counts)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    # Nothing but the rounding of stored keys stands between the two.
    rounded = scorer.pooled_logits(asked, index.keys, index.token_counts)
    np.testing.assert_allclose(rounded, expected, atol=2e-2 * np.ptp(expected))
    assert not np.array_equal(rounded, found)


def test_scores_are_the_contrast_of_all_rows_however_many_ask_at_once(
    model: LanguageModel, handbook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make_index(model, handbook[:1500], HEADS)
    scorer = AttentionScorer(model, HEADS, SIZE.most)
    best = scorer.pooled_logits(scorer.ask(QUESTION), index.keys, index.token_counts)
    expected = contrast(best, index.document_of)

    for rows in (1, 3, 64):
        monkeypatch.setattr(attention_index, "_ROWS", rows)
        found = scorer.score(index, scorer.ask(QUESTION))
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-2)
        assert found.coverage == pytest.approx(expected.coverage, abs=1e-4)
    assert np.ptp(expected.scores) > 1.0


def test_blocks_of_any_size_give_the_same_logits(
    model: LanguageModel, handbook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make_index(model, handbook[:2500], HEADS)
    scorer = AttentionScorer(model, HEADS, SIZE.most)
    asked = scorer.ask(QUESTION)
    at_once = scorer.pooled_logits(asked, index.keys, index.token_counts)
    monkeypatch.setattr(attention_index, "_BLOCK", 1)
    np.testing.assert_allclose(
        scorer.pooled_logits(asked, index.keys, index.token_counts), at_once, atol=1e-5
    )


def test_a_sentence_without_a_token_of_its_own_scores_nothing(model: LanguageModel) -> None:
    scorer = AttentionScorer(model, HEADS, SIZE.most)
    group = model.geometry.heads // model.geometry.kv_heads
    rows = len(HEADS.kv_heads(group))
    keys = QuantisedKeys(
        torch.ones(rows, 4, model.geometry.head_dim, dtype=torch.int8), torch.ones(rows, 4)
    )
    found = scorer.pooled_logits(scorer.ask(QUESTION), [keys], np.array([0, 3, 0, 1, 0], np.int32))
    assert (found[:, [0, 2, 4]] == -30.0).all()
    assert (found[:, [1, 3]] > -30.0).all()


def test_keys_of_several_windows_read_at_once_are_those_read_alone(
    family_model: LanguageModel, handbook: str
) -> None:
    reader = WindowReader(family_model, StubEmbedder(), HEADS)  # type: ignore[arg-type]
    texts = [handbook[:300], handbook[300:340], handbook[340:900]]
    batch = [family_model.encode(text) for text in texts]

    for ids, keys in zip(batch, read_keys(family_model, HEADS, batch), strict=True):
        alone = reader.keys(ids).restored()
        assert keys.values.shape == alone.shape
        torch.testing.assert_close(keys.restored(), alone, atol=3e-2, rtol=3e-2)


def test_an_empty_index_has_no_scores(model: LanguageModel) -> None:
    scorer = AttentionScorer(model, HEADS, SIZE.most)
    assert not len(scorer.score(CorpusIndex([], []), scorer.ask(QUESTION)).scores)


def test_a_question_longer_than_a_window_is_scored(model: LanguageModel, handbook: str) -> None:
    index = make_index(model, handbook[:900], HEADS)
    scorer = AttentionScorer(model, HEADS, SIZE.most)
    question = "When is the lamp lit, and by whom? " * 40
    assert len(Prompter(model).asked_ids(question)) > SIZE.most
    assert np.isfinite(scorer.score(index, scorer.ask(question)).scores).all()


def test_ranks_go_from_best_to_worst_and_equals_stay_in_order() -> None:
    assert rank(np.array([0.1, 0.5, 0.5, -1.0, 0.9], np.float32), 4) == [4, 1, 2, 0]
