"""Context distillation (Eyuboglu et al. 2025, eq. 2): the prefix learns the teacher's distribution.

Keys and values are trained in deviations of what they are, in float32, so that one rate fits all layers.
From a closed-form start the gentle way wins: full-vocabulary KL, a rate of some hundredths of a
deviation (a tenth destroys the start), clipping, a frozen sink row, and the best checkpoint by the KL on
lessons that judge, with the start as the one to beat.
"""

import math
import random
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import torch

from cartridges.checkpoint import Checkpoint
from cartridges.lessons import Lesson, pack_lessons
from cartridges.quality import kl_rows, mean_kl, teacher_logits
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.scoring import answer_logits


@dataclass(frozen=True, slots=True)
class DistilSettings:
    """One step reads `batch` conversations; held-out KL is measured every `evaluate` steps.

    `rate` is in deviations of a KV head's values, `keys` the same of its keys as a share of `rate`; 0
    trains values only. Training ends early once `patience` measurements in a row bring no better one
    (0: never). `general` is the share of conversations about nothing in the corpus.
    """

    steps: int = 300
    batch: int = 4
    rate: float = 0.02
    keys: float = 1.0
    warmup: int = 4
    clip: float = 1.0
    frozen: int = 1  # rows that never change: the attention sink
    evaluate: int = 25
    patience: int = 3
    general: float = 0.03
    seed: int = 0

    @property
    def general_count(self) -> int:
        """How many general conversations the steps have room for."""
        return math.ceil(self.steps * self.batch * self.general)


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
    steps_in_time: Callable[[int], int] = lambda step: sys.maxsize,
    general: Sequence[Lesson] = (),
) -> Generator[tuple[StepReport, Checkpoint], None, KVPrefix]:
    """Trains `start`; yields after every step, returns the best prefix seen.

    `steps_in_time` tells, from the steps done, how many there is time for: fewer than the settings'
    make the rate fall sooner. Where the settings decide, a checkpoint resumes to the same result as an
    unbroken run: the order of conversations depends on the step alone.
    """

    def judged(prefix: KVPrefix) -> float:
        with model.mixed_precision():
            return mean_kl(model, held_out, prefix)

    student = Student(start.to(model.device, torch.float32), settings, model.dtype)
    optimizer = torch.optim.Adam([student.change], lr=settings.rate)
    if resumed:
        resumed.restore(optimizer, student.change)
        first, best, best_kl, stale = resumed.step, resumed.best, resumed.best_kl, resumed.stale
        curve = resumed.curve.cpu()
    else:
        first, best, stale = 0, student.change.detach().clone(), 0
        curve = torch.empty(0, 3, dtype=torch.float64)
        best_kl = judged(start)
    for step in range(first, settings.steps):
        end = min(settings.steps, steps_in_time(step))
        if step >= end or (settings.patience and stale >= settings.patience):
            break
        _set_rate(optimizer, step, end, settings)
        batch = [*_batch(train, step, settings), *_general(general, step, settings)]
        optimizer.zero_grad()
        loss = _descend(model, batch, student)
        torch.nn.utils.clip_grad_norm_([student.change], settings.clip)
        optimizer.step()
        measured = None
        if (step + 1) % settings.evaluate == 0 or step + 1 == end:
            measured = judged(student.prefix(student.change.detach()))
            stale += 1
            if measured < best_kl:
                best, best_kl, stale = student.change.detach().clone(), measured, 0
        tokens = sum(lesson.turn.length for lesson in batch)
        row = [loss, math.nan if measured is None else measured, tokens]
        curve = torch.cat([curve, torch.tensor([row], dtype=torch.float64)])
        yield (
            StepReport(step + 1, loss, tokens, measured),
            Checkpoint.take(step + 1, optimizer, student.change, best, curve, best_kl, stale),
        )
    return student.prefix(best)


class Student:
    """A prefix in training: a start, and what is added to its keys and values, in deviations.

    `change` is [2, layers, kv_heads, p, dim], keys first.
    """

    def __init__(self, start: KVPrefix, settings: DistilSettings, dtype: torch.dtype) -> None:
        # Cloned outside inference mode: autograd refuses tensors that were made inside it.
        self._start = torch.stack([start.keys, start.values]).clone()
        self._scale = self._start.std(dim=(3, 4), keepdim=True).expand_as(self._start).clone()
        self._scale[0] *= settings.keys
        self._scale[:, :, :, : settings.frozen] = 0.0
        self._offset, self._dtype = start.query_offset, dtype
        self.change = torch.zeros_like(self._start, requires_grad=True)

    def prefix(self, change: torch.Tensor) -> KVPrefix:
        keys, values = (self._start + change * self._scale).to(self._dtype)
        return KVPrefix(keys, values, self._offset)


def _descend(model: LanguageModel, lessons: Sequence[Lesson], student: Student) -> float:
    """Gradients of the mean over rows, a conversation weighed by what the corpus adds to it; one pack
    after the other, so that memory does not grow with the batch.
    """
    whole = sum(lesson.weight * len(lesson.turn.answer) for lesson in lessons)
    total = 0.0
    for pack in pack_lessons(lessons):
        with model.mixed_precision():
            logits = answer_logits(model, [x.turn for x in pack], student.prefix(student.change))
        rows = kl_rows(teacher_logits(model, pack), logits)
        weights = torch.cat([rows.new_full((len(x.turn.answer),), x.weight) for x in pack])
        loss = (rows * weights).sum() / whole
        loss.backward()
        total += float(loss.detach())
    return total


def _batch(lessons: Sequence[Lesson], step: int, settings: DistilSettings) -> list[Lesson]:
    """The step's conversations: epochs are seeded shuffles, so a step needs no history."""
    chosen = []
    for i in range(step * settings.batch, (step + 1) * settings.batch):
        epoch, place = divmod(i, len(lessons))
        order = list(range(len(lessons)))
        random.Random(settings.seed * 1_000_003 + epoch).shuffle(order)
        chosen.append(lessons[order[place]])
    return chosen


def _general(lessons: Sequence[Lesson], step: int, settings: DistilSettings) -> list[Lesson]:
    """The general conversations of a step, spread so that they are their share of all."""
    if not lessons:
        return []
    before, behind = (int(i * settings.batch * settings.general) for i in (step, step + 1))
    return [lessons[i % len(lessons)] for i in range(before, behind)]


def _set_rate(
    optimizer: torch.optim.Optimizer, step: int, end: int, settings: DistilSettings
) -> None:
    """Linear warm-up, then a cosine down to a tenth at the end."""
    up = min(1.0, (step + 1) / max(1, settings.warmup))
    down = 0.55 + 0.45 * math.cos(math.pi * step / end)
    for group in optimizer.param_groups:
        group["lr"] = settings.rate * up * down
