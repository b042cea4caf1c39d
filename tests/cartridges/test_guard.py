"""The guard keeps its promise on questions that it never saw."""

import random

import pytest

from cartridges.general import load_questions
from cartridges.guard import Guard, calibrate_guard


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_of_unrelated_questions_no_more_are_let_in_than_was_promised(alpha: float) -> None:
    chance = random.Random(0)
    let_in = trials = 0
    for _ in range(400):
        guard = calibrate_guard([0.9], [chance.gauss(0.2, 0.1) for _ in range(59)], alpha)
        let_in += sum(guard.lets_in(chance.gauss(0.2, 0.1)) for _ in range(50))
        trials += 50
    assert 0.5 * alpha < let_in / trials < alpha + 0.01


def test_the_threshold_is_one_of_the_unrelated_and_tells_what_it_keeps() -> None:
    unrelated = [i / 100 for i in range(40)]
    guard = calibrate_guard([0.2, 0.3, 0.37, 0.5], unrelated, alpha=0.1)

    assert guard.threshold == 0.36  # four of forty-one may lie above what is fourth
    assert guard.kept == 0.5
    assert not guard.lets_in(0.36)
    assert guard.lets_in(0.361)
    assert Guard.of_metrics(guard.metrics()) == guard
    assert Guard.of_metrics({"recovered": 0.9}) is None


def test_a_promise_that_so_few_questions_cannot_keep_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot promise"):
        calibrate_guard([0.9], [0.1] * 18, alpha=0.05)
    assert calibrate_guard([0.9], [0.1] * 19, alpha=0.05).threshold == 0.1


def test_the_general_questions_are_many_and_differ() -> None:
    questions = load_questions()
    assert len(questions) == len(set(questions)) >= 100
