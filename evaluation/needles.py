"""Needles: sentences to hide and questions about them, drawn from a seed or read from a file."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

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
    text = {"fact": _FACTS, "number": _NUMBERS, "moment": _MOMENTS, "several": _SEVERAL}[kind]
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
    syllables = [_words(line) for line in _SYLLABLES.strip().split("\n")]
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
    day, month = rng.randint(10, 28), rng.choice(_words(_MONTHS))
    ending = {21: "st", 22: "nd", 23: "rd"}.get(day, "th")
    first = f"{day} {month}"
    return first, (
        (first, f"{month} {day}", f"{day}{ending} of {month}", f"{day}{ending} {month}"),
    )


def _weekday_and_time(rng: random.Random) -> Told:
    # In the morning, so that a clock of 24 hours and one of 12 tell it alike.
    day, hour, minute = rng.choice(_words(_WEEKDAYS)), rng.randint(6, 11), rng.randrange(10, 60, 5)
    return f"{day} at {hour}:{minute}", ((day,), (f"{hour}:{minute}", f"{hour}.{minute}"))


def _year(rng: random.Random) -> Told:
    year = str(rng.randint(1611, 1893))
    return year, ((year,),)


def _words(values: str) -> tuple[str, ...]:
    return tuple(value.strip() for value in values.split(","))


# The words. A template is its sentences and its question; its values stand at the end of the block.
# What follows "a" begins with a consonant, and no value is a part of a common word, since an answer
# is right when it contains the value.

_SYLLABLES = """
Bel, Bro, Cal, Dor, Dra, Em, Fal, Fen, Gor, Hal, Hes, Jor, Kas, Kel, Lor, Lun, Mel, Nar, Nim, Os, Tor
a, e, i, o, u, ba, da, de, di, do, ga, la, le, li, lo, ma, mi, mo, na, no, ra, ri, sa, ta, ti, ve, vi
bram, brin, dorn, drel, dun, fell, gard, hult, kesh, lund, mund, neth, quin, resk, rond, skar, thal, vik
, , a, is
"""
_MONTHS = (
    "January, February, March, April, May, June, July, August, September, October, November, "
    "December"
)
_WEEKDAYS = "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday"

_FACTS = """
{name} earned a living as a {value}.
What did {name} do for a living?
= glassblower, beekeeper, cartographer, locksmith, saddler, clockmaker, bookbinder, weaver, farrier,
= thatcher, goldsmith, midwife, surveyor, lamplighter, stonemason, chandler, falconer, barber

The front door of {name} House is painted {value}.
Which colour is the front door of {name} House?
= turquoise, crimson, lilac, ochre, scarlet, emerald, ivory, maroon, indigo, saffron, violet, beige,
= magenta, purple, lavender, charcoal

The coat of arms of {name} shows a {value}.
Which animal is on the coat of arms of {name}?
= heron, badger, falcon, lynx, beaver, salmon, tortoise, hedgehog, walrus, pelican, raven, weasel,
= gazelle, leopard, dolphin, rooster, buffalo, squirrel, jackal, panther

The old bridge at {name} was built of {value}.
What material is the old bridge at {name} made of?
= limestone, granite, copper, bamboo, slate, marble, basalt, sandstone, cedar wood, bronze, cast iron,
= red brick, driftwood, porcelain, concrete, chestnut beams

The orchards of {name} grow only {value}.
Which fruit do the orchards of {name} grow?
= quinces, apricots, cherries, mulberries, medlars, nectarines, pomegranates, damsons, tangerines,
= gooseberries, persimmons, kumquats, lychees, papayas, blackcurrants

{name} plays the {value} in the town band.
Which instrument does {name} play?
= cello, bassoon, mandolin, trombone, accordion, clarinet, viola, dulcimer, piccolo, xylophone, banjo,
= harpsichord, bagpipes, glockenspiel, trumpet, zither, saxophone, kettledrum

