"""The needle grid: every kind of needle at every depth of every length, few texts to register."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from evaluation.haystack import Haystack, plant, read_haystack
from evaluation.needles import KINDS, Needle, make_needle
from evaluation.scenes import Gold, Label, Probe, Scene

SCENE_NEEDLES = 5  # needles of a file that share one text
ANSWER_TOKENS = 64  # room for three values in a sentence
MOST_DEPTHS = 101  # depths are told in whole per cent
UNITS = {"": 1, "k": 1_000, "m": 1_000_000}

_LENGTH = re.compile(r"(\d+)([km]?)(c?)")


@dataclass(frozen=True, slots=True)
class Length:
    """A length as people call it, and as characters of text with the needles in it."""

    label: str
    characters: int


@dataclass(frozen=True)
class NeedleGrid:
    """One scene for each length and shift: every needle of it stands at another depth, and the
    depths rotate, so that over `depths` scenes each kind meets each depth exactly once.

    A needle of several sentences has its first at the depth that it is counted under; the others
    stand in even steps from there to the end and on from the start, and so do lookalikes. `needles`
    from a file, if given, take turns in place of the generated `kinds`, at most SCENE_NEEDLES in
    one text. `source` is what `read_haystack` takes. Raises ValueError.
    """

    lengths: tuple[Length, ...]
    depths: int = 10
    seed: int = 0
    source: str = "auto"
    kinds: tuple[str, ...] = KINDS
    needles: tuple[Needle, ...] = ()

    def __post_init__(self) -> None:
        labels = [length.label for length in self.lengths]
        if not labels or len(set(labels)) < len(labels):
            raise ValueError(f"lengths are {', '.join(labels) or 'none'}; give each length once")
        if not 1 <= self.depths <= MOST_DEPTHS:
            raise ValueError(f"depths is {self.depths}; use 1 to {MOST_DEPTHS}")
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise ValueError(
                f"kinds are {', '.join(self.kinds) or 'none'}; "
                f"give at least one of {', '.join(KINDS)}, each once"
            )

    @property
    def name(self) -> str:
        return "needle"

    @property
    def grouped_by(self) -> tuple[str, ...]:
        return "length", "depth"

    @property
    def description(self) -> Mapping[str, Label]:
        """Of the longest text: the others are beginnings of the same source."""
        longest = max(self.lengths, key=lambda length: length.characters)
        haystack = read_haystack(self.source, longest.characters)
        kinds = f"{len(self.needles)} from a file" if self.needles else ", ".join(self.kinds)
        return {
            "seed": self.seed,
            "source": haystack.source,
            "repeated": round(haystack.repeated, 2),
            "lengths": ", ".join(length.label for length in self.lengths),
            "longest_characters": longest.characters,
            "depths": self.depths,
            "kinds": kinds,
        }

    def scenes(self) -> Iterator[Scene]:
        """Raises HaystackError without a text, ValueError for a length that holds no haystack."""
        for length in self.lengths:
            drawn = [self._needles(length, number) for number in range(self.depths)]
            # The same room for all scenes of a length, so that their texts differ by needles alone.
            room = max(sum(map(_size, needles)) for needles in drawn)
            if length.characters <= room:
                raise ValueError(
                    f"length {length.label} is {length.characters} characters, and its needles "
                    f"take {room} of them; use a longer text"
                )
            haystack = read_haystack(self.source, length.characters - room)
            for number, needles in enumerate(drawn):
                yield self._scene(length, number, haystack, needles)

    def _needles(self, length: Length, number: int) -> list[Needle]:
        """The needles of a scene, in the order of their columns of the Latin square."""
        if self.needles:
            width = min(SCENE_NEEDLES, len(self.needles), self.depths)
            first = number * width
            return [self.needles[(first + i) % len(self.needles)] for i in range(width)]
        # Seeded by the text: a hash of anything else would differ from one process to the next.
        rng = random.Random(f"{self.seed}/{length.label}/{number}")
        return [make_needle(kind, rng) for kind in self.kinds]

    def _scene(
        self, length: Length, number: int, haystack: Haystack, needles: list[Needle]
    ) -> Scene:
        depths = [
            _depth((number + column * self.depths // len(needles)) % self.depths, self.depths)
            for column in range(len(needles))
        ]
        standing = list(zip(depths, needles, strict=True))
        gold = [at for depth, needle in standing for at in _spread(depth, needle.sentences)]
        lookalikes = [
            at
            for depth, needle in standing
            for at in _spread(depth, (needle.sentences[0], *needle.lookalikes))[1:]
        ]
        planted = plant(haystack, gold + lookalikes)
        characters = sum(len(document.data().decode()) for document in planted.documents)
        places = iter(planted.places)  # those of the gold sentences come first
        probes = []
        for depth, needle in standing:
            percent = round(100 * depth)
            probes.append(
                Probe(
                    id=f"{needle.kind}-d{percent:03d}",
                    question=needle.question,
                    answers=needle.answers,
                    gold=tuple(Gold(next(places), sentence) for sentence in needle.sentences),
                    labels={
                        "length": length.label,
                        "depth": percent,
                        "kind": needle.kind,
                        "characters": characters,
                    },
                    max_output_tokens=ANSWER_TOKENS,
                )
            )
        return Scene(f"needle-{length.label}-{number:02d}", planted.documents, tuple(probes))


def parse_length(text: str) -> tuple[int, str]:
    """A length such as 4k, 1m or 50000 in "tokens", or 200kc or 1mc in "characters"; k is 1,000."""
    match = _LENGTH.fullmatch(text.strip().lower())
    number = int(match[1]) * UNITS[match[2]] if match else 0
    if not match or number < 1:
        raise ValueError(
            f"length {text!r} is not a length; "
            "write tokens as 4k, 1m or 50000, or characters as 200kc or 1mc"
        )
    return number, "characters" if match[3] else "tokens"


def _depth(step: int, steps: int) -> float:
    """The depth of one of so many even steps from 0 to 1; a single one is the middle."""
    return step / (steps - 1) if steps > 1 else 0.5


def _spread(depth: float, sentences: Sequence[str]) -> list[tuple[float, str]]:
    """The first at `depth`, the others in even steps of the text, past its end from its start on."""
    steps = len(sentences)
    return [
        ((depth + i / steps) % 1.0 if i else depth, sentence)
        for i, sentence in enumerate(sentences)
    ]


def _size(needle: Needle) -> int:
    """Characters that a needle takes in the text, with the space around its sentences."""
    return sum(len(sentence) + 2 for sentence in needle.sentences + needle.lookalikes)
