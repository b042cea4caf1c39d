"""Mean and deviation of values that come in parts and are not kept."""

import numpy as np
from numpy.typing import NDArray


class RunningMoments:
    """Of each of `rows` rows, over all columns added so far (Chan, Golub & LeVeque 1979)."""

    def __init__(self, rows: int) -> None:
        self.count = 0
        self._mean = np.zeros((rows, 1))
        self._squares = np.zeros((rows, 1))  # summed squared distance from the mean
        self.most = np.full((rows, 1), -np.inf, np.float32)  # the largest of each row

    def add(self, values: NDArray[np.float32]) -> None:
        """Takes columns [rows, n] in."""
        count = values.shape[1]
        if not count:
            return
        mean = values.mean(axis=1, keepdims=True, dtype=np.float64)
        squares = np.square(values - mean).sum(axis=1, keepdims=True)
        apart = mean - self._mean
        total = self.count + count
        self.most = np.maximum(self.most, values.max(axis=1, keepdims=True))
        self._squares += squares + np.square(apart) * self.count * count / total
        self._mean += apart * count / total
        self.count = total

    def standardised(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values [rows, n] less the mean, in deviations; a row that does not vary is 0."""
        deviation = np.sqrt(self._squares / max(1, self.count))
        centred = values - self._mean
        result = np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 1e-12)
        return result.astype(np.float32)
