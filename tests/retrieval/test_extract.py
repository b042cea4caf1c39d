"""What is chosen under a budget covers the text, by nearness and by its terms."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.extract import (
    FacilityLocation,
    Objective,
    TermCoverage,
    Together,
    choose,
    count_terms,
)

REVIEWS = [
    "The battery life is long and the battery charges fast.",
    "Battery life could be longer.",
    "The zoom lens is sharp at every focal length.",
    "A sharp zoom lens, even at night.",
    "The menu is slow.",
    "I bought it in May for my sister.",
    "Slow menu, and the menu buttons are small.",
]


def unit_rows(seed: int, rows: int) -> NDArray[np.float32]:
    made = np.random.default_rng(seed).standard_normal((rows, 8))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def both(vectors: NDArray[np.float32]) -> Objective:
    weights = np.ones(len(vectors), np.float32)
    return Together(FacilityLocation(vectors, weights), TermCoverage(REVIEWS))


def worth(objective: Objective, rows: list[int]) -> float:
    total = 0.0
    for row in rows:
        total += objective.gain(row)
        objective.take(row)
    return total


@pytest.mark.parametrize("seed", range(5))
def test_all_rows_together_are_worth_one_in_any_order(seed: int) -> None:
    order = [int(row) for row in np.random.default_rng(seed).permutation(len(REVIEWS))]
    vectors = unit_rows(seed, len(REVIEWS))
    assert worth(both(vectors), order) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("seed", range(10))
def test_a_row_never_adds_more_the_more_is_chosen(seed: int) -> None:
    objective = both(unit_rows(seed, len(REVIEWS)))
    before = [objective.gain(row) for row in range(len(REVIEWS))]
    objective.take(seed % len(REVIEWS))
    after = [objective.gain(row) for row in range(len(REVIEWS))]
    assert all(0.0 <= b <= a + 1e-7 for a, b in zip(before, after, strict=True))
    assert sum(after) < sum(before)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("budget", [10, 25, 40])
def test_the_choice_fits_and_is_near_the_best_there_is(seed: int, budget: int) -> None:
    vectors = unit_rows(seed, len(REVIEWS))
    costs = np.random.default_rng(seed).integers(3, 15, len(REVIEWS)).astype(np.int32)
    chosen = choose(both(vectors), costs, budget)

    assert int(costs[chosen].sum()) <= budget
    assert len(set(chosen)) == len(chosen)
    fitting = [
        list(rows)
        for size in range(len(REVIEWS) + 1)
        for rows in itertools.combinations(range(len(REVIEWS)), size)
        if costs[list(rows)].sum() <= budget
    ]
    best = max(worth(both(vectors), rows) for rows in fitting)
    assert worth(both(vectors), chosen) >= (1 - np.exp(-0.5)) * best  # greedy's guarantee
    assert choose(both(vectors), costs, budget) == chosen


def test_one_long_row_that_says_nearly_all_beats_a_short_one_that_is_cheap() -> None:
    rows = np.array([[1, 0], [0, 1]], np.float32)
    heavy = FacilityLocation(rows, np.array([1.0, 50.0], np.float32))
    assert choose(heavy, np.array([1, 100], np.int32), 100) == [1]


def test_what_the_text_keeps_coming_back_to_comes_first() -> None:
    objective = TermCoverage(REVIEWS)
    gains = [objective.gain(row) for row in range(len(REVIEWS))]
    assert gains[5] == 0.0  # the sister is told of once
    assert min(gains[0], gains[3], gains[6]) > 0.1
    objective.take(0)
    assert objective.gain(1) < gains[1]


@pytest.mark.parametrize(
    "texts", [[], [""], ["the", "and the"], ["one two", "three four"], ["日本"]]
)
def test_texts_with_no_common_term_have_none_and_cover_nothing(texts: list[str]) -> None:
    assert count_terms(texts).shape == (len(texts), 0)
    assert [TermCoverage(texts).gain(row) for row in range(len(texts))] == [0.0] * len(texts)
    assert choose(TermCoverage(texts), np.ones(len(texts), np.int32), 10) == []
