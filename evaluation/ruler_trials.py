"""What RULER hides and asks: keys with values, and chains of variables, drawn from a seed."""

from __future__ import annotations

import random
import string
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evaluation.haystack_texts import HaystackError, package_folder

HOPS = 4


@dataclass(frozen=True, slots=True)
class Task:
    """A needle task: `haystack` is noise, essays or needles; keys are words or uuids."""

    name: str
    haystack: str
    keys: int = 1
    values: int = 1  # of each key
    asked: int = 1  # keys in the question
    key_type: str = "words"
    value_type: str = "numbers"


TASKS = (
    Task("niah_single_1", "noise"),
    Task("niah_single_2", "essays"),
    Task("niah_single_3", "essays", value_type="uuids"),
    Task("niah_multikey_1", "essays", keys=4),
    Task("niah_multikey_2", "needles"),
    Task("niah_multikey_3", "needles", key_type="uuids", value_type="uuids"),
    Task("niah_multivalue", "essays", values=4),
    Task("niah_multiquery", "essays", keys=4, asked=4),
)


@dataclass(frozen=True, slots=True)
class Trial:
    """Sentences to plant, the first of which are `gold`, and what is asked about them."""

    sentences: tuple[str, ...]
    gold: int
    question: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Words:
    """The words that keys are made of."""

    adjectives: tuple[str, ...]
    nouns: tuple[str, ...]

    @classmethod
    def read(cls) -> Words:
        """The lists of the wheel wonderwords, less what nobody wants in a report.

        Raises HaystackError when it is not installed.
        """
        package = package_folder("wonderwords")
        if package is None:
            raise HaystackError(
                "RULER's keys are made of the words of wonderwords, which is not installed; "
                "pip install wonderwords"
            )
        rude = set((package / "assets" / "profanitylist.txt").read_text("utf-8").split())
        lists = [
            tuple(
                word
                for word in (package / "assets" / name).read_text("utf-8").split()
                if word.isalpha() and word.islower() and word not in rude
            )
            for name in ("adjectivelist.txt", "nounlist.txt")
        ]
        return cls(*lists)

    def draw(self, rng: random.Random) -> str:
        return f"{rng.choice(self.adjectives)}-{rng.choice(self.nouns)}"


def draw_needles(task: Task, words: Words, rng: random.Random) -> Trial:
    """Needles of all keys, those that are asked for first."""
    keys = _different(lambda: key_text(task.key_type, words, rng), task.keys)
    values = _different(lambda: key_text(task.value_type, words, rng), task.keys * task.values)
    owners = [key for key in keys for _ in range(task.values)]
    sentences = tuple(
        needle(task.value_type, key, value) for key, value in zip(owners, values, strict=True)
    )
    gold = task.asked * task.values
    return Trial(
        sentences, gold, _question(task.value_type, keys[: task.asked], gold), tuple(values[:gold])
    )


def draw_variables(rng: random.Random) -> Trial:
    """A chain of variables: the first has a number, each other the value of the one before."""
    names = _different(lambda: "".join(rng.choices(string.ascii_uppercase, k=5)), HOPS + 1)
    value = str(rng.randint(10_000, 99_999))
    told = [value, *(f"VAR {name}" for name in names[:-1])]
    sentences = tuple(f"VAR {name} = {what}" for name, what in zip(names, told, strict=True))
    question = f"Find all variables that are assigned the value {value} in the text above."
    return Trial(sentences, len(sentences), question, tuple(names))


def needle(value_type: str, key: str, value: str) -> str:
    return f"One of the special magic {value_type} for {key} is: {value}."


def _question(value_type: str, keys: Sequence[str], values: int) -> str:
    if values == 1:
        what = f"is the special magic {value_type.removesuffix('s')} for {keys[0]}"
    else:
        *others, last = keys
        listed = f"{', '.join(others)}, and {last}" if others else last
        what = f"are all the special magic {value_type} for {listed}"
    return f"What {what} mentioned in the provided text?"


def key_text(kind: str, words: Words, rng: random.Random) -> str:
    if kind == "words":
        return words.draw(rng)
    if kind == "numbers":
        return str(rng.randint(1_000_000, 9_999_999))
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _different(draw: Callable[[], str], count: int) -> list[str]:
    drawn: dict[str, None] = {}
    while len(drawn) < count:
        drawn[draw()] = None
    return list(drawn)
