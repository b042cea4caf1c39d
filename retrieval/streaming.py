"""A text of any length read once, with memory that does not grow: its best lines are kept.

The question is read once. Windows are read several at a time, up to the deepest calibrated layer, and
nothing of them is stored but what the question's tokens found in each line. What sets a line apart is
judged against the lines read so far, so the scores of those kept are brought up to date as it goes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.embedding import Embedder
from engine.prompts import Prompter
from retrieval.attention_index import AttentionScorer
from retrieval.contrast import REACH, combined, neighbourhood, odds
from retrieval.infini_retri import ReadingSettings, conclude
from retrieval.lines import Findings, Line
from retrieval.running import RunningMoments
from retrieval.second_reading import SecondReading
from retrieval.window_index import read_keys


@dataclass(frozen=True, slots=True)
class StreamingSettings:
    """`batch` windows are read at once; `kept` lines are remembered."""

    batch: int = 4
    kept: int = 256


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """Lines with what the question found: `own` and `among` are odds [R, lines], `cosines` [lines]."""

    lines: list[Line]
    own: NDArray[np.float32]
    among: NDArray[np.float32]
    cosines: NDArray[np.float32]

    def take(self, places: NDArray[np.int64]) -> "_Seen":
        return _Seen(
            [self.lines[i] for i in places],
            self.own[:, places],
            self.among[:, places],
            self.cosines[places],
        )


class StreamingReader:
    """Reads text that is not registered."""

    def __init__(
        self,
        scorer: AttentionScorer,
        second: SecondReading,
        embedder: Embedder | None = None,
        settings: StreamingSettings | None = None,
    ) -> None:
        self.scorer, self.second, self.embedder = scorer, second, embedder
        self.settings = settings or StreamingSettings()

    def read(self, text: Iterable[Line], question: str, settings: ReadingSettings) -> Findings:
        """Evidence from lines of any number, each read once."""
        reading = self.begin(question)
        for line in text:
            reading.add(line)
        return reading.finish(settings)

    def begin(self, question: str) -> "Reading":
        """A reading that is fed by its caller, at the caller's pace."""
        return Reading(self, question)


