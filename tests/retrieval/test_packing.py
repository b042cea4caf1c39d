"""A prompt's worth: never above the budget, best first, shown in document order."""

import random

import pytest

from retrieval.packing import Candidate, in_document_order, pack


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
        fitting = [c.score for c in given if c.tokens <= budget]
        assert bool(kept) == bool(fitting)
        if kept:
            assert min(c.score for c in kept) >= share * max(fitting)


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


def test_what_could_never_fit_leaves_the_others_their_place() -> None:
    small = Candidate(1, 4.0, 20)
    assert pack([Candidate(0, 10.0, 300), small], 256, share=0.5) == [small]
