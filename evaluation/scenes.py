"""What an evaluation asks: scenes of documents, and probes whose answers and places are known."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from evaluation.questions import normalised
from service.client.types import SourceDocument

Label = str | int | float


@dataclass(frozen=True, slots=True)
class Gold:
    """Where an answer is told: a text within a document, or with no text the whole document."""

    document: str
    text: str = ""

    def is_in(self, document: str, text: str) -> bool:
        """Whether a piece of evidence holds this place, or is a part of it."""
        if document != self.document:
            return False
        wanted, shown = normalised(self.text), normalised(text)
        return wanted in shown or shown in wanted


@dataclass(frozen=True, slots=True)
class Probe:
    """One question. `answers` are the parts of a full answer, each with its accepted forms; `id` is
    unique within its scene and the same in every run, so that a finished one is known again.
    """

    id: str
    question: str
    answers: tuple[tuple[str, ...], ...]
    gold: tuple[Gold, ...] = ()
    labels: Mapping[str, Label] = field(default_factory=dict)
    max_output_tokens: int = 32

    def score(self, answer: str) -> float:
        """Share of the answer's parts that were said, 0..1; case and white space do not count."""
        said = normalised(answer)
        hits = [any(normalised(form) in said for form in forms) for forms in self.answers]
        return sum(hits) / len(hits)


@dataclass(frozen=True, slots=True)
class Scene:
    """Documents that are registered together, and what is asked about them."""

    id: str
    documents: Sequence[SourceDocument]
    probes: tuple[Probe, ...]


class Suite(Protocol):
    """A kind of evaluation: its scenes, and the labels that its tables are grouped by."""

    @property
    def name(self) -> str: ...

    @property
    def grouped_by(self) -> tuple[str, ...]: ...

    @property
    def description(self) -> Mapping[str, Label]:
        """What a reader of the report must know: seed, source, lengths, repetition, licence."""
        ...

    def scenes(self) -> Iterator[Scene]: ...