The spare key of the {name} cabin lies under the {value}.
Where does the spare key of the {name} cabin lie?
= flour barrel, stone bench, blue flowerpot, doormat, sundial, woodpile, milk churn, third step,
= bird bath, coal bucket, garden gnome, wheelbarrow, rusty anchor, tool chest, loose brick, beehive

The island of {name} is known for its {value}.
What is the island of {name} known for?
= smoked eels, honey, wool blankets, pottery, salt caves, black pearls, wooden clocks, hot springs,
= blue cheese, saffron bread, kites, hand bells, wild ponies, glass beads, orchids, giant crabs

Captain {name} drinks nothing but {value}.
What does Captain {name} drink?
= buttermilk, elderflower tea, ginger beer, cold coffee, barley water, peppermint tea, plum wine,
= cocoa, rainwater, goat milk, lemonade, birch sap, tonic water, hot chocolate, carrot juice

The oldest tree in {name} is a {value}.
What kind of tree is the oldest one in {name}?
= linden, chestnut, sycamore, larch, hornbeam, juniper, hawthorn, willow, poplar, walnut, cypress,
= rowan, mulberry, magnolia, cedar, beech, spruce, hazel, maple
"""

_NUMBERS = """
The maintenance code of the {name} lock is {value}.
Which maintenance code does the {name} lock have?
The library of {name} holds {value} books.
How many books are in the library of {name}?
The {name} telescope was sold for {value} crowns.
How many crowns did the {name} telescope cost?
The police report on {name} has the number {value}.
What is the number of the police report on {name}?
The {name} mill ground {value} sacks of rye last year.
How many sacks of rye did the {name} mill grind last year?
The radio beacon on {name} sends the number {value}.
Which number does the radio beacon on {name} send?
The town of {name} has {value} inhabitants.
How many people live in the town of {name}?
= {number}
"""

_MOMENTS = """
The {name} fair opens on {value}.
On what date does the {name} fair open?
{name} was born on {value}.
On what date is the birthday of {name}?
The lease of the {name} boathouse ends on {value}.
On what date does the lease of the {name} boathouse run out?
= {date}

The ferry to {name} leaves every {value}.
On which day and at what time does the ferry to {name} leave?
The {name} choir meets every {value}.
On which day and at what time does the {name} choir meet?
= {time}

The {name} lighthouse was first lit in {value}.
In which year was the {name} lighthouse lit for the first time?
The {name} tunnel collapsed in {value}.
In which year did the {name} tunnel collapse?
= {year}
"""

_SEVERAL = """
One stone in the {name} collection is a {value}.
Another stone in the {name} collection is a {value}.
The last stone in the {name} collection is a {value}.
Which three stones are in the {name} collection?
= garnet, topaz, ruby, jasper, beryl, moonstone, sapphire, turquoise, malachite, diamond, peridot,
= tourmaline, zircon, bloodstone

The recipe for {name} stew calls for {value}.
Cooks always add {value} to {name} stew.
No {name} stew is made without {value}.
Which three ingredients go into {name} stew?
= barley, parsnips, juniper berries, mutton, lentils, nutmeg, turnips, red cabbage, dried plums,
= walnuts, fennel, saffron, pearl onions, mushrooms, marjoram, celery

A {value} lives on the {name} farm.
The {name} farm also keeps a {value}.
There is a {value} in the yard of the {name} farm.
Which three animals live on the {name} farm?
= goat, peacock, donkey, rooster, buffalo, tortoise, hedgehog, llama, pony, turkey, rabbit, sheepdog

The flag of {name} has a {value} stripe at the top.
The middle stripe of the flag of {name} is {value}.
The flag of {name} has a {value} stripe at the bottom.
Which three colours are in the flag of {name}?
= turquoise, crimson, lilac, scarlet, maroon, saffron, violet, beige, magenta, purple, lavender

One member of the {name} trio plays the {value}.
Another member of the {name} trio plays the {value}.
The leader of the {name} trio plays the {value}.
Which three instruments does the {name} trio play?
= cello, bassoon, mandolin, trombone, accordion, clarinet, viola, dulcimer, piccolo, banjo, trumpet
"""
