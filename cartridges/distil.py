"""Context distillation (Eyuboglu et al. 2025, eq. 2): the prefix learns the teacher's distribution.

From a closed-form start the gentle way wins (FINDINGS): values only, full-vocabulary KL, a small rate,
clipping, a frozen sink row, and the best checkpoint by held-out KL, with the start as the one to beat.
"""

import math
import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import torch

from cartridges.checkpoint import Checkpoint
from cartridges.lessons import PACK_TOKENS, Lesson
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.scoring import answer_logits, pack_by_tokens, project


@dataclass(frozen=True, slots=True)
class DistilSettings:
    """One step reads `batch` conversations; held-out KL is measured every `evaluate` steps."""

    steps: int = 24
    batch: int = 4
    rate: float = 3e-3
    warmup: int = 4
    clip: float = 1.0
    frozen: int = 1  # rows that never change: the attention sink
    evaluate: int = 8
    seed: int = 0


@dataclass(frozen=True, slots=True)
class StepReport:
    """After one step: training loss and, where measured, held-out KL, both in nats a token."""

    step: int
    loss: float
    tokens: int
    held_out: float | None


def distil(
    model: LanguageModel,
    start: KVPrefix,
    train: Sequence[Lesson],
    held_out: Sequence[Lesson],
    settings: DistilSettings,
    resumed: Checkpoint | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> Generator[tuple[StepReport, Checkpoint], None, KVPrefix]:
    """Trains the values of `start`; yields after every step, returns the best prefix seen.

    It ends early where `is_over` says so. A checkpoint resumes to the same result as an unbroken
    run: the order of conversations depends on the step alone.
    """
    student = start.to(model.device, torch.float32)
    values = (resumed.values if resumed else student.values[:, :, settings.frozen :]).clone()
    values.requires_grad_(True)
    # Cloned outside inference mode: autograd refuses tensors that were made inside it.
    keys = student.keys.clone().to(model.dtype)
    sink = student.values[:, :, : settings.frozen].clone()
    optimizer = torch.optim.Adam([values], lr=settings.rate)
    first, best, best_kl = 0, values.detach().clone(), math.inf
    if resumed:
        first, best, best_kl = resumed.step, resumed.best, resumed.best_kl
        resumed.restore(optimizer, values)
    else:
        best_kl = mean_kl(model, held_out, start)

    def prefix_of(part: torch.Tensor) -> KVPrefix:
        joined = torch.cat([sink, part], dim=2).to(model.dtype)
        return KVPrefix(keys, joined, start.query_offset)

    for step in range(first, settings.steps):
        if is_over():
            break
        _set_rate(optimizer, step, settings)
        batch = _batch(train, step, settings)
        loss = _loss(model, batch, prefix_of(values))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([values], settings.clip)
        optimizer.step()
        measured = None
        if (step + 1) % settings.evaluate == 0 or step + 1 == settings.steps:
            measured = mean_kl(model, held_out, prefix_of(values.detach()))
            if measured < best_kl:
                best, best_kl = values.detach().clone(), measured
        tokens = sum(lesson.turn.length for lesson in batch)
        report = StepReport(step + 1, float(loss.detach()), tokens, measured)
        yield report, Checkpoint.take(step + 1, optimizer, values, best, best_kl)
    return prefix_of(best)


@torch.inference_mode()
def mean_kl(model: LanguageModel, lessons: Sequence[Lesson], prefix: KVPrefix | None) -> float:
    """KL(teacher || model with `prefix`) averaged over answer tokens, in nats."""
    total, count = 0.0, 0
    by_turn = {id(lesson.turn): lesson for lesson in lessons}
    for pack in pack_by_tokens([lesson.turn for lesson in lessons], PACK_TOKENS):
        teacher = project(model, torch.cat([by_turn[id(turn)].states for turn in pack]))
        kl = kl_rows(teacher, answer_logits(model, pack, prefix))
        total, count = total + float(kl.sum()), count + len(kl)
    return total / count


def kl_rows(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """KL(teacher || student) over the whole vocabulary, a row each: [rows, vocabulary] -> [rows]."""
    log_teacher = torch.log_softmax(teacher, dim=-1)
    log_student = torch.log_softmax(student, dim=-1)
    return (log_teacher.exp() * (log_teacher - log_student)).sum(dim=-1)


def _loss(model: LanguageModel, lessons: Sequence[Lesson], prefix: KVPrefix) -> torch.Tensor:
    with torch.no_grad():
        teacher = project(model, torch.cat([lesson.states for lesson in lessons]))
    return kl_rows(teacher, answer_logits(model, [x.turn for x in lessons], prefix)).mean()


def _batch(lessons: Sequence[Lesson], step: int, settings: DistilSettings) -> list[Lesson]:
    """The step's conversations: epochs are seeded shuffles, so a step needs no history."""
    chosen = []
    for i in range(step * settings.batch, (step + 1) * settings.batch):
        epoch, place = divmod(i, len(lessons))
        order = list(range(len(lessons)))
        random.Random(settings.seed * 1_000_003 + epoch).shuffle(order)
        chosen.append(lessons[order[place]])
    return chosen


def _set_rate(optimizer: torch.optim.Optimizer, step: int, settings: DistilSettings) -> None:
    """Linear warm-up, then a cosine down to a tenth."""
    up = min(1.0, (step + 1) / max(1, settings.warmup))
    down = 0.55 + 0.45 * math.cos(math.pi * step / max(1, settings.steps))
    for group in optimizer.param_groups:
        group["lr"] = settings.rate * up * down
