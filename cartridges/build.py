"""Text to cartridge, read top to bottom: study, filter, start, distil, measure.

Every stage leaves what it made in the work folder, so a build that was killed goes on where it was.
"""

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from cartridges.checkpoint import Checkpoint
from cartridges.conversations import (
    Conversation,
    append_conversations,
    distinct,
    read_conversations,
)
from cartridges.distil import DistilSettings, distil, mean_kl
from cartridges.lessons import Lesson, load_lessons, read_lessons, save_lessons
from cartridges.manifest import CartridgeError
from cartridges.match import MatchSettings, match_prefix
from cartridges.progress import relay
from cartridges.self_study import StudySettings, choose_sentences, converse, recitations
from engine.model import LanguageModel
from engine.prefix import KVPrefix, load_prefix, save_prefix
from engine.prompts import Prompter

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """One cartridge's recipe. `prefix_tokens` 0 takes an eighth of the context, 16 at least."""

    prefix_tokens: int = 0
    study: StudySettings = field(default_factory=StudySettings)
    match: MatchSettings = field(default_factory=MatchSettings)
    distil: DistilSettings = field(default_factory=DistilSettings)
    held_out: float = 0.15
    seconds: float = 0.0  # wall-clock budget: distillation ends at it; 0 has no end
    least_held_out: int = 4

    def length_for(self, context: int) -> int:
        return min(context, self.prefix_tokens or max(16, round(context / 8)))


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build is doing. `share` is of the whole build, 0..1; metrics are the latest values."""

    stage: str
    share: float
    message: str
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """A finished prefix with what was measured of it."""

    prefix: KVPrefix
    metrics: dict[str, float]


def recovered_share(kl: float, none: float) -> float:
    """How much of the gap between no context and full context is closed: 1 - KL / KL without context.

    Where the context changes nothing there is nothing to recover, and all of it is there.
    """
    return 1.0 - kl / none if none > 0.0 else 1.0


# Where each stage begins and ends in the progress of a whole build.
_STAGES = {
    "study": (0.0, 0.3),
    "read": (0.3, 0.5),
    "quote": (0.5, 0.55),
    "match": (0.55, 0.65),
    "distil": (0.65, 1.0),
}


class CartridgeBuilder:
    """Builds one cartridge in `work`; `build` yields reports and returns the result."""

    def __init__(
        self,
        model: LanguageModel,
        sentences: Sequence[str],
        work: Path,
        settings: BuildSettings,
    ) -> None:
        self.model, self.sentences, self.work, self.settings = model, sentences, work, settings
        self.prompter = Prompter(model)
        self._began = time.monotonic()
        work.mkdir(parents=True, exist_ok=True)

    def build(self) -> Generator[BuildReport, None, Built]:
        """Closing the generator stops the work and keeps its traces.

        Raises:
            CartridgeError: CARTRIDGE_CORPUS_TOO_SMALL where no conversation can be made of the text.
        """
        self._began = time.monotonic()
        yield self._report("study", 0.0, "reading the corpus")
        context = self.model.prefill(self.prompter.context_ids(self.sentences))
        lessons = yield from self._lessons(context)
        train, held_out = self._split(lessons)
        start = yield from self._start(context, train)
        prefix = yield from self._distil(start, train, held_out)
        metrics = self._measure(prefix, start, held_out) | {
            "conversations": float(len(lessons)),
            "context_tokens": float(context.length),
            "compression": context.length / prefix.length,
            "build_seconds": time.monotonic() - self._began,
        }
        yield self._report("distil", 1.0, "built", metrics)
        return Built(prefix, metrics)

    def _lessons(self, context: KVPrefix) -> Generator[BuildReport, None, list[Lesson]]:
        """Conversations that the corpus explains; where self-study yields few, quotations too."""
        stored = load_lessons(self.work, self.model)
        if stored is not None:
            return stored
        settings = self.settings.study
        found = yield from self._study()
        lessons = yield from self._read("read", found, context)
        kept = [x for x in lessons if x.conversation.gain >= settings.gain]
        wanted = settings.count_for(len(self.sentences))
        if len(kept) < max(8, wanted // 4):
            quoted = recitations(self.sentences, wanted - len(kept), settings.seed)
            kept += yield from self._read("quote", quoted, context)
        if not kept:
            raise CartridgeError(
                "CARTRIDGE_CORPUS_TOO_SMALL",
                "the corpus holds nothing to learn: no sentence of six words, and nothing that the "
                "model could ask about",
            )
        save_lessons(self.work, kept)
        return kept

    def _study(self) -> Generator[BuildReport, None, list[Conversation]]:
        """Self-study, written as it goes; a line in `batches` says that its batch is whole."""
        raw, marks = self.work / "conversations.jsonl", self.work / "batches"
        settings = self.settings.study
        wanted = settings.count_for(len(self.sentences))
        chosen = choose_sentences(self.sentences, wanted, settings.seed)
        done = marks.stat().st_size if marks.exists() else 0
        began, first = time.monotonic(), done
        total = math.ceil(len(chosen) / settings.batch)
        studying = converse(self.model, self.sentences, chosen, settings, done)
        for batch in studying if done < total else ():
            append_conversations(raw, batch)
            with marks.open("a") as file:
                file.write(".")
            done += 1
            pace = (time.monotonic() - began) / (done - first)
            metrics = {"seconds_left": pace * (total - done)}
            yield self._report("study", done / total, "self-study", metrics)
        return distinct(read_conversations(raw))

    def _read(
        self, stage: str, conversations: Sequence[Conversation], context: KVPrefix
    ) -> Generator[BuildReport, None, list[Lesson]]:
        if not conversations:
            return []
        reading = read_lessons(self.model, conversations, context)
        lessons = yield from self._progress(stage, "the teacher reads", reading)
        return lessons

    def _split(self, lessons: Sequence[Lesson]) -> tuple[list[Lesson], list[Lesson]]:
        """Every n-th conversation is held out; they come in seeded order already."""
        wanted = max(self.settings.least_held_out, round(len(lessons) * self.settings.held_out))
        every = max(2, len(lessons) // wanted)
        held_out = [lesson for i, lesson in enumerate(lessons) if i % every == every - 1]
        train = [lesson for i, lesson in enumerate(lessons) if i % every != every - 1]
        return train, held_out or train[:1]

    def _start(
        self, context: KVPrefix, train: Sequence[Lesson]
    ) -> Generator[BuildReport, None, KVPrefix]:
        path = self.work / "start.safetensors"
        if path.exists():
            return load_prefix(path).to(self.model.device, self.model.dtype)
        length = self.settings.length_for(context.length)
        turns = [lesson.turn for lesson in train]
        steps = match_prefix(self.model, context, turns, length, self.settings.match)
        start = yield from self._progress("match", "closed-form start", steps)
        staging = path.with_suffix(".staging")
        save_prefix(start, staging)
        staging.replace(path)
        return start

    def _distil(
        self, start: KVPrefix, train: list[Lesson], held_out: list[Lesson]
    ) -> Generator[BuildReport, None, KVPrefix]:
        if self.settings.distil.steps == 0:
            return start
        path = self.work / "checkpoint.safetensors"
        resumed = Checkpoint.load(path, self.model.device)
        none, steps = mean_kl(self.model, held_out, None), self.settings.distil.steps
        recovered = recovered_share(mean_kl(self.model, held_out, start), none)
        began, first, tokens = time.monotonic(), resumed.step if resumed else 0, 0
        training = distil(
            self.model, start, train, held_out, self.settings.distil, resumed, self._is_over
        )
        try:
            while True:
                report, checkpoint = next(training)
                if report.held_out is not None:
                    recovered = recovered_share(checkpoint.best_kl, none)
                    checkpoint.save(path)
                tokens += report.tokens
                pace = (time.monotonic() - began) / (report.step - first)
                metrics = {
                    "step": float(report.step),
                    "steps": float(steps),
                    "loss": report.loss,
                    "recovered": recovered,
                    "tokens_per_second": tokens / (time.monotonic() - began),
                    "seconds_left": pace * (steps - report.step),
                }
                yield self._report("distil", report.step / steps, "distilling", metrics)
        except StopIteration as end:
            best: KVPrefix = end.value
            return best

    def _is_over(self) -> bool:
        spent = time.monotonic() - self._began
        return bool(self.settings.seconds) and spent > self.settings.seconds

    def _measure(
        self, prefix: KVPrefix, start: KVPrefix, held_out: list[Lesson]
    ) -> dict[str, float]:
        none = mean_kl(self.model, held_out, None)
        return {
            "held_out_kl_none": none,
            "recovered": recovered_share(mean_kl(self.model, held_out, prefix), none),
            "recovered_start": recovered_share(mean_kl(self.model, held_out, start), none),
            "held_out": float(len(held_out)),
        }

    def _progress(
        self, stage: str, message: str, work: Generator[float, None, T]
    ) -> Generator[BuildReport, None, T]:
        result = yield from relay(work, lambda share: self._report(stage, share, message))
        return result

    def _report(
        self, stage: str, share: float, message: str, metrics: dict[str, float] | None = None
    ) -> BuildReport:
        low, high = _STAGES[stage]
        return BuildReport(stage, low + (high - low) * share, message, metrics or {})

    def recipe(self) -> dict[str, object]:
        """The settings as they go into the manifest."""
        return asdict(self.settings)
