"""How good a prefix is on a set of lessons, lesson by lesson, and what it answers."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.study_corpora import PeoplesQuestion
from cartridges.lessons import Lesson, pack_lessons
from cartridges.quality import kl_rows, teacher_logits
from engine.answer_row import GenerationRequest
from engine.embedding import Embedder
from engine.generation import generate_text
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.prompts import Prompter
from engine.sampling import SamplingParams
from engine.scoring import answer_logits

ANSWER_TOKENS = 32
PrefixFor = Callable[[Lesson], KVPrefix | None]


@dataclass(frozen=True, slots=True)
class Losses:
    """Sums over a lesson's answer tokens, in nats: divergence from the teacher, and loss."""

    kl: float
    nll: float
    tokens: int


@torch.inference_mode()
def losses(
    model: LanguageModel, lessons: Sequence[Lesson], prefix: KVPrefix | None
) -> list[Losses]:
    """Of every lesson behind one prefix."""
    found: list[Losses] = []
    for pack in pack_lessons(lessons):
        logits = answer_logits(model, [lesson.turn for lesson in pack], prefix)
        found += _per_lesson(pack, teacher_logits(model, pack), logits)
    return found


def losses_each(
    model: LanguageModel, lessons: Sequence[Lesson], prefix_for: PrefixFor
) -> list[Losses]:
    """Of every lesson behind a prefix of its own."""
    return [loss for lesson in lessons for loss in losses(model, [lesson], prefix_for(lesson))]


@torch.inference_mode()
def teacher_losses(model: LanguageModel, lessons: Sequence[Lesson]) -> list[Losses]:
    """With the full context, whose states the lessons hold."""
    found: list[Losses] = []
    for pack in pack_lessons(lessons):
        logits = teacher_logits(model, pack)
        found += _per_lesson(pack, logits, logits)
    return found


def _per_lesson(
    lessons: Sequence[Lesson], teacher: torch.Tensor, student: torch.Tensor
) -> list[Losses]:
    targets = torch.tensor([i for x in lessons for i in x.turn.answer], device=student.device)
    nll = torch.nn.functional.cross_entropy(student, targets, reduction="none")
    sizes = [len(lesson.turn.answer) for lesson in lessons]
    parts = zip(kl_rows(teacher, student).split(sizes), nll.split(sizes), sizes, strict=True)
    return [Losses(float(kl.sum()), float(loss.sum()), size) for kl, loss, size in parts]


def recovered(row: Sequence[Losses], none: Sequence[Losses]) -> float:
    """1 - KL / KL without context, both over all tokens."""
    return 1.0 - sum(x.kl for x in row) / sum(x.kl for x in none)


def recovered_nll(row: Sequence[Losses], none: Sequence[Losses], full: Sequence[Losses]) -> float:
    """The share of the loss between no context and the full one."""
    low, high, own = (sum(x.nll for x in part) for part in (full, none, row))
    return (high - own) / (high - low) if high > low else 1.0


def interval(
    row: Sequence[Losses], none: Sequence[Losses], samples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of the recovered share; a lesson's two figures are drawn together."""
    chance = random.Random(seed)
    pairs = list(zip(row, none, strict=True))
    drawn = []
    for _ in range(samples):
        some = [pairs[chance.randrange(len(pairs))] for _ in pairs]
        drawn.append(recovered([a for a, _ in some], [b for _, b in some]))
    drawn.sort()
    return drawn[int(0.025 * samples)], drawn[int(0.975 * samples)]


def retriever(
    model: LanguageModel, embedder: Embedder, sentences: Sequence[str], most: int
) -> Callable[[str], KVPrefix]:
    """What dense retrieval puts before a question: the nearest sentences in order, `most` tokens."""
    vectors, prompter = embedder.embed(sentences), Prompter(model)

    def found(question: str) -> KVPrefix:
        order = np.argsort(-(vectors @ embedder.embed_question(question)))
        chosen, used = list[int](), len(prompter.context_ids([]))
        for i in order:
            cost = len(prompter.line_ids(sentences[i]))
            if used + cost <= most or not chosen:
                chosen.append(int(i))
                used += cost
        return model.prefill(prompter.context_ids(sentences[i] for i in sorted(chosen)))

    return found


def answers_right(
    model: LanguageModel,
    questions: Sequence[PeoplesQuestion],
    prefix_for: Callable[[PeoplesQuestion], KVPrefix | None],
) -> float:
    """The share of questions whose greedy answer contains what a right one must."""
    if not questions:
        return 0.0
    prompter, params = Prompter(model), SamplingParams(max_tokens=ANSWER_TOKENS)
    requests = []
    for number, asked in enumerate(questions):
        prefix = prefix_for(asked)
        ids = prompter.question_ids(asked.question) if prefix else prompter.bare_ids(asked.question)
        requests.append(GenerationRequest(str(number), tuple(ids), prefix, params))
    texts = generate_text(model, requests, 20)
    right = sum(
        any(word in text.lower() for word in asked.accept)
        for asked, text in zip(questions, texts, strict=True)
    )
    return right / len(questions)
