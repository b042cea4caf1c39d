"""Needles: sentences to hide and questions about them, drawn from a seed or read from a file."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from evaluation.needle_words import FACTS, MOMENTS, MONTHS, NUMBERS, SEVERAL, SYLLABLES, WEEKDAYS
from evaluation.qa import read_records
from evaluation.questions import normalised

KINDS = ("fact", "number", "moment", "several", "lookalike")
LOOKALIKES = 4

Parts = tuple[tuple[str, ...], ...]  # the parts of an answer, each with its accepted forms
Told = tuple[str, Parts]  # a value as its sentence tells it, and the answer it makes


@dataclass(frozen=True, slots=True)
class Needle:
    """Sentences that are planted and must be found, and a question that they answer.

    `answers` are the parts of a full answer, each with its accepted forms; `lookalikes` are planted
    too and must not mislead.
    """

    kind: str
    sentences: tuple[str, ...]
    question: str
    answers: Parts
    lookalikes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Template:
    """Sentences with places for {name} and {value}, a question with one for {name}, and either the
    values or the name of what draws them.
    """

    sentences: tuple[str, ...]
    question: str
    values: tuple[str, ...]

    def draw(self, rng: random.Random) -> Told:
        value = rng.choice(self.values)
        drawn = _drawn().get(value)
        return drawn(rng) if drawn else (value, ((value,),))


def make_needle(kind: str, rng: random.Random) -> Needle:
    """A needle of one of KINDS; equal states of `rng` give equal needles. Raises ValueError."""
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; use one of {', '.join(KINDS)}")
    while True:  # few draws are unfair
        needle = _draw_needle(kind, rng)
        if _is_fair(needle):
            return needle


def read_needles(path: Path) -> list[Needle]:
    """The needles of a JSONL file of {"needle", "question", "answer"}, of the kind "file".

    A list of needles is planted at several places; a list of answers are the accepted forms of one.
    Raises OSError, and ValueError with the line, the field and the mend.
    """
    needles = [
        Needle("file", row.texts("needle"), row.text("question"), (row.texts("answer"),))
        for row in read_records(path)
    ]
    if not needles:
        raise ValueError(f"{path}: holds no needle; write one JSON object a line")
    return needles


def _draw_needle(kind: str, rng: random.Random) -> Needle:
    template = rng.choice(_templates(kind))
    name, *others = _names(rng, 1 + (LOOKALIKES if kind == "lookalike" else 0))
    told = [(sentence, *template.draw(rng)) for sentence in template.sentences]
    return Needle(
        kind,
        tuple(sentence.format(name=name, value=value) for sentence, value, _answer in told),
        template.question.format(name=name),
        tuple(part for _sentence, _value, answer in told for part in answer),
        tuple(
            sentence.format(name=other, value=template.draw(rng)[0])
            for other in others
            for sentence in template.sentences
        ),
    )


def _is_fair(needle: Needle) -> bool:
    """Whether an answer is told once, and stands neither in the question nor in a lookalike."""
    told = normalised("\n".join(needle.sentences))
    hidden = normalised("\n".join((needle.question, *needle.lookalikes)))
    forms = [normalised(form) for part in needle.answers for form in part]
    return all(told.count(normalised(part[0])) == 1 for part in needle.answers) and not any(
        form in hidden for form in forms
    )


@cache
def _templates(kind: str) -> tuple[_Template, ...]:
    """What a kind of needle is drawn from."""
    if kind == "lookalike":
        return _templates("fact") + _templates("number")
    text = {"fact": FACTS, "number": NUMBERS, "moment": MOMENTS, "several": SEVERAL}[kind]
    templates: list[_Template] = []
    for block in text.strip().split("\n\n"):
        lines = block.split("\n")
        values = _words(" ".join(line[2:] for line in lines if line.startswith("= ")))
        sentences: list[str] = []
        for line in lines:
            if line.endswith("?"):
                templates.append(_Template(tuple(sentences), line, values))
                sentences = []
            elif not line.startswith("= "):
                sentences.append(line)
    return tuple(templates)


def _names(rng: random.Random, count: int) -> list[str]:
    """Different invented names: no model has read of them."""
    syllables = [_words(line) for line in SYLLABLES.strip().split("\n")]
    names: dict[str, None] = {}
    while len(names) < count:
        names["".join(rng.choice(choice) for choice in syllables)] = None
    return list(names)


def _drawn() -> dict[str, Callable[[random.Random], Told]]:
    """What stands in for a value that is not chosen from a list."""
    return {"{number}": _number, "{date}": _date, "{time}": _weekday_and_time, "{year}": _year}


def _number(rng: random.Random) -> Told:
    """Five to seven digits without marks between them, which tokenizers cut in many ways."""
    digits = rng.randint(5, 7)
    number = rng.randrange(10 ** (digits - 1), 10**digits)
    grouped = f"{number:,}"
    return str(number), ((str(number), grouped, grouped.replace(",", " ")),)


def _date(rng: random.Random) -> Told:
    # From the 10th on, so that no date is the tail of another.
    day, month = rng.randint(10, 28), rng.choice(_words(MONTHS))
    ending = {21: "st", 22: "nd", 23: "rd"}.get(day, "th")
    first = f"{day} {month}"
    return first, (
        (first, f"{month} {day}", f"{day}{ending} of {month}", f"{day}{ending} {month}"),
    )


def _weekday_and_time(rng: random.Random) -> Told:
    # In the morning, so that a clock of 24 hours and one of 12 tell it alike.
    day, hour, minute = rng.choice(_words(WEEKDAYS)), rng.randint(6, 11), rng.randrange(10, 60, 5)
    return f"{day} at {hour}:{minute}", ((day,), (f"{hour}:{minute}", f"{hour}.{minute}"))


def _year(rng: random.Random) -> Told:
    year = str(rng.randint(1611, 1893))
    return year, ((year,),)


def _words(values: str) -> tuple[str, ...]:
    return tuple(value.strip() for value in values.split(","))
