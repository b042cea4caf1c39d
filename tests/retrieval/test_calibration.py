"""Heads are chosen by the facts they find, on one half, and told by the other."""

import random

import numpy as np
import pytest
from stub_embedder import StubEmbedder

from engine.attention import Head
from engine.model import LanguageModel
from retrieval import calibration
from retrieval.attention_index import AttentionScorer
from retrieval.calibration import CalibrationSettings, PlantedText, calibrate
from retrieval.contrast import CAP, contrast, odds, standardised
from retrieval.heads import RetrievalHeads
from retrieval.pooling import POOLINGS
from retrieval.window_index import read_keys

SETTINGS = CalibrationSettings(layers=(0.25, 1.0), most=3, window=96)


def planted(count: int) -> PlantedText:
    chance = random.Random(1)
    words = ("lamp", "ferry", "keeper", "gull", "rope", "salt", "tower", "bell")
    sentences = tuple(
        f"The {chance.choice(words)} of house {i} is {chance.choice(words)}." for i in range(60)
    )
    facts = tuple((i, f"What is the {sentences[i].split()[1]} of house {i}?") for i in range(count))
    return PlantedText(sentences, facts)


def test_a_choice_is_repeatable_and_names_heads_of_the_depths_searched(
    model: LanguageModel,
) -> None:
    said: list[str] = []
    found = calibrate(model, StubEmbedder(), planted(12), SETTINGS, said.append)  # type: ignore[arg-type]

    assert found == calibrate(model, StubEmbedder(), planted(12), SETTINGS)  # type: ignore[arg-type]
    assert found.heads.calibrated
    assert 1 <= len(found.heads.search) <= 3
    assert all(1 <= head.layer < 4 for head in found.heads.search)
    assert found.heads.dense in calibration.WEIGHTS
    assert found.heads.pooling in POOLINGS
    assert len({row.name for row in found.rows}) == len(found.rows) == 9
    assert all(0.0 <= row.recall_at_1 <= row.recall_at_5 <= 1.0 for row in found.rows)
    assert all(row.recall_at_1 <= row.recall_at_budget <= 1.0 for row in found.rows)
    assert any(line.startswith("window") for line in said)


def test_without_an_embedder_it_gets_no_weight(model: LanguageModel) -> None:
    found = calibrate(model, None, planted(8), SETTINGS)
    assert found.heads.dense == 0.0
    assert len(found.rows) == 7


def test_few_facts_are_refused(model: LanguageModel) -> None:
    with pytest.raises(ValueError, match="7 facts"):
        calibrate(model, None, planted(7), SETTINGS)


def test_heads_are_added_while_they_help_and_only_the_first_half_decides() -> None:
    chance = np.random.default_rng(0)
    gold = np.arange(8)
    train = np.arange(8) % 2 == 0
    noise = chance.normal(0, 1, (8, 20)).astype(np.float32)
    finds = np.zeros((8, 20), np.float32)
    finds[[0, 2], [0, 2]] = 3.0
    others = np.zeros((8, 20), np.float32)
    others[[4, 6], [4, 6]] = 3.0
    wrong_half = np.zeros((8, 20), np.float32)
    wrong_half[[1, 3, 5, 7], [1, 3, 5, 7]] = 9.0
    scores = {
        Head(1, 0): -noise * 5,
        Head(1, 1): finds + 0.1 * noise,
        Head(1, 2): others + 0.1 * noise,
        Head(1, 3): wrong_half + 0.1 * noise,
    }
    chosen = calibration._grow(scores, gold, train, 2)
    assert set(chosen) == {Head(1, 1), Head(1, 2)}


def test_the_scores_of_a_head_are_those_that_the_index_would_give(model: LanguageModel) -> None:
    text = planted(8)
    read = calibration._ReadText(model, text, SETTINGS, lambda _: None)
    head = Head(2, 3)
    found = read.scores_of_heads(lambda _: None)[head][3]
    scorer = AttentionScorer(model, RetrievalHeads((head,)), SETTINGS.window)
    encoded = [model.encode(f"{sentence}\n") for sentence in text.sentences]
    windows: list[list[int]] = [[]]
    for ids in encoded:
        if windows[-1] and len(windows[-1]) + len(ids) > SETTINGS.window:
            windows.append([])
        windows[-1].extend(ids)
    keys = [read_keys(model, scorer.heads, [ids])[0] for ids in windows]
    counts = np.array([len(ids) for ids in encoded], np.int32)
    best = scorer.pooled_logits(scorer.ask(text.facts[3][1]), keys, counts)
    expected = contrast(best, np.zeros(60, np.int32)).scores

    np.testing.assert_array_equal(read.counts, counts)
    np.testing.assert_allclose(found, expected, atol=0.01 * np.ptp(expected))
    own = read.other_ways([head])["chosen heads, without neighbours"][3]
    np.testing.assert_allclose(own, np.minimum(standardised(odds(best)), CAP).sum(0), atol=1e-2)
