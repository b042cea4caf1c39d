"""One logit of a sentence from those of its keys: the best key's, or that of the attention to all."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Pooling = Literal["max", "log_sum_exp"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)


def pool(
    pooling: Pooling, logits: NDArray[np.float32], starts: NDArray[np.int64] | Sequence[int]
) -> NDArray[np.float32]:
    """Logits [R, T] to [R, len(starts)]: one of those between each start and the next."""
    most: NDArray[np.float32] = np.maximum.reduceat(logits, starts, axis=1)
    if pooling == "max":
        return most
    lengths = np.diff(np.append(starts, logits.shape[1]))
    shares = np.exp(logits - np.repeat(most, lengths, axis=1))
    result: NDArray[np.float32] = most + np.log(np.add.reduceat(shares, starts, axis=1))
    return result
