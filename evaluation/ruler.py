"""RULER's retrieval tasks, made again from a seed with its needle sentence and its scoring.

Scoring is its `string_match_all`, the mean share of the expected strings that the answer holds
regardless of case: what `Probe.score` does.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from evaluation.haystack import Haystack, plant, read_haystack
from evaluation.haystack_texts import PART
from evaluation.ruler_trials import (
    TASKS,
    Task,
    Trial,
    Words,
    draw_needles,
    draw_variables,
    key_text,
    needle,
)
from evaluation.scenes import Gold, Label, Probe, Scene

NOISE = (
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.\n"
)
VARIABLES = "vt"
DEPTHS = 40  # even steps from 0 to 1; a needle stands at one of them
NIAH_TOKENS, VT_TOKENS = 128, 30  # RULER's own room for an answer


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
                trial = draw_needles(task, words, rng)
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
            trial = draw_variables(rng)
            haystack = _noise(self.characters - _size(trial.sentences))
            # A variable is given its value before the next is given that variable's.
            depths = sorted(_depths(trial, rng))
            yield self._scene(VARIABLES, sample, haystack, trial, depths)

    def _rng(self, task: str, sample: int) -> random.Random:
        return random.Random(f"{self.seed}/{self.label}/{task}/{sample}")

    def _scene(
        self, task: str, sample: int, haystack: Haystack, trial: Trial, depths: Sequence[float]
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


def _needles_haystack(
    task: Task, trial: Trial, words: Words, characters: int, rng: random.Random
) -> Haystack:
    """Needles of other keys and other values, one a line: nothing but lookalikes."""

    def lines() -> Iterator[str]:
        told = " ".join(trial.sentences)
        used: set[str] = set()
        while True:
            key = key_text(task.key_type, words, rng)
            value = key_text(task.value_type, words, rng)
            if key not in used and key not in told and value not in told:
                used.add(key)
                yield f"{needle(task.value_type, key, value)}\n"

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


def _depths(trial: Trial, rng: random.Random) -> list[float]:
    """A depth of its own for each sentence."""
    steps = rng.sample(range(DEPTHS), len(trial.sentences))
    return [step / (DEPTHS - 1) for step in steps]


def _size(sentences: Sequence[str]) -> int:
    """Characters that sentences take in the text, with the space around them."""
    return sum(len(sentence) + 2 for sentence in sentences)
