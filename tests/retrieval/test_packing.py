"""A prompt's worth: never above the budget, best first, shown in document order."""

import random

import pytest

from retrieval.packing import Candidate, best_run_first, in_document_order, pack


def candidates(seed: int, low: float = 0.0) -> list[Candidate]:
    chance = random.Random(seed)
    numbers = chance.sample(range(1000), chance.randint(0, 40))
    return [Candidate(n, chance.uniform(low, 1.0), chance.randint(1, 60)) for n in numbers]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_budget_is_kept_and_the_order_is_the_documents(share: float) -> None:
    for seed in range(200):
        given, budget = candidates(seed), seed
        kept = pack(given, budget, share)

        assert sum(candidate.tokens for candidate in kept) <= budget
        assert [c.sentence for c in kept] == sorted(c.sentence for c in kept)
        assert set(kept) <= set(given)
        if kept:
            assert min(c.score for c in kept) >= share * max(c.score for c in given)


@pytest.mark.parametrize("low", [0.0, -1.0, -9.0])
def test_nothing_is_left_out_that_would_have_fitted_when_its_turn_came(low: float) -> None:
    for seed in range(200):
        given = candidates(seed, low)
        kept, left = set(), 300
        for candidate in sorted(given, key=lambda c: -c.score):
            if candidate.tokens <= left:
                kept.add(candidate)
                left -= candidate.tokens
        assert set(pack(given, 300)) == kept


def test_equal_scores_keep_the_earlier_sentence_whatever_the_order_given() -> None:
    equal = [Candidate(number, 1.0, 10) for number in range(6)]
    assert pack(reversed(equal), 30) == equal[:3]


def test_only_the_best_is_kept_where_the_share_is_whole() -> None:
    given = [Candidate(4, 0.9, 5), Candidate(2, 1.0, 5), Candidate(3, 0.99, 5)]
    assert pack(given, 100, share=1.0) == [given[1]]
    assert pack(given, 100, share=0.95) == [given[1], given[2]]


def test_each_sentence_is_shown_once() -> None:
    twice = [Candidate(3, 1.0, 5), Candidate(1, 0.5, 5), Candidate(3, 1.0, 5)]
    assert [candidate.sentence for candidate in in_document_order(twice)] == [1, 3]


def test_the_run_of_neighbours_with_the_best_score_is_told_first_and_stays_in_order() -> None:
    scores = {3: 0.2, 4: 0.5, 8: 0.1, 9: 0.9, 10: 0.3, 20: 0.7}
    given = [Candidate(number, score, 5) for number, score in scores.items()]

    assert [c.sentence for c in best_run_first(given)] == [8, 9, 10, 20, 3, 4]


def test_what_is_told_is_what_was_kept() -> None:
    for seed in range(50):
        kept = pack(candidates(seed), 300)
        told = best_run_first(kept)

        assert sorted(told, key=lambda c: c.sentence) == kept
