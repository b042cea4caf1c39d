"""Text to cartridge, read top to bottom: study, start, distil, measure.

Every stage leaves what it made in the work folder, so a build that was killed goes on where it was.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from cartridges.checkpoint import Checkpoint
from cartridges.conversations import Studied
from cartridges.costs import Pace, Stopwatch, accounts, break_even
from cartridges.curriculum import Curriculum
from cartridges.distil import DistilSettings, distil
from cartridges.general import general_lessons, load_questions
from cartridges.int8 import rounded
from cartridges.lessons import Lesson
from cartridges.match import MatchSettings, truncate_prefix
from cartridges.progress import StageReport, relay
from cartridges.quality import Yardstick, mean_kl, measure
from cartridges.refresh import Base, balanced
from cartridges.seeds import passage
from cartridges.self_study import StudySettings
from cartridges.split import split
from cartridges.start import Starter
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.prompts import Prompter

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """One cartridge's recipe. `prefix_tokens` 0 reads the length off what several of them recover.

    Eight bits are taken where they cost at most `int8_loss` of the recovered share.
    """

    prefix_tokens: int = 0
    study: StudySettings = field(default_factory=StudySettings)
    match: MatchSettings = field(default_factory=MatchSettings)
    distil: DistilSettings = field(default_factory=DistilSettings)
    held_out: float = 0.15
    least_held_out: int = 4
    int8_loss: float = 0.01
    refresh_steps: float = 1 / 2  # of the distillation where an earlier cartridge is the start
    refresh_rate: float = 2 / 3  # of its rate
    seconds: float = 0.0  # wall-clock budget: distillation is over by then; 0 has no end


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build is doing. `share` is of the whole build, 0..1; metrics are the latest values."""

    stage: str
    share: float
    message: str
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """A finished prefix with what was measured of it, and the lessons that it was made from."""

    prefix: KVPrefix
    metrics: dict[str, float]
    curves: dict[str, tuple[float, ...]]
    in_int8: bool
    train: tuple[Lesson, ...]
    held_out: tuple[Lesson, ...]

    def studied(self, sentences: Sequence[str]) -> tuple[Studied, ...]:
        """What it was made from and measured by, as a refresh reads it; `sentences` are its text."""
        return tuple(
            Studied(talk, passage(talk.kind, sentences, talk.sentence), is_held_out)
            for lessons, is_held_out in ((self.train, False), (self.held_out, True))
            for talk in (lesson.conversation for lesson in lessons)
        )


# Where each stage begins and ends in the progress of a whole build.
_STAGES = {
    "study": (0.0, 0.3),
    "read": (0.3, 0.45),
    "match": (0.45, 0.65),
    "distil": (0.65, 1.0),
}


