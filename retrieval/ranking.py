"""The best of many scores, without sorting all of them."""

import numpy as np
from numpy.typing import NDArray


def rank(scores: NDArray[np.float32], most: int) -> list[int]:
    """Numbers of the best `most`, best first; of equal scores the first ones, in their order."""
    most = min(most, len(scores))
    if most <= 0:
        return []
    if most == len(scores):
        return [int(i) for i in np.argsort(-scores, kind="stable")]
    least = np.partition(scores, len(scores) - most)[len(scores) - most]
    above, level = np.flatnonzero(scores > least), np.flatnonzero(scores == least)
    rows = np.concatenate([above, level[: most - len(above)]])
    rows.sort()
    return [int(i) for i in rows[np.argsort(-scores[rows], kind="stable")]]
