"""Needle Threading's tasks from a seed: pairs of UUIDs, looked up alone, together, or in chains."""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from evaluation.scenes import Gold, Label, Probe, Scene
from service.client.types import SourceDocument

DOCUMENT_PAIRS = 100
KEYS = 3  # asked for together
MARK = "*"  # no UUID holds it
HOPS = tuple(range(2, 11))

# A UUID is 36 characters of about 1.5 to a token; room for a sentence that says each key and its value.
ONE_VALUE_TOKENS = 96
THREE_VALUES_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Pair:
    """A key and its value."""

    key: str
    value: str

    @property
    def line(self) -> str:
        """The pair as its document holds it."""
        return f'"{self.key}": "{self.value}"'


@dataclass(frozen=True, slots=True)
class _Task:
    """A question about a map, the pairs that answer it in order, and the values it asks for."""

    name: str
    question: str
    pairs: tuple[Pair, ...]
    values: tuple[str, ...]
    direction: str = ""

    @property
    def hops(self) -> int:
        """Steps from a key that is asked for to its value."""
        return len(self.pairs) if self.direction else 1


@dataclass(frozen=True)
class ThreadsSuite:
    """Maps of so many pairs, one scene each; every task is asked of every map.

    A thread of n hops is n pairs, where the value of each is the key of the next; forward, they
    stand in the map in this order, backward in the other. Raises ValueError.
    """

    seed: int = 0
    pairs: int = 1_000
    hops: tuple[int, ...] = HOPS
    samples: int = 5

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples is {self.samples}; use at least 1")
        if any(hops < 2 for hops in self.hops) or len(set(self.hops)) < len(self.hops):
            raise ValueError(f"hops are {self.hops}; give each number of hops once, 2 or more")
        if self.pairs < self._needed:
            raise ValueError(
                f"pairs is {self.pairs}, and the tasks take {self._needed}; "
                f"use at least {self._needed} pairs or fewer hops"
            )

    @property
    def name(self) -> str:
        return "threads"

    @property
    def grouped_by(self) -> tuple[str, ...]:
        return "task", "hops"

    @property
    def description(self) -> Mapping[str, Label]:
        return {
            "seed": self.seed,
            "source": "UUIDs from the seed, after Needle Threading",
            "pairs": self.pairs,
            "hops": ", ".join(str(hops) for hops in self.hops),
            "samples": self.samples,
        }

    @property
    def _needed(self) -> int:
        return 1 + 2 * KEYS + 2 * sum(self.hops)

    def scenes(self) -> Iterator[Scene]:
        for number in range(self.samples):
            rng = random.Random(f"{self.seed}/threads/{number}")
            tasks = _draw_tasks(self.hops, rng)
            lines = _lay_out(tasks, self.pairs, rng)
            documents, place_of = _documents(lines)
            probes = tuple(_probe(task, place_of) for task in tasks)
            yield Scene(f"threads-{number:02d}", documents, probes)


def _draw_tasks(hops: Sequence[int], rng: random.Random) -> list[_Task]:
    single = Pair(_uuid(rng), _uuid(rng))
    several = tuple(Pair(_uuid(rng), _uuid(rng)) for _ in range(KEYS))
    marked = tuple(Pair(_marked(_uuid(rng), rng), _uuid(rng)) for _ in range(KEYS))
    tasks = [
        _Task(
            "single", f'What is the value of the key "{single.key}"?', (single,), (single.value,)
        ),
        _Task(
            "multiple",
            f"What are the values of the keys {_listed(several)}?",
            several,
            tuple(pair.value for pair in several),
        ),
        _Task(
            "conditional",
            f'What are the values of all keys that contain the character "{MARK}"?',
            marked,
            tuple(pair.value for pair in marked),
        ),
    ]
    for steps in hops:
        for direction in ("forward", "backward"):
            tasks.append(_draw_thread(steps, direction, rng))
    return tasks


def _draw_thread(steps: int, direction: str, rng: random.Random) -> _Task:
    links = [_uuid(rng) for _ in range(steps + 1)]
    pairs = tuple(Pair(key, value) for key, value in itertools.pairwise(links))
    question = (
        f'Start at the key "{links[0]}". Its value is a key again, and so on. '
        f"Which value do you come to after {steps} steps?"
    )
    return _Task(f"thread {direction}", question, pairs, (links[-1],), direction)


def _lay_out(tasks: Sequence[_Task], count: int, rng: random.Random) -> list[Pair]:
    """All pairs of the map in order: those of a task stand at random places, in its direction."""
    free = list(range(count))
    rng.shuffle(free)
    placed: dict[int, Pair] = {}
    for task in tasks:
        places = [free.pop() for _ in task.pairs]
        if task.direction:
            places.sort(reverse=task.direction == "backward")
        placed |= dict(zip(places, task.pairs, strict=True))
    return [placed.get(i) or Pair(_uuid(rng), _uuid(rng)) for i in range(count)]


def _documents(pairs: Sequence[Pair]) -> tuple[tuple[SourceDocument, ...], dict[Pair, str]]:
    """The documents of a map, and which of them each pair stands in."""
    documents = []
    place_of: dict[Pair, str] = {}
    for start in range(0, len(pairs), DOCUMENT_PAIRS):
        name = f"pairs-{start // DOCUMENT_PAIRS:05d}.txt"
        own = pairs[start : start + DOCUMENT_PAIRS]
        place_of |= dict.fromkeys(own, name)
        text = "".join(f"{pair.line}\n" for pair in own)
        documents.append(SourceDocument(name, text.encode()))
    return tuple(documents), place_of


def _probe(task: _Task, place_of: Mapping[Pair, str]) -> Probe:
    ending = f"-{task.hops:02d}" if task.direction else ""
    return Probe(
        id=task.name.replace(" ", "-") + ending,
        question=task.question,
        answers=tuple((value,) for value in task.values),
        gold=tuple(Gold(place_of[pair], pair.line) for pair in task.pairs),
        labels={"task": task.name, "hops": task.hops, "direction": task.direction},
        max_output_tokens=ONE_VALUE_TOKENS if len(task.values) == 1 else THREE_VALUES_TOKENS,
    )


def _uuid(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _marked(key: str, rng: random.Random) -> str:
    """The key with the mark in place of one of its digits."""
    place = rng.choice([i for i, character in enumerate(key) if character != "-"])
    return f"{key[:place]}{MARK}{key[place + 1 :]}"


def _listed(pairs: Sequence[Pair]) -> str:
    quoted = [f'"{pair.key}"' for pair in pairs]
    return f"{', '.join(quoted[:-1])} and {quoted[-1]}"
