"""Groups of like sentences, and which of a group's sentences speak best for it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from retrieval.extract import FacilityLocation, choose


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
    """Rows that cover the weighted rest best for their cost (`extract.FacilityLocation`), in the order
    they are chosen. `costs` and `budget` are tokens.
    """
    return choose(FacilityLocation(vectors, weights), costs, budget)
