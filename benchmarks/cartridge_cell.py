"""One cell of the grid: a corpus, a seed and a length, and every way to make a prefix of it."""

import random
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch

from benchmarks.prefix_rows import (
    Losses,
    answers_right,
    losses,
    losses_each,
    retriever,
    teacher_losses,
)
from benchmarks.study_corpora import PeoplesQuestion, StudyCorpus
from cartridges.build import BuildSettings
from cartridges.conversations import Conversation
from cartridges.curriculum import Curriculum
from cartridges.distil import distil
from cartridges.general import general_lessons, load_questions
from cartridges.lessons import Lesson, read_lessons
from cartridges.match import MatchSettings, match_prefix, truncate_prefix
from cartridges.references import collect_references
from cartridges.split import Split, split
from engine.answer_row import GenerationRequest
from engine.embedding import Embedder
from engine.generation import generate_text
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.prompts import Prompter
from engine.sampling import SamplingParams

CHUNK = 16  # rows of one sampled chunk
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """A corpus read and studied under one seed: what its prefixes are made from and judged by."""

    model: LanguageModel
    embedder: Embedder
    corpus: StudyCorpus
    seed: int
    context: KVPrefix
    parts: Split
    people: tuple[Lesson, ...]
    settings: BuildSettings
    seconds: dict[str, float]

    @property
    def train(self) -> tuple[Lesson, ...]:
        return self.parts.train

    @property
    def held_out(self) -> tuple[Lesson, ...]:
        return self.parts.held_out

    @property
    def asked(self) -> tuple[PeoplesQuestion, ...]:
        return self.corpus.questions


def finish(work: Generator[object, None, T]) -> T:
    """Works to the end and returns what it comes to."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result


def study(
    model: LanguageModel,
    embedder: Embedder,
    corpus: StudyCorpus,
    seed: int,
    settings: BuildSettings,
    work: Path,
) -> Study:
    """Reads and studies; what was studied under the same recipe before is taken from `work`."""
    work.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    context = model.prefill(Prompter(model).context_ids(corpus.sentences))
    read = time.perf_counter()
    everything = range(len(corpus.sentences))
    lessons = finish(
        Curriculum(model, corpus.sentences, work, settings.study, everything).lessons(context)
    )
    studied = time.perf_counter()
    random.Random(seed).shuffle(lessons)
    parts = split(lessons, settings.held_out, settings.least_held_out)
    people = peoples_lessons(model, corpus.questions, context)
    seconds = {"prefill": read - began, "study": studied - read}
    return Study(
        model, embedder, corpus, seed, context, parts, tuple(people),
        settings, seconds,
    )  # fmt: skip


def peoples_lessons(
    model: LanguageModel, questions: Sequence[PeoplesQuestion], context: KVPrefix
) -> list[Lesson]:
    """People's questions and their answers as lessons of the teacher."""
    asked = [Conversation(0, one.question, one.answer) for one in questions]
    return finish(read_lessons(model, asked, context))


def matched(study: Study, lessons: Sequence[Lesson], length: int, how: MatchSettings) -> KVPrefix:
    """The start that is fitted to what some lessons ask of the context."""
    turns = [lesson.turn for lesson in lessons]
    references = finish(collect_references(study.model, study.context, turns, how.queries))
    return finish(match_prefix(study.context, references, length, how))


