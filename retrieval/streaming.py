"""A text of any length read once, with memory that does not grow, for one question or several.

Each question is read once. Windows are read up to the deepest calibrated layer, and nothing of them is
stored but what the questions' tokens found in each line; the best lines are kept. Questions that come
together share the reading of the text, which is nearly all of the work.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.embedding import Embedder
from engine.heap import give_back
from retrieval.attention_index import AttentionScorer
from retrieval.best_lines import BestLines
from retrieval.contrast import odds
from retrieval.infini_retri import ReadingSettings, Steps, conclude, finished, read_again
from retrieval.line_windows import LinePacker, LineWindow, whole_lines
from retrieval.lines import Findings, Line
from retrieval.second_reading import SecondReading
from retrieval.window_index import read_keys


@dataclass(frozen=True, slots=True)
class StreamingSettings:
    """`batch` windows are read at once, with 0 as many as the device likes; `kept` lines are
    remembered.
    """

    batch: int = 0
    kept: int = 256


class StreamingReader:
    """Reads text that is not registered."""

    def __init__(
        self,
        scorer: AttentionScorer,
        second: SecondReading,
        embedder: Embedder | None = None,
        settings: StreamingSettings | None = None,
    ) -> None:
        self.scorer, self.second = scorer, second
        self.embedder = embedder if scorer.heads.dense else None
        settings = settings or StreamingSettings()
        # On a CPU one window fills the cores, and a batch only outgrows its caches.
        by_device = 8 if scorer.model.device.type == "cuda" else 1
        self.batch, self.kept = settings.batch or by_device, settings.kept

    def read(self, text: Iterable[Line], question: str, settings: ReadingSettings) -> Findings:
        """Evidence from lines of any number, each read once."""
        return self.read_all(text, [question], settings)[0]

    def read_all(
        self, text: Iterable[Line], questions: Sequence[str], settings: ReadingSettings
    ) -> list[Findings]:
        """Evidence for each of the questions, as it would be found for it alone."""
        reading = self.begin(*questions)
        for line in text:
            reading.add(line)
        return [finished(reading.steps(i, settings)) for i in range(len(questions))]

    def begin(self, *questions: str) -> "Reading":
        """A reading that is fed by its caller, at the caller's pace."""
        return Reading(self, questions)


class Reading:
    """Some questions' way through one text. `add` reads when enough lines have come."""

    def __init__(self, reader: StreamingReader, questions: Sequence[str]) -> None:
        self._reader, self._questions = reader, questions
        scorer, embedder = reader.scorer, reader.embedder
        self._asked = [scorer.ask(question) for question in questions]
        self._vectors = embedder.embed(questions) if embedder else None
        self._waiting = LinePacker(scorer.model, scorer.window)
        self.best = [
            BestLines(sum(len(one.rows) for one in asked), scorer.heads.dense, reader.kept)
            for asked in self._asked
        ]
        self.num_lines = 0
        self.num_tokens = 0

    def add(self, line: Line) -> bool:
        """Takes a line; True where it made a batch full, which has then been read."""
        self._waiting.add(line)
        if self._waiting.num_windows <= self._reader.batch:
            return False
        self._read_windows(self._waiting.take_full())
        return True

    def steps(self, number: int, settings: ReadingSettings) -> Steps:
        """Reads what waits and then, where need be, one question's best lines again, in bounded
        pieces.
        """
        yield from self._read_rest()
        best = self.best[number]
        best.finish()
        if not best.kept.lines:
            return Findings()
        lines, scores, coverage = best.ranked(settings.ranked)
        second = self._reader.second
        rereading = second.begin(self._questions[number])
        effort = settings.effort(coverage, most_rounds=1)  # the text is gone: no second search
        scores = yield from read_again(rereading, lines, scores, effort, settings)
        return conclude(lines, scores, [second.cost(line) for line in lines], settings, effort)

    def _read_rest(self) -> Iterable[None]:
        rest, size = self._waiting.take_all(), self._reader.batch
        for start in range(0, len(rest), size):
            self._read_windows(rest[start : start + size])
            yield

    def _read_windows(self, windows: Sequence[LineWindow]) -> None:
        scorer = self._reader.scorer
        keys = read_keys(scorer.model, scorer.heads, [window.ids for window in windows])
        counts = np.array([len(part) for window in windows for part in window.parts], np.int32)
        owners = [line for window in windows for line in window.lines]
        cosines: list[NDArray[np.float32]] | None = None
        for number, asked in enumerate(self._asked):
            logits = scorer.pooled_logits(asked, keys, counts)
            whole, pooled = whole_lines(owners, logits, scorer.heads.pooling)
            cosines = cosines or self._cosines(whole)
            self.best[number].add(whole, odds(pooled), cosines[number])
        self.num_lines += len({line.sentence for line in owners})
        self.num_tokens += int(counts.sum())
        give_back()  # else the process grows with the text

    def _cosines(self, lines: Sequence[Line]) -> list[NDArray[np.float32]]:
        """Of each question with each line."""
        if self._reader.embedder is None or self._vectors is None:
            return [np.zeros(len(lines), np.float32) for _ in self._questions]
        vectors = self._reader.embedder.embed([line.text for line in lines])
        return list(self._vectors @ vectors.T)
