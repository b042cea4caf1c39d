"""A text larger than a model reads well, in parts with a cartridge each, chosen by the question.

Passages of an encyclopedia fill 24,000 tokens, 4,096 to a part, and every part gets the service's `fast`
at 38.6 times smaller. People's questions take the part that holds their nearest sentence. `python -m
benchmarks.cartridge_parts --data .work/data --questions FOLDER` goes on with the parts that were built
before, and writes `results/cartridge_parts.json`.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from rich.progress import track

from benchmarks.cartridge_cell import finish, peoples_lessons
from benchmarks.cartridge_figures import LARGER_P
from benchmarks.engine_flags import add_engine_flags, engine_config
from benchmarks.prefix_rows import (
    Losses,
    answers_right,
    interval,
    losses_each,
    recovered,
    retriever,
)
from benchmarks.record import write_result
from benchmarks.study_corpora import PeoplesQuestion, read_natural_questions
from cartridges.build import Built, CartridgeBuilder
from cartridges.effort import Effort, settings_for
from cartridges.lessons import Lesson
from engine.embedding import Embedder
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.prompts import Prompter
from retrieval.sentences import split_sentences
from service.parts import PART_TOKENS

TOKENS = 24_000
ASKED = 12  # questions of each part


@dataclass(frozen=True, slots=True)
class Part:
    """Whole passages, and what people asked about some of them."""

    sentences: tuple[str, ...]
    questions: tuple[PeoplesQuestion, ...]


def read_parts(folder: Path, prompter: Prompter) -> list[Part]:
    """Parts as equal as passages allow."""
    wanted = -(-TOKENS // PART_TOKENS)
    parts: list[Part] = []
    sentences, asked, used = list[str](), list[PeoplesQuestion](), 0
    for text, question in read_natural_questions(folder):
        found = [span.of(text) for span in split_sentences(text)]
        used += sum(len(prompter.line_ids(sentence)) for sentence in found)
        sentences += found
        if any(answer in text.lower() for answer in question.accept):
            asked.append(question)
        if used >= TOKENS / wanted:
            parts.append(Part(tuple(sentences), tuple(asked[:ASKED])))
            sentences, asked, used = [], [], 0
        if len(parts) == wanted:
            break
    return parts


def build(model: LanguageModel, parts: Sequence[Part], work: Path) -> list[Built]:
    settings = replace(settings_for(Effort.FAST), prefix_tokens=LARGER_P)
    return [
        finish(CartridgeBuilder(model, part.sentences, work / f"{i}", settings).build())
        for i, part in enumerate(track(parts, "parts"))
    ]


def choose_part(embedder: Embedder, parts: Sequence[Part], questions: Sequence[str]) -> list[int]:
    """The part that holds each question's nearest sentence."""
    vectors = embedder.embed([sentence for part in parts for sentence in part.sentences])
    owner = [i for i, part in enumerate(parts) for _ in part.sentences]
    return [owner[int((vectors @ embedder.embed_question(q)).argmax())] for q in questions]


@dataclass(frozen=True, slots=True, eq=False)
class Exam:
    """People's questions, read with the part that holds the answer; `none` is what no context loses."""

    model: LanguageModel
    asked: tuple[PeoplesQuestion, ...]
    lessons: tuple[Lesson, ...]
    none: tuple[Losses, ...]

    def row(self, name: str, prefix_for: Callable[[str], KVPrefix | None]) -> dict[str, object]:
        """What a way to find a prefix for a question recovers."""
        found = losses_each(self.model, self.lessons, lambda x: prefix_for(x.conversation.question))
        low, high = interval(found, self.none)
        return {
            "row": name, "questions": len(self.asked),
            "people_recovered": recovered(found, self.none),
            "people_low": low, "people_high": high,
            "answers_right": answers_right(
                self.model, self.asked, lambda asked: prefix_for(asked.question)
            ),
        }  # fmt: skip


def examine(model: LanguageModel, parts: Sequence[Part], contexts: Sequence[KVPrefix]) -> Exam:
    lessons = [
        lesson
        for part, context in zip(track(parts, "teacher"), contexts, strict=True)
        for lesson in peoples_lessons(model, part.questions, context)
    ]
    asked = tuple(question for part in parts for question in part.questions)
    none = losses_each(model, lessons, lambda lesson: None)
    return Exam(model, asked, tuple(lessons), tuple(none))


def measure(
    model: LanguageModel, embedder: Embedder, parts: Sequence[Part], built: Sequence[Built]
) -> tuple[list[dict[str, object]], dict[str, float | None]]:
    """Rows a way to answer; divergences are from the part that holds the answer, read in full."""
    prompter = Prompter(model)
    contexts = [model.prefill(prompter.context_ids(part.sentences)) for part in parts]
    exam = examine(model, parts, contexts)
    own = {q.question: i for i, part in enumerate(parts) for q in part.questions}
    chosen = dict(zip(own, choose_part(embedder, parts, tuple(own)), strict=True))
    whole = [sentence for part in parts for sentence in part.sentences]
    rows = [
        exam.row("none", lambda question: None),
        exam.row("retrieved", retriever(model, embedder, whole, LARGER_P)),
        exam.row("chosen part, read in full", lambda question: contexts[chosen[question]]),
        exam.row("cartridge of the right part", lambda question: built[own[question]].prefix),
        exam.row("cartridge of the chosen part", lambda question: built[chosen[question]].prefix),
    ]
    tokens = sum(context.length for context in contexts)
    return rows, {
        "tokens": float(tokens),
        "parts": float(len(parts)),
        "part_chosen_right": fmean(own[name] == chosen[name] for name in own),
        "heldout_recovered": fmean(one.metrics["recovered"] for one in built),
        "people_recovered": float(str(rows[-1]["people_recovered"])),
        "build_seconds": sum(one.metrics["build_seconds"] for one in built),
        "smaller_on_disk": tokens / sum(one.prefix.length for one in built),
        "smaller_in_memory": tokens / built[0].prefix.length,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.cartridge_parts", description=__doc__)
    add_engine_flags(parser)
    parser.add_argument("--questions", type=Path, required=True, help="folder of the question sets")
    given = parser.parse_args()
    model = LanguageModel.load(engine_config(given))
    parts = read_parts(given.questions, Prompter(model))
    built = build(model, parts, given.data / "bench" / "parts")
    rows, headline = measure(model, Embedder.load(), parts, built)
    print(write_result("cartridge_parts", rows, headline))
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
