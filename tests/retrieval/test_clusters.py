"""Like sentences meet in one cluster, and the few that are chosen speak for the rest."""

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.clusters import cluster, condense


def unit_rows(seed: int, rows: int, dim: int = 8) -> NDArray[np.float32]:
    made = np.random.default_rng(seed).standard_normal((rows, dim))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def plain_greedy(
    vectors: NDArray[np.float32],
    weights: NDArray[np.float32],
    costs: NDArray[np.int32],
    budget: int,
) -> list[int]:
    """Facility location by the book: every gain anew in every round."""
    likeness = np.maximum(vectors @ vectors.T, 0.0)
    chosen: list[int] = []

    def worth(rows: list[int]) -> float:
        return float(weights @ likeness[rows].max(axis=0)) if rows else 0.0

    while True:
        gains = {
            row: (worth([*chosen, row]) - worth(chosen)) / costs[row]
            for row in range(len(vectors))
            if costs[row] <= budget and row not in chosen
        }
        if not gains or max(gains.values()) <= 1e-6:
            return chosen
        best = max(gains, key=lambda row: gains[row])
        chosen.append(best)
        budget -= int(costs[best])


@pytest.mark.parametrize("seed", range(20))
def test_condensing_is_greedy_facility_location(seed: int) -> None:
    chance = np.random.default_rng(seed)
    vectors = unit_rows(seed, 40)
    weights = chance.uniform(0.1, 1.0, 40).astype(np.float32)
    costs = chance.integers(5, 60, 40).astype(np.int32)

    chosen = list(condense(vectors, weights, costs, 200))

    assert chosen == plain_greedy(vectors, weights, costs, 200)
    assert costs[chosen].sum() <= 200
    assert len(chosen) >= 3


def test_what_covers_nothing_new_is_not_chosen() -> None:
    vectors = np.repeat(np.eye(4, dtype=np.float32)[:2], 5, axis=0)
    chosen = condense(vectors, np.ones(10, np.float32), np.ones(10, np.int32), 10)
    assert sorted(row // 5 for row in chosen) == [0, 1]


def test_a_minority_is_heard() -> None:
    crowd = unit_rows(1, 1) + 0.01 * unit_rows(2, 30)
    few = -unit_rows(1, 1) + 0.01 * unit_rows(3, 3)
    vectors = np.concatenate([crowd, few])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    chosen = condense(vectors, np.ones(33, np.float32), np.full(33, 10, np.int32), 20)

    assert sorted(row >= 30 for row in chosen) == [False, True]


@pytest.mark.parametrize("budget", [0, 4])
def test_nothing_is_chosen_where_nothing_fits(budget: int) -> None:
    vectors = unit_rows(0, 6)
    assert list(condense(vectors, np.ones(6, np.float32), np.full(6, 5, np.int32), budget)) == []


def test_a_heavy_sentence_comes_before_a_light_one() -> None:
    vectors = np.eye(4, dtype=np.float32)
    weights = np.array([0.1, 0.4, 0.2, 0.3], np.float32)
    assert list(condense(vectors, weights, np.ones(4, np.int32), 3)) == [1, 3, 2]


def test_groups_that_lie_apart_get_labels_of_their_own() -> None:
    groups = [np.eye(8)[i] + 0.05 * unit_rows(i, 10) for i in range(3)]
    labels = cluster(np.concatenate(groups).astype(np.float32), 3)
    assert [len(set(labels[i : i + 10])) for i in (0, 10, 20)] == [1, 1, 1]
    assert set(labels) == {0, 1, 2}


def test_duplicates_share_a_label_and_make_no_empty_clusters() -> None:
    vectors = np.repeat(unit_rows(5, 2), 6, axis=0)
    labels = cluster(vectors, 4)
    assert len(set(labels[:6])) == len(set(labels[6:])) == 1
    assert set(labels) == {0, 1}
    assert set(cluster(np.repeat(unit_rows(5, 1), 9, axis=0), 4)) == {0}


def test_labels_follow_from_the_seed_alone() -> None:
    vectors = unit_rows(7, 60)
    first = cluster(vectors, 4, seed=3)
    assert np.array_equal(first, cluster(vectors, 4, seed=3))
    assert set(first) == {0, 1, 2, 3}


def test_no_vectors_have_no_labels() -> None:
    assert len(cluster(np.empty((0, 8), np.float32), 4)) == 0
