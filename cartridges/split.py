"""Which lessons train a prefix, which measure it, and which choose the best one on the way."""

from collections.abc import Sequence
from dataclasses import dataclass

from cartridges.lessons import Lesson


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Lessons to train on, those that quality is measured on, and those that choose a checkpoint.

    A dozen questions that a model wrote are noise, so as many quotations choose beside them. These are
    trained on: a text has few sentences, and what is held out of it cannot be asked of the prefix.
    """

    train: tuple[Lesson, ...]
    held_out: tuple[Lesson, ...]
    judges: tuple[Lesson, ...]


def split(lessons: Sequence[Lesson], share: float, least: int) -> Split:
    """Held out is every n-th of what the model wrote, where there is some: a share of all lessons,
    `least` at least, and half of them at most.
    """
    wanted = max(least, round(len(lessons) * share))
    written = [i for i, lesson in enumerate(lessons) if not lesson.conversation.is_quoted]
    quoted = [i for i, lesson in enumerate(lessons) if lesson.conversation.is_quoted]
    is_written = len(written) >= 2 * least
    measured = _every(written if is_written else range(len(lessons)), wanted)
    judging = measured | (_every(quoted, len(measured)) if is_written else set())
    train = [lesson for i, lesson in enumerate(lessons) if i not in measured]
    held_out = [lessons[i] for i in sorted(measured)] or train[:1]
    judges = [lessons[i] for i in sorted(judging)] or held_out
    return Split(tuple(train), tuple(held_out), tuple(judges))


def _every(pool: Sequence[int], wanted: int) -> set[int]:
    """About `wanted` of a pool in even steps, half of it at most."""
    every = max(2, len(pool) // max(1, wanted))
    return {number for place, number in enumerate(pool) if place % every == every - 1}