class Cell:
    """Rows of one length; every row is a mapping ready to be written."""

    def __init__(self, study: Study, length: int) -> None:
        self.study, self.length = study, length
        self.made: dict[str, KVPrefix] = {}  # distilled last, by the start
        self._prompter = Prompter(study.model)

    def rows(self, runs: Sequence[tuple[str, int]]) -> Iterator[dict[str, object]]:
        """Untrained prefixes, the closed form, and distillations from a start in so many steps."""
        study, p = self.study, self.length
        yield self._row("none", None, answers=True)
        yield self._row("full", study.context, answers=True)
        yield from self._texts()
        starts = {
            "truncate": truncate_prefix(study.context, p),
            "random": self.noise(),
            "chunks": self.chunks(),
        }
        for name, prefix in starts.items():
            yield self._row(name, prefix)
        began = time.perf_counter()
        settings = replace(study.settings.match, seed=study.seed)
        turns = [lesson.turn for lesson in study.train]
        references = finish(
            collect_references(study.model, study.context, turns, settings.queries, study.seed)
        )
        collected = time.perf_counter() - began
        for name, how in (("match", settings.closed_form()), ("match, refined", settings)):
            began = time.perf_counter()
            prefix = finish(match_prefix(study.context, references, p, how))
            took = collected + time.perf_counter() - began
            starts[name] = prefix
            yield self._row(name, prefix, took, answers=True)
        for name, steps in runs:
            yield self._distil(name, starts[name], steps)

    def _distil(self, name: str, start: KVPrefix, steps: int) -> dict[str, object]:
        """One run to its end, with the schedule of its length."""
        study = self.study
        settings = replace(study.settings.distil, steps=steps, patience=0, seed=study.seed)
        general = general_lessons(study.model, load_questions()[: settings.general_count])
        began = time.perf_counter()
        prefix = finish(
            distil(study.model, start, study.train, study.parts.judges, settings, general=general)
        )
        took = time.perf_counter() - began
        self.made[name] = prefix
        return self._row(f"distil {steps} from {name}", prefix, took, answers=steps >= 300)

    def noise(self) -> KVPrefix:
        """Noise of each head's mean and spread behind the true first row, the sink."""
        chance = torch.Generator().manual_seed(self.study.seed)
        parts = []
        for whole in (self.study.context.keys, self.study.context.values):
            noise = torch.randn(*whole.shape[:2], self.length, whole.shape[3], generator=chance)
            spread = whole.std(dim=2, keepdim=True), whole.mean(dim=2, keepdim=True)
            rows = noise.to(whole) * spread[0] + spread[1]
            rows[:, :, :1] = whole[:, :, :1]
            parts.append(rows)
        return KVPrefix(parts[0], parts[1], self.study.context.query_offset)

    def chunks(self) -> KVPrefix:
        """Rows of chunks sampled over the whole text, behind the template's first (Diaz 2025)."""
        context, chance = self.study.context, random.Random(self.study.seed)
        places = list(range(4, context.length - CHUNK, CHUNK))
        wanted = -(-(self.length - 4) // CHUNK)
        rows = [0, 1, 2, 3]
        for start in sorted(chance.sample(places, min(wanted, len(places)))):
            rows += range(start, start + CHUNK)
        kept = torch.tensor(rows[: self.length])
        return KVPrefix(context.keys[:, :, kept], context.values[:, :, kept], context.query_offset)

    def _texts(self) -> Iterator[dict[str, object]]:
        """Text of as many tokens in place of a trained prefix: a summary, and what is retrieved."""
        study, prompter = self.study, self._prompter
        asked = f"Summarise the text in {self.length // 2} words, with all names and numbers."
        request = GenerationRequest(
            "summary", tuple(prompter.question_ids(asked)), study.context,
            SamplingParams(max_tokens=self.length),
        )  # fmt: skip
        (summary,) = generate_text(study.model, [request], 1)
        yield self._row(
            "summary", study.model.prefill(prompter.context_ids([summary])), answers=True
        )
        retrieved = retriever(study.model, study.embedder, study.corpus.sentences, self.length)
        yield self._row_for("retrieved", retrieved)

    def _row(
        self, name: str, prefix: KVPrefix | None, seconds: float = 0.0, answers: bool = False
    ) -> dict[str, object]:
        study = self.study
        row = self._about(name, seconds)
        for key, lessons in self._sets().items():
            if name == "full":
                found = teacher_losses(study.model, lessons)
            else:
                found = losses(study.model, lessons, prefix)
            row[key] = _listed(found)
        if answers:
            row["answers"] = answers_right(study.model, study.asked, lambda asked: prefix)
        return row

    def _row_for(self, name: str, prefix_for: Callable[[str], KVPrefix]) -> dict[str, object]:
        study = self.study
        row = self._about(name, 0.0)
        for key, lessons in self._sets().items():
            found = losses_each(
                study.model, lessons, lambda lesson: prefix_for(lesson.conversation.question)
            )
            row[key] = _listed(found)
        row["answers"] = answers_right(
            study.model, study.asked, lambda asked: prefix_for(asked.question)
        )
        return row

    def _sets(self) -> dict[str, tuple[Lesson, ...]]:
        return {"held_out": self.study.held_out, "people": self.study.people}

    def _about(self, name: str, seconds: float) -> dict[str, object]:
        study = self.study
        return {
            "corpus": study.corpus.name,
            "seed": study.seed,
            "p": self.length,
            "row": name,
            "context_tokens": study.context.length,
            "seconds": seconds,
            "device": str(study.model.device),
            "train": len(study.train),
        }


def _listed(found: Sequence[Losses]) -> list[list[float]]:
    return [[round(loss.kl, 4), round(loss.nll, 4), loss.tokens] for loss in found]