class CartridgeBuilder:
    """Builds one prefix in `work`; `build` yields reports and returns the result."""

    def __init__(
        self,
        model: LanguageModel,
        sentences: Sequence[str],
        work: Path,
        settings: BuildSettings,
        base: Base | None = None,
    ) -> None:
        self.model, self.sentences, self.work, self.settings = model, sentences, work, settings
        self.base, self.prompter = base, Prompter(model)
        work.mkdir(parents=True, exist_ok=True)
        self._watch = Stopwatch(work / "seconds")

    def build(self) -> Generator[BuildReport, None, Built]:
        """Closing the generator stops the work and keeps its traces.

        Raises:
            CartridgeError: CARTRIDGE_CORPUS_TOO_SMALL where no conversation can be made of the text.
        """
        yield self._report(StageReport("study", 0.0, "reading the corpus"))
        began = self._watch.seconds
        context = self.model.prefill(self.prompter.context_ids(self.sentences))
        reading = self._watch.seconds - began
        curriculum = self._curriculum()
        lessons = yield from self._staged(curriculum.lessons(context))
        taught = self.base.taught if self.base else ()
        parts = split(lessons, self.settings.held_out, self.settings.least_held_out, taught)
        scale = Yardstick.of(self.model, parts.held_out)
        judges = Yardstick.of(self.model, parts.judges)
        start, sizes = yield from self._staged(self._starter(context, judges).start(parts.train))
        train = balanced(parts.train, self.base.changed) if self.base else parts.train
        prefix, trained = yield from self._distil(start, train, judges)
        metrics, in_int8 = self._measure(prefix, start, context, scale)
        metrics |= accounts(
            self.model, self.sentences, context.length, lessons, trained, reading,
            self._watch.seconds,
        )  # fmt: skip
        metrics |= break_even(metrics) | curriculum.account(lessons)
        metrics["compression"] = context.length / prefix.length
        yield self._report(StageReport("distil", 1.0, "built", metrics))
        curves = sizes | (_curves(trained, judges) if trained else {})
        return Built(prefix, metrics, curves, in_int8, parts.train, parts.held_out)

    def _curriculum(self) -> Curriculum:
        about = self.base.changed if self.base else range(len(self.sentences))
        known = self.base.known if self.base else ()
        return Curriculum(self.model, self.sentences, self.work, self.settings.study, about, known)

    def _starter(self, context: KVPrefix, scale: Yardstick) -> Starter:
        settings = self.settings
        old = self.base.prefix if self.base else None
        return Starter(
            self.model, context, self.work, settings.match, scale, settings.prefix_tokens, old
        )

    def _distil(
        self, start: KVPrefix, train: Sequence[Lesson], judges: Yardstick
    ) -> Generator[BuildReport, None, tuple[KVPrefix, Checkpoint | None]]:
        settings, path = self._distil_settings(), self.work / "checkpoint.safetensors"
        last = Checkpoint.load(path, self.model.device)
        if settings.steps == 0:
            return start, None
        pace = Pace(self._watch, self.settings.seconds, settings.steps, last.step if last else 0)
        training = distil(
            self.model, start, train, judges.lessons, settings, last,
            pace.steps_in_time,
            general_lessons(self.model, load_questions()[: settings.general_count]),
        )  # fmt: skip
        try:
            while True:
                report, last = next(training)
                if report.held_out is not None:
                    last.save(path)
                taken, steps = pace.seconds_a_step(report.step), pace.steps_in_time(report.step)
                metrics = {
                    "step": float(report.step),
                    "steps": float(steps),
                    "loss": report.loss,
                    "recovered": judges.recovered(last.best_kl),
                    "tokens_per_second": report.tokens / taken if taken else 0.0,
                    "seconds_left": taken * (steps - report.step),
                }
                yield self._report(
                    StageReport("distil", report.step / steps, "distilling", metrics)
                )
        except StopIteration as end:
            best: KVPrefix = end.value
            return best, last

    def _distil_settings(self) -> DistilSettings:
        whole = self.settings.distil
        if not self.base:
            return whole
        return replace(
            whole,
            steps=math.ceil(whole.steps * self.settings.refresh_steps),
            rate=whole.rate * self.settings.refresh_rate,
        )

    def _measure(
        self, prefix: KVPrefix, start: KVPrefix, context: KVPrefix, scale: Yardstick
    ) -> tuple[dict[str, float], bool]:
        """What every rung of the ladder recovers, and whether the prefix may be kept in eight bits."""

        def recovered(one: KVPrefix) -> float:
            return scale.recovered(mean_kl(self.model, scale.lessons, one))

        quality, small = measure(self.model, scale.lessons, prefix), recovered(rounded(prefix))
        whole = scale.recovered(quality.kl)
        metrics = {
            "held_out": float(len(scale.lessons)),
            "held_out_kl_none": scale.none.kl,
            "recovered_truncate": recovered(truncate_prefix(context, prefix.length)),
            "recovered_start": recovered(start),
            "recovered": whole,
            "recovered_nll": scale.recovered_nll(quality),
            "recovered_int8": small,
        }
        return metrics, whole - small <= self.settings.int8_loss

    def _staged(self, work: Generator[StageReport, None, T]) -> Generator[BuildReport, None, T]:
        result = yield from relay(work, self._report)
        return result

    def _report(self, report: StageReport) -> BuildReport:
        self._watch.keep()
        low, high = _STAGES[report.stage]
        share = low + (high - low) * report.share
        return BuildReport(report.stage, share, report.message, report.metrics)

    def recipe(self) -> dict[str, object]:
        """The settings as they go into the manifest."""
        return asdict(self.settings)


def _curves(trained: Checkpoint, scale: Yardstick) -> dict[str, tuple[float, ...]]:
    """Training loss of every step, and what was recovered at every measurement."""
    measured = trained.measured()
    return {
        "loss": trained.losses(),
        "measured_at": tuple(float(step) for step, _ in measured),
        "recovered": tuple(scale.recovered(kl) for _, kl in measured),
    }
