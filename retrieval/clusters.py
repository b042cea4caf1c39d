"""Groups of like sentences, and which of a group's sentences speak best for it."""

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits


def cluster(vectors: NDArray[np.float32], count: int, seed: int = 0) -> NDArray[np.int64]:
    """A label in 0..count-1 for each vector [n, dimension]; deterministic for a seed.

    On unit vectors k-means is spherical up to its centroids' lengths.
    """
    count = min(count, len(np.unique(vectors, axis=0)))
    if count <= 1:
        return np.zeros(len(vectors), dtype=np.int64)
    model = KMeans(n_clusters=count, n_init=2, max_iter=50, random_state=seed)
    with threadpool_limits(1):  # its own thread pool beside torch's would spin
        labels: NDArray[np.int64] = model.fit_predict(vectors).astype(np.int64)
    return labels


def condense(
    vectors: NDArray[np.float32],
    weights: NDArray[np.float32],
    costs: NDArray[np.int32],
    budget: int,
) -> Sequence[int]:
    """Rows that cover the weighted rest best for their cost: budgeted facility location.

    Maximises sum_i weights[i] * max_j in chosen cos(i, j) by lazy greedy on gain per token (Lin &
    Bilmes 2011); negative cosines count as 0. `costs` and `budget` are tokens. Returns rows in the
    order they were chosen.
    """
    likeness = np.clip(vectors @ vectors.T, 0.0, None)
    covered = np.zeros(len(vectors), dtype=np.float32)
    chosen: list[int] = []
    heap = [(-np.inf, row) for row in range(len(vectors)) if costs[row] <= budget]
    while heap:
        _, row = heapq.heappop(heap)
        if costs[row] > budget:
            continue
        gain = float(weights @ np.maximum(likeness[row] - covered, 0.0)) / max(1, int(costs[row]))
        if heap and -heap[0][0] > gain:  # the bound was stale: put it back where it belongs
            heapq.heappush(heap, (-gain, row))
            continue
        if gain <= 0.0:
            break
        chosen.append(row)
        budget -= int(costs[row])
        covered = np.maximum(covered, likeness[row])
    return chosen
