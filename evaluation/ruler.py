"""RULER's retrieval tasks, made again from a seed with its needle sentence and its scoring.

Scoring is its `string_match_all`, the mean share of the expected strings that the answer holds
regardless of case: what `Probe.score` does.
"""

from __future__ import annotations

import itertools
import random
import string
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from evaluation.haystack import PART, Haystack, HaystackError, package_folder, plant, read_haystack
from evaluation.scenes import Gold, Label, Probe, Scene

NOISE = (
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.\n"
)
VARIABLES = "vt"
HOPS = 4
DEPTHS = 40  # even steps from 0 to 1; a needle stands at one of them
NIAH_TOKENS, VT_TOKENS = 128, 30  # RULER's own room for an answer


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
class _Trial:
    """Sentences to plant, the first of which are `gold`, and what is asked about them."""

    sentences: tuple[str, ...]
    gold: int
    question: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class RulerSuite:
    """One scene for each task and sample, of about so many characters. Raises ValueError.

    `source` is the haystack in place of the essays, as `read_haystack` takes it.
    """

    seed: int
    characters: int
    label: str
    samples: int = 5
    source: str = "auto"

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples is {self.samples}; use at least 1")
        if self.characters < 2_000:
            raise ValueError(f"characters is {self.characters}; use at least 2000")

    @property
    def name(self) -> str:
        return "ruler"

    @property
    def grouped_by(self) -> tuple[str, ...]:
        return ("task",)

    @property
    def description(self) -> Mapping[str, Label]:
        haystack = read_haystack(self.source, self.characters)
        return {
            "seed": self.seed,
            "source": f"{haystack.source}; words of wonderwords (MIT)",
            "repeated": round(haystack.repeated, 2),
            "length": self.label,
            "characters": self.characters,
            "samples": self.samples,
        }

    def scenes(self) -> Iterator[Scene]:
        """Raises HaystackError when the words or the haystack are not on this machine."""
        words = Words.read()
        for task in TASKS:
            for sample in range(self.samples):
                rng = self._rng(task.name, sample)
                trial = _draw_needles(task, words, rng)
                room = self.characters - _size(trial.sentences)
                if task.haystack == "needles":
                    haystack = _needles_haystack(task, trial, words, room, rng)
                elif task.haystack == "noise":
                    haystack = _noise(room)
                else:
                    haystack = read_haystack(self.source, room)
                yield self._scene(task.name, sample, haystack, trial, _depths(trial, rng))
        for sample in range(self.samples):
            rng = self._rng(VARIABLES, sample)
            trial = _draw_variables(rng)
            haystack = _noise(self.characters - _size(trial.sentences))
            # A variable is given its value before the next is given that variable's.
            depths = sorted(_depths(trial, rng))
            yield self._scene(VARIABLES, sample, haystack, trial, depths)

    def _rng(self, task: str, sample: int) -> random.Random:
        return random.Random(f"{self.seed}/{self.label}/{task}/{sample}")

    def _scene(
        self, task: str, sample: int, haystack: Haystack, trial: _Trial, depths: Sequence[float]
    ) -> Scene:
        planted = plant(haystack, list(zip(depths, trial.sentences, strict=True)))
        gold = zip(planted.places[: trial.gold], trial.sentences, strict=False)
        probe = Probe(
            id=f"{task}-{sample:02d}",
            question=trial.question,
            answers=tuple((answer,) for answer in trial.answers),
            gold=tuple(Gold(place, sentence) for place, sentence in gold),
            labels={"task": task, "length": self.label},
            max_output_tokens=VT_TOKENS if task == VARIABLES else NIAH_TOKENS,
        )
        name = task.replace("_", "-")
        return Scene(f"ruler-{self.label}-{name}-{sample:02d}", planted.documents, (probe,))


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


def _draw_needles(task: Task, words: Words, rng: random.Random) -> _Trial:
    """Needles of all keys, those that are asked for first."""
    keys = _different(lambda: _text(task.key_type, words, rng), task.keys)
    values = _different(lambda: _text(task.value_type, words, rng), task.keys * task.values)
    owners = [key for key in keys for _ in range(task.values)]
    sentences = tuple(
        _needle(task.value_type, key, value) for key, value in zip(owners, values, strict=True)
    )
    gold = task.asked * task.values
    return _Trial(
        sentences, gold, _question(task.value_type, keys[: task.asked], gold), tuple(values[:gold])
    )


def _draw_variables(rng: random.Random) -> _Trial:
    """A chain of variables: the first has a number, each other the value of the one before."""
    names = _different(lambda: "".join(rng.choices(string.ascii_uppercase, k=5)), HOPS + 1)
    value = str(rng.randint(10_000, 99_999))
    told = [value, *(f"VAR {name}" for name in names[:-1])]
    sentences = tuple(f"VAR {name} = {what}" for name, what in zip(names, told, strict=True))
    question = f"Find all variables that are assigned the value {value} in the text above."
    return _Trial(sentences, len(sentences), question, tuple(names))


def _needles_haystack(
    task: Task, trial: _Trial, words: Words, characters: int, rng: random.Random
) -> Haystack:
    """Needles of other keys and other values, one a line: nothing but lookalikes."""

    def lines() -> Iterator[str]:
        told = " ".join(trial.sentences)
        used: set[str] = set()
        while True:
            key = _text(task.key_type, words, rng)
            value = _text(task.value_type, words, rng)
            if key not in used and key not in told and value not in told:
                used.add(key)
                yield f"{_needle(task.value_type, key, value)}\n"

    return _lines_haystack("needles of other keys", lines(), characters)


def _noise(characters: int) -> Haystack:
    return _lines_haystack("RULER's noise", itertools.repeat(NOISE), characters)


def _lines_haystack(source: str, lines: Iterator[str], characters: int) -> Haystack:
    """Lines of an endless source up to so many characters, as documents of at most PART."""
    texts = [""]
    left = characters
    for line in lines:
        if len(line) > left:
            break
        left -= len(line)
        if len(texts[-1]) + len(line) > PART:
            texts.append("")
        texts[-1] += line
    documents = tuple((f"{i:04d}-lines.txt", text.rstrip()) for i, text in enumerate(texts))
    return Haystack(source, documents)


def _depths(trial: _Trial, rng: random.Random) -> list[float]:
    """A depth of its own for each sentence."""
    steps = rng.sample(range(DEPTHS), len(trial.sentences))
    return [step / (DEPTHS - 1) for step in steps]


def _needle(value_type: str, key: str, value: str) -> str:
    return f"One of the special magic {value_type} for {key} is: {value}."


def _question(value_type: str, keys: Sequence[str], values: int) -> str:
    if values == 1:
        what = f"is the special magic {value_type.removesuffix('s')} for {keys[0]}"
    else:
        *others, last = keys
        listed = f"{', '.join(others)}, and {last}" if others else last
        what = f"are all the special magic {value_type} for {listed}"
    return f"What {what} mentioned in the provided text?"


def _text(kind: str, words: Words, rng: random.Random) -> str:
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


def _size(sentences: Sequence[str]) -> int:
    """Characters that sentences take in the text, with the space around them."""
    return sum(len(sentence) + 2 for sentence in sentences)
