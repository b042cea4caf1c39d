"""What sets a sentence apart counts; what is found everywhere does not."""

import numpy as np
import pytest

from retrieval.contrast import AMONG, CAP, REACH, contrast, neighbourhood, odds, standardised


def test_a_token_that_finds_something_everywhere_tells_nothing() -> None:
    telling = np.full((1, 40), -6.0, np.float32)
    telling[0, 7] = 2.0
    everywhere = np.full((1, 40), 4.0, np.float32)
    documents = np.arange(40, dtype=np.int32)

    both = contrast(np.concatenate([telling, everywhere]), documents).scores

    np.testing.assert_allclose(both, contrast(telling, documents).scores, atol=1e-3)
    assert both.argmax() == 7


def test_one_token_that_stands_out_does_not_outvote_many() -> None:
    rows = np.full((5, 400), -8.0, np.float32)
    rows[0, 3] = 5.0
    rows[1:, 200] = 5.0
    scores = contrast(rows, np.arange(400, dtype=np.int32)).scores
    assert scores[3] <= (1 + AMONG) * CAP
    assert scores.argmax() == 200


def test_a_sentence_gains_by_its_neighbours_in_its_own_document_alone() -> None:
    documents = np.array([0] * 10 + [1] * 10, np.int32)
    values = np.zeros((1, 20), np.float32)
    values[0, 9] = 1.0
    widest = neighbourhood(values, documents)
    assert np.flatnonzero(widest[0]).tolist() == list(range(9 - REACH, 10))


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_a_neighbourhood_is_the_plain_maximum_around(count: int) -> None:
    chance = np.random.default_rng(count)
    values = chance.random((4, count)).astype(np.float32)
    documents = np.sort(chance.integers(0, 5, count)).astype(np.int32)
    expected = [
        [
            max(
                row[j] for j in range(count) if abs(i - j) <= REACH and documents[i] == documents[j]
            )
            for i in range(count)
        ]
        for row in values
    ]
    np.testing.assert_array_equal(neighbourhood(values, documents), np.array(expected, np.float32))


def test_parts_of_the_rows_add_up_to_the_whole() -> None:
    rows = np.random.default_rng(0).normal(-3, 2, (9, 30)).astype(np.float32)
    documents = np.repeat(np.arange(3, dtype=np.int32), 10)
    parts, whole = (
        contrast(rows[:4], documents) + contrast(rows[4:], documents),
        contrast(rows, documents),
    )
    np.testing.assert_allclose(parts.scores, whole.scores, atol=1e-3)
    assert parts.coverage == pytest.approx(whole.coverage)


def test_odds_are_a_softmax_against_the_opening() -> None:
    np.testing.assert_allclose(odds(np.array([[0.0, np.log(3.0)]], np.float32)), [[0.5, 0.75]])
    assert np.isfinite(odds(np.array([[-1e9, 1e9]], np.float32))).all()


def test_what_does_not_vary_is_nothing() -> None:
    np.testing.assert_array_equal(standardised(np.full((2, 5), 3.0, np.float32)), np.zeros((2, 5)))
    assert contrast(np.zeros((3, 1), np.float32), np.zeros(1, np.int32)).scores.tolist() == [0.0]
    assert len(contrast(np.zeros((3, 0), np.float32), np.zeros(0, np.int32)).scores) == 0


@pytest.mark.parametrize("value", [0.3, 12.0, 3e-5])
def test_the_last_digits_are_no_difference(value: float) -> None:
    nearly = np.full((1, 19), value, np.float32)
    nearly[0, 7] = np.nextafter(np.float32(value), np.float32(99))
    np.testing.assert_array_equal(standardised(nearly), np.zeros((1, 19)))


def test_a_sentence_that_holds_all_that_is_asked_covers_it() -> None:
    rows = np.full((3, 60), -9.0, np.float32)
    documents = np.arange(60, dtype=np.int32)
    rows[:, 20] = 3.0
    assert contrast(rows, documents).coverage == pytest.approx(1.0, abs=1e-4)


def test_what_lies_apart_is_covered_in_part() -> None:
    rows = np.full((4, 60), -9.0, np.float32)
    documents = np.arange(60, dtype=np.int32)
    rows[0, 5] = rows[1, 5] = rows[2, 30] = rows[3, 50] = 3.0
    assert contrast(rows, documents).coverage == pytest.approx(0.5, abs=0.02)


def test_where_nothing_stands_out_looking_on_would_not_help() -> None:
    assert contrast(np.zeros((3, 9), np.float32), np.zeros(9, np.int32)).coverage == 1.0
    assert contrast(np.zeros((3, 0), np.float32), np.zeros(0, np.int32)).coverage == 1.0
