"""A cartridge whose corpus has changed: what of the old one is worth keeping.

A rebuild that only studies the change forgets the rest (Compose, rebuild, correct, arXiv 2608.30647), so
old conversations are read again beside it, which costs no generation, as half of what is trained on. The
old prefix is the start as it is: matching it to the new text anew would undo what distillation has done.
"""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from cartridges.conversations import Conversation, Studied
from cartridges.lessons import Lesson
from cartridges.seeds import passage
from engine.prefix import KVPrefix

REPLAY = 1.0  # share of the old conversations that are read again


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """An earlier cartridge of the corpus: its prefix, and the numbers of the sentences that have changed
    since, of those there are now.

    `known` are conversations about passages that are still there, by their numbers now, and `taught` the
    questions of those that the prefix was trained on, which cannot measure what comes of it.
    """

    prefix: KVPrefix
    changed: tuple[int, ...]
    known: tuple[Conversation, ...]
    taught: frozenset[str] = frozenset()


def balanced(train: Sequence[Lesson], changed: Collection[int]) -> list[Lesson]:
    """The lessons with those about changed sentences repeated until they are half of all."""
    new = [lesson for lesson in train if lesson.conversation.sentence in changed]
    times = max(1, round((len(train) - len(new)) / max(1, len(new))))
    return [*train, *new * (times - 1)]


def base_of(
    prefix: KVPrefix,
    studied: Sequence[Studied],
    sentences: Sequence[str],
    changed: Collection[int],
    seed: int = 0,
) -> Base:
    """What an old prefix and its conversations are worth for the sentences that there are now.

    `changed` are the numbers of sentences in windows that the old cartridge did not know. Conversations
    about passages that are gone, were changed or begin in such a window are dropped, and of the others a
    share is replayed.
    """
    kinds = {each.conversation.kind for each in studied}
    places = {kind: _places(kind, sentences, changed) for kind in kinds}
    kept = [
        (replace(each.conversation, sentence=first, gain=0.0), each.is_held_out)
        for each in studied
        if (first := places[each.conversation.kind].get(each.passage)) is not None
    ]
    chosen = random.Random(seed).sample(kept, round(REPLAY * len(kept)))
    taught = frozenset(known.question for known, is_held_out in chosen if not is_held_out)
    return Base(prefix, tuple(sorted(changed)), tuple(known for known, _ in chosen), taught)


def _places(kind: str, sentences: Sequence[str], changed: Collection[int]) -> dict[str, int]:
    """Where the passages of a kind begin, the first of equal ones."""
    places: dict[str, int] = {}
    for first in range(len(sentences)):
        if first not in changed:
            places.setdefault(passage(kind, sentences, first), first)
    return places
