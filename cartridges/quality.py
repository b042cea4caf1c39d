"""How good a prefix is: what it recovers of the gap between no context and the full one."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cartridges.lessons import Lesson, pack_lessons
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.scoring import answer_logits, project


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over answer tokens, in nats: divergence from the teacher, and loss on the answer itself."""

    kl: float
    nll: float


@dataclass(frozen=True, slots=True)
class Yardstick:
    """Lessons with what there is to recover on them: the model without context, and with all of it."""

    lessons: tuple[Lesson, ...]
    none: Quality
    full_nll: float

    @classmethod
    def of(cls, model: LanguageModel, lessons: Sequence[Lesson]) -> "Yardstick":
        return cls(tuple(lessons), measure(model, lessons, None), _teacher_nll(model, lessons))

    def recovered(self, kl: float) -> float:
        """1 - KL / KL without context; where the context changes nothing all of it is there."""
        return 1.0 - kl / self.none.kl if self.none.kl > 0.0 else 1.0

    def recovered_nll(self, quality: Quality) -> float:
        """The same share of the loss that the context takes away."""
        gap = self.none.nll - self.full_nll
        return (self.none.nll - quality.nll) / gap if gap > 0.0 else 1.0


@torch.inference_mode()
def measure(model: LanguageModel, lessons: Sequence[Lesson], prefix: KVPrefix | None) -> Quality:
    """The quality of the model with `prefix` on lessons that were read with the full context."""
    kl = nll = 0.0
    count = 0
    for pack in pack_lessons(lessons):
        logits = answer_logits(model, [lesson.turn for lesson in pack], prefix)
        kl += float(kl_rows(teacher_logits(model, pack), logits).sum())
        nll += _loss(logits, pack)
        count += len(logits)
    return Quality(kl / count, nll / count)


def mean_kl(model: LanguageModel, lessons: Sequence[Lesson], prefix: KVPrefix | None) -> float:
    """KL(teacher || model with `prefix`) averaged over answer tokens, in nats."""
    return measure(model, lessons, prefix).kl


def kl_rows(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """KL(teacher || student) over the whole vocabulary, a row each: [rows, vocabulary] -> [rows]."""
    log_teacher = torch.log_softmax(teacher, dim=-1)
    log_student = torch.log_softmax(student, dim=-1)
    return (log_teacher.exp() * (log_teacher - log_student)).sum(dim=-1)


@torch.no_grad()
def teacher_logits(model: LanguageModel, lessons: Sequence[Lesson]) -> torch.Tensor:
    """What the teacher predicts of the lessons' answers, [answer tokens, vocabulary]."""
    return project(model, torch.cat([lesson.states for lesson in lessons]))


@torch.inference_mode()
def _teacher_nll(model: LanguageModel, lessons: Sequence[Lesson]) -> float:
    losses = [(_loss(teacher_logits(model, pack), pack), pack) for pack in pack_lessons(lessons)]
    return sum(loss for loss, _ in losses) / sum(len(x.turn.answer) for x in lessons)


def _loss(logits: torch.Tensor, lessons: Sequence[Lesson]) -> float:
    answers = [token for lesson in lessons for token in lesson.turn.answer]
    targets = torch.tensor(answers, device=logits.device)
    return float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))
