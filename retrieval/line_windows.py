"""Lines to windows as they come: what is read together, and which line owns which tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.model import LanguageModel
from retrieval.lines import Line
from retrieval.pooling import Pooling, pool


@dataclass(frozen=True, slots=True, eq=False)
class LineWindow:
    """Lines that are read together; of an overlong line each part is an entry of its own."""

    lines: list[Line]
    parts: list[list[int]]  # tokens of each entry

    @property
    def ids(self) -> list[int]:
        return [token for part in self.parts for token in part]


class LinePacker:
    """Lines to windows of at most `most` tokens."""

    def __init__(self, model: LanguageModel, most: int) -> None:
        self._model, self._most = model, most
        self._windows = [LineWindow([], [])]
        self._used = 0

    @property
    def num_windows(self) -> int:
        return len(self._windows)

    def add(self, line: Line) -> None:
        ids = self._model.encode(f"{line.text}\n")
        for start in range(0, len(ids), self._most):
            part = ids[start : start + self._most]
            if self._used and self._used + len(part) > self._most:
                self._windows.append(LineWindow([], []))
                self._used = 0
            self._windows[-1].lines.append(line)
            self._windows[-1].parts.append(part)
            self._used += len(part)

    def take_full(self) -> list[LineWindow]:
        """All windows but the one that still fills."""
        full, self._windows = self._windows[:-1], self._windows[-1:]
        return full

    def take_all(self) -> list[LineWindow]:
        every, self._windows, self._used = self._windows, [LineWindow([], [])], 0
        return [window for window in every if window.lines]


def whole_lines(
    owners: Sequence[Line], logits: NDArray[np.float32], pooling: Pooling
) -> tuple[list[Line], NDArray[np.float32]]:
    """Parts of one line become one column [rows, lines] again."""
    starts = [
        i for i, line in enumerate(owners) if i == 0 or line.sentence != owners[i - 1].sentence
    ]
    return [owners[i] for i in starts], pool(pooling, logits, starts)
