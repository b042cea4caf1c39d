"""Words weigh in a corpus what questions of known sentences speak for, and else what is shipped."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from retrieval.corpus_index import CorpusIndex, Document, Placement
from retrieval.hybrid import HybridSettings
from retrieval.leg_weights import LEAST, MARGIN, Known, chosen, fit_lexical

SHIPPED = 0.25
CODES = tuple(f"k{number}x" for number in range(16))


@pytest.fixture
def index() -> CorpusIndex:
    """Sentences that words tell apart and vectors do not."""
    texts = [f"Shelf {code} is here." for code in CODES]
    vectors = np.zeros((len(texts), 4), np.float32)
    vectors[:, 0] = 1.0
    vectors[0, :2] = 0.6, 0.8  # so that vectors prefer another than words do
    record: Any = SimpleNamespace(
        spans=np.array([(0, len(text)) for text in texts]),
        token_counts=np.ones(1, np.int32),
        vectors=None,
        keys=None,
    )
    placements = []
    for number, text in enumerate(texts):
        own = SimpleNamespace(**vars(record))
        own.spans, own.vectors = np.array([(0, len(text))]), vectors[[number]]
        placements.append(Placement(number, 0, own))
    return CorpusIndex([Document(str(i), text) for i, text in enumerate(texts)], placements)


def ranks(at_one: list[float]) -> dict[float, list[float]]:
    usual = [0.5] * len(at_one)
    return {SHIPPED: usual, 0.0: usual, 1.0: at_one}


def test_a_weight_that_ranks_better_on_both_halves_is_taken() -> None:
    assert chosen(ranks([0.9] * LEAST), SHIPPED) == 1.0


def test_a_weight_that_is_better_on_one_half_alone_is_not_taken() -> None:
    assert chosen(ranks([1.0, 0.4] * (LEAST // 2)), SHIPPED) == SHIPPED


def test_a_gain_below_the_margin_changes_nothing() -> None:
    assert chosen(ranks([0.5 + MARGIN / 2] * LEAST), SHIPPED) == SHIPPED


def test_a_handful_of_questions_changes_nothing() -> None:
    assert chosen(ranks([0.9] * (LEAST - 1)), SHIPPED) == SHIPPED


def test_words_weigh_more_where_they_alone_tell_sentences_apart(index: CorpusIndex) -> None:
    away = np.array([0.0, 1.0, 0.0, 0.0], np.float32)  # nearest is always the first sentence
    asked = [Known(f"Where is shelf {code}?", away, i) for i, code in enumerate(CODES)][1:]
    silent = HybridSettings(lexical=0.0, second=0.0)
    fitted = fit_lexical(index, asked, silent)
    assert fitted is not None
    assert fitted.lexical > 0.0
    assert fitted.rank > fitted.shipped_rank + MARGIN


def test_no_questions_fit_nothing(index: CorpusIndex) -> None:
    assert fit_lexical(index, [], HybridSettings()) is None
