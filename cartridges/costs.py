"""What a cartridge cost and when it has paid: seconds over all attempts, tokens read, break-even."""

import time
from collections.abc import Sequence
from pathlib import Path

from cartridges.checkpoint import Checkpoint
from cartridges.coverage import coverage_of
from cartridges.lessons import Lesson
from engine.model import LanguageModel
from engine.prompts import Prompter

EVIDENCE_TOKENS = 128  # what retrieval puts into a prompt, about


class Stopwatch:
    """Seconds that a build has taken, kept in a file so that they go on after a kill."""

    def __init__(self, path: Path) -> None:
        self._path, self._began = path, time.monotonic()
        self._before = float(path.read_text()) if path.exists() else 0.0

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._began

    def keep(self) -> None:
        staging = self._path.with_suffix(".staging")
        staging.write_text(repr(self.seconds))
        staging.replace(self._path)


def accounts(
    model: LanguageModel,
    sentences: Sequence[str],
    context: int,
    lessons: Sequence[Lesson],
    trained: Checkpoint | None,
    seconds: float,
) -> dict[str, float]:
    """What a build cost, how evenly it studied, and after how many questions it has paid."""
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
        **break_even(model, sentences, seconds),
    }


def teacher_tokens(context: int, lessons: Sequence[Lesson]) -> int:
    """Tokens that the model read or wrote with nothing learned: the corpus once, and every conversation
    as it was written, read with the corpus and without, and for its queries.
    """
    return context + 4 * sum(lesson.turn.length for lesson in lessons)


def break_even(model: LanguageModel, sentences: Sequence[str], seconds: float) -> dict[str, float]:
    """Questions after which a build of so many seconds has paid, against putting the whole text into
    every prompt and against putting in `EVIDENCE_TOKENS` of it. Reading is timed here; what a question
    and its answer take is the same for all.
    """
    prompter = Prompter(model)
    ids = prompter.context_ids(sentences)
    timed = {
        "full_context": _seconds(model, ids),
        "retrieval": _seconds(model, ids[:EVIDENCE_TOKENS]),
    }
    return {f"break_even_{name}": seconds / each for name, each in timed.items()}


def _seconds(model: LanguageModel, ids: Sequence[int]) -> float:
    began = time.perf_counter()
    model.prefill(ids)
    return time.perf_counter() - began
