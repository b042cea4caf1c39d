"""Which lessons train a prefix, which measure it, and which choose the best one on the way."""

from collections.abc import Collection, Sequence
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


def split(
    lessons: Sequence[Lesson], share: float, least: int, taught: Collection[str] = ()
) -> Split:
    """Held out is every n-th of what the model wrote: a share of all lessons, `least` at least, and half
    of them at most. Where it wrote too little, all that is quoted of every n-th sentence.

    `taught` are questions that the start of the training has learned from: they measure nothing.
    """
    wanted = max(least, round(len(lessons) * share))
    fresh = [i for i, each in enumerate(lessons) if each.conversation.question not in taught]
    written = [i for i in fresh if not lessons[i].conversation.is_quoted]
    quoted = [i for i, each in enumerate(lessons) if each.conversation.is_quoted]
    is_written = len(written) >= 2 * least
    measured = _every(written, wanted) if is_written else _of_sentences(lessons, fresh, wanted)
    if not measured and len(lessons) > 1:
        measured = set(fresh[-1:])
    judging = measured | (_every(quoted, len(measured)) if is_written else set())
    train = [lesson for i, lesson in enumerate(lessons) if i not in measured]
    held_out = [lessons[i] for i in sorted(measured)] or train[:1]
    judges = [lessons[i] for i in sorted(judging)] or held_out
    return Split(tuple(train), tuple(held_out), tuple(judges))


def _every(pool: Sequence[int], wanted: int) -> set[int]:
    """About `wanted` of a pool in even steps, half of it at most."""
    every = max(2, len(pool) // max(1, wanted))
    return {number for place, number in enumerate(pool) if place % every == every - 1}


def _of_sentences(lessons: Sequence[Lesson], fresh: Sequence[int], wanted: int) -> set[int]:
    """About `wanted` lessons, all there are of their sentences: two forms of one quotation, one trained
    on and one measured, would measure recall of the training.
    """
    sentences = [each.conversation.sentence for each in lessons]
    known = {sentences[i] for i in set(range(len(lessons))) - set(fresh)}
    pool = list(dict.fromkeys(sentences[i] for i in fresh if sentences[i] not in known))
    a_sentence = sum(sentence in pool for sentence in sentences) / max(1, len(pool))
    chosen = {pool[i] for i in _every(range(len(pool)), round(wanted / max(1.0, a_sentence)))}
    return {i for i, sentence in enumerate(sentences) if sentence in chosen}
