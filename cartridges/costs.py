"""What a cartridge cost and when it has paid: seconds over all attempts, tokens read, break-even."""

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cartridges.checkpoint import Checkpoint
from cartridges.coverage import coverage_of
from cartridges.lessons import Lesson
from engine.model import LanguageModel
from engine.plain_file import read_plain
from engine.plain_folder import staged
from engine.prompts import Prompter

EVIDENCE_TOKENS = 128  # what retrieval puts into a prompt, about


class Stopwatch:
    """Seconds that a build has taken, kept in a file so that they go on after a kill."""

    def __init__(self, path: Path) -> None:
        self._path, self._began = path, time.monotonic()
        self._before = 0.0
        with suppress(FileNotFoundError):
            self._before = float(read_plain(path))

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._began

    def keep(self) -> None:
        with staged(self._path, forced=False) as staging:
            staging.write_text(repr(self.seconds))


class Pace:
    """How fast `steps` of training go, the `first` of them done before, and how many there is time for
    until the watch shows `budget` seconds; 0 has no end.
    """

    def __init__(self, watch: Stopwatch, budget: float, steps: int, first: int) -> None:
        self._watch, self._budget, self._steps, self._first = watch, budget, steps, first
        self._began = watch.seconds

    def seconds_a_step(self, step: int) -> float:
        return (self._watch.seconds - self._began) / max(1, step - self._first)

    def steps_in_time(self, step: int) -> int:
        """All steps that there will be, seen from `step` steps done."""
        left = self._budget - self._watch.seconds if self._budget else math.inf
        if left <= 0.0:
            return step
        if step == self._first or math.isinf(left):
            return self._steps
        return min(self._steps, step + math.ceil(left / self.seconds_a_step(step)))


def accounts(
    model: LanguageModel,
    sentences: Sequence[str],
    context: int,
    lessons: Sequence[Lesson],
    trained: Checkpoint | None,
    reading: float,
    seconds: float,
) -> dict[str, float]:
    """What a build of so many seconds cost and how evenly it studied; `reading` are the seconds that the
    whole text took to read.
    """
    coverage = coverage_of([lesson.conversation for lesson in lessons], len(sentences))
    return {
        "conversations": float(len(lessons)),
        "coverage": coverage.times,
        "studied": coverage.studied,
        "coverage_thinnest": coverage.thinnest,
        "context_tokens": float(context),
        "teacher_tokens": float(teacher_tokens(context, lessons)),
        "student_tokens": float(trained.tokens if trained else 0),
        "build_seconds": seconds,
        "reading_seconds": reading,
        "evidence_seconds": evidence_seconds(model, sentences),
    }


def teacher_tokens(context: int, lessons: Sequence[Lesson]) -> int:
    """Tokens that the model read or wrote with nothing learned: the corpus once, and every conversation
    as it was written, read with the corpus and without, and for its queries.
    """
    return context + 4 * sum(lesson.turn.length for lesson in lessons)


def evidence_seconds(model: LanguageModel, sentences: Sequence[str]) -> float:
    """What `EVIDENCE_TOKENS` of the text in a prompt take to read, timed here."""
    began = time.perf_counter()
    model.prefill(Prompter(model).context_ids(sentences)[:EVIDENCE_TOKENS])
    return time.perf_counter() - began


def break_even(metrics: Mapping[str, float]) -> dict[str, float]:
    """Questions after which a build has paid, against putting the whole text into every prompt and
    against putting in `EVIDENCE_TOKENS` of it. What a question and its answer take is the same for all.
    """
    seconds = metrics["build_seconds"]
    return {
        "break_even_full_context": seconds / metrics["reading_seconds"],
        "break_even_retrieval": seconds / metrics["evidence_seconds"],
    }