class Reading:
    """One question's way through one text. `add` reads when enough lines have come."""

    def __init__(self, reader: StreamingReader, question: str) -> None:
        self._reader, self._question = reader, question
        self._scorer = reader.scorer
        self._asked = self._scorer.ask(question)
        self._vector = reader.embedder.embed([question])[0] if reader.embedder else None
        self._waiting = _Packer(self._scorer)
        rows = sum(len(one.rows) for one in self._asked)
        self._own, self._among = RunningMoments(rows), RunningMoments(rows)
        self._totals, self._cosines = RunningMoments(1), RunningMoments(1)
        nothing = np.zeros((rows, 0), np.float32)
        self._kept = _Seen([], nothing, nothing, np.zeros(0, np.float32))
        # Lines whose neighbourhood may still grow, behind some that are done.
        self._recent = self._kept
        self._done = 0  # lines at the front of `_recent` that are counted already
        self.num_lines = 0
        self.num_tokens = 0

    def add(self, line: Line) -> bool:
        """Takes a line; True where it made a batch full, which has then been read."""
        self._waiting.add(line)
        if self._waiting.num_windows <= self._reader.settings.batch:
            return False
        self._read_windows(self._waiting.take_full())
        return True

    def finish(self, settings: ReadingSettings) -> Findings:
        """Reads what waits, then the best lines again, together."""
        rest = self._waiting.take_all()
        size = self._reader.settings.batch
        for start in range(0, len(rest), size):
            self._read_windows(rest[start : start + size])
        self._count(self._recent.take(np.arange(self._done, len(self._recent.lines))))
        if not self._kept.lines:
            return Findings()
        order = np.argsort(-self._fused(self._kept), kind="stable")
        # Parts of an overlong line that were read in different batches: its best one speaks for it.
        first: dict[int, int] = {}
        for place in order:
            first.setdefault(self._kept.lines[place].sentence, int(place))
        best = self._kept.take(np.array([*first.values()][: settings.ranked], np.int64))
        return conclude(
            self._reader.second, best.lines, self._fused(best), self._question, settings
        )

    def _read_windows(self, windows: Sequence["_Window"]) -> None:
        scorer = self._scorer
        keys = read_keys(scorer.model, scorer.heads, [window.ids for window in windows])
        counts = np.array([len(part) for window in windows for part in window.parts], np.int32)
        best = scorer.best_logits(self._asked, keys, counts)
        owners = [line for window in windows for line in window.lines]
        lines, best = _whole(owners, best)
        self.num_lines += len(lines)
        self.num_tokens += int(counts.sum())
        self._join(lines, odds(best))

    def _join(self, lines: list[Line], own: NDArray[np.float32]) -> None:
        """Counts the lines whose neighbourhood is complete now."""
        cosines = self._cosines_of(lines)
        recent = self._recent
        lines = [*recent.lines, *lines]
        own = np.concatenate([recent.own, own], axis=1)
        cosines = np.concatenate([recent.cosines, cosines])
        seen = _Seen(lines, own, neighbourhood(own, np.zeros(len(lines), np.int32)), cosines)
        complete = max(self._done, len(lines) - REACH)
        self._count(seen.take(np.arange(self._done, complete)))
        first = max(0, complete - REACH)
        self._recent, self._done = seen.take(np.arange(first, len(lines))), complete - first

    def _count(self, seen: _Seen) -> None:
        """Takes lines into the moments, and keeps the best of them and of those kept."""
        if not seen.lines:
            return
        self._own.add(seen.own)
        self._among.add(seen.among)
        self._cosines.add(seen.cosines[None])
        self._totals.add(self._contrast(seen)[None])
        every = _Seen(
            [*self._kept.lines, *seen.lines],
            np.concatenate([self._kept.own, seen.own], axis=1),
            np.concatenate([self._kept.among, seen.among], axis=1),
            np.concatenate([self._kept.cosines, seen.cosines]),
        )
        best = np.argsort(-self._fused(every), kind="stable")[: self._reader.settings.kept]
        self._kept = every.take(np.sort(best))

    def _contrast(self, seen: _Seen) -> NDArray[np.float32]:
        return combined(self._own.standardised(seen.own), self._among.standardised(seen.among))

    def _fused(self, seen: _Seen) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = self._totals.standardised(self._contrast(seen)[None])[0]
        weight = self._scorer.heads.dense
        if weight and self._vector is not None:
            scores = scores + weight * self._cosines.standardised(seen.cosines[None])[0]
        return scores

    def _cosines_of(self, lines: Sequence[Line]) -> NDArray[np.float32]:
        embedder = self._reader.embedder
        if embedder is None or self._vector is None or not self._scorer.heads.dense:
            return np.zeros(len(lines), np.float32)
        cosines: NDArray[np.float32] = embedder.embed([line.text for line in lines]) @ self._vector
        return cosines


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
    """Lines that are read together; of an overlong line each part is an entry of its own."""

    lines: list[Line]
    parts: list[list[int]]  # tokens of each entry

    @property
    def ids(self) -> list[int]:
        return [token for part in self.parts for token in part]


class _Packer:
    """Lines to windows of at most `most` tokens."""

    def __init__(self, scorer: AttentionScorer) -> None:
        self._most = scorer.window
        self._encode = Prompter(scorer.model).model.encode
        self._windows = [_Window([], [])]
        self._used = 0

    @property
    def num_windows(self) -> int:
        return len(self._windows)

    def add(self, line: Line) -> None:
        ids = self._encode(f"{line.text}\n")
        for start in range(0, len(ids), self._most):
            part = ids[start : start + self._most]
            if self._used and self._used + len(part) > self._most:
                self._windows.append(_Window([], []))
                self._used = 0
            self._windows[-1].lines.append(line)
            self._windows[-1].parts.append(part)
            self._used += len(part)

    def take_full(self) -> list[_Window]:
        """All windows but the one that still fills."""
        full, self._windows = self._windows[:-1], self._windows[-1:]
        return full

    def take_all(self) -> list[_Window]:
        every, self._windows, self._used = self._windows, [_Window([], [])], 0
        return [window for window in every if window.lines]


def _whole(
    owners: Sequence[Line], best: NDArray[np.float32]
) -> tuple[list[Line], NDArray[np.float32]]:
    """Parts of one line become one column again, with the best of them."""
    starts = [
        i for i, line in enumerate(owners) if i == 0 or line.sentence != owners[i - 1].sentence
    ]
    return [owners[i] for i in starts], np.maximum.reduceat(best, starts, axis=1)
