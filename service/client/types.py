"""What the client gives back: plain values without protobuf, each with its JSON form.

Imports nothing heavy, so that a command line starts fast. Times are seconds since the epoch,
durations are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class Route(StrEnum):
    """How an answer gets its context; AUTO leaves the choice to the server."""

    AUTO = "auto"
    CARTRIDGE = "cartridge"
    INFINI_RETRI = "infini_retri"
    CRAG = "crag"
    FULL_CONTEXT = "full_context"
    NONE = "none"
    DECLINE = "decline"  # the server's alone: the corpus does not tell


WISHES = tuple(route for route in Route if route is not Route.DECLINE)
"""What may be asked for."""


class Reader(StrEnum):
    """How the InfiniRetri route reads; DEFAULT is indexed for a corpus, streaming for a text."""

    DEFAULT = "default"
    INDEXED = "indexed"
    STREAMING = "streaming"
    PUBLISHED = "published"


@dataclass(frozen=True, slots=True)
class SourceDocument:
    """A document to upload: its id, and its bytes or the file that holds them."""

    id: str
    read: bytes | Path

    def data(self) -> bytes:
        """The document's bytes. Raises OSError when its file cannot be read."""
        return self.read if isinstance(self.read, bytes) else self.read.read_bytes()


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """Why something failed: a status code, a stable reason, and a sentence with the mend."""

    code: str
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> Json:
        """The error as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class DenseSearch:
    """How vectors are searched: `lists` 0 exactly; `recall` is that of the ten nearest."""

    lists: int
    probes: int
    recall: float


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus; `state` is open, indexing, ready or failed."""

    name: str
    id: str
    display_name: str
    state: str
    error: ErrorReport | None
    documents: int
    num_bytes: int
    characters: int
    sentences: int
    tokens: int
    content_digest: str
    indexed_digest: str
    etag: str
    create_time: float
    dense: DenseSearch | None = None  # told by `Client.get_corpus` alone

    @property
    def is_indexed(self) -> bool:
        """Whether the index covers the documents as they are now."""
        return bool(self.content_digest) and self.content_digest == self.indexed_digest

    def as_json(self) -> Json:
        """The corpus as JSON values."""
        return asdict(self) | {"indexed": self.is_indexed}


@dataclass(frozen=True, slots=True)
class Document:
    """A finished document of a corpus."""

    id: str
    sha256: str
    num_bytes: int
    characters: int
    create_time: float

    def as_json(self) -> Json:
        """The document as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class UploadReport:
    """What an upload sent; `skipped` counts documents that the server already had."""

    documents: int
    num_bytes: int
    skipped: int

    def as_json(self) -> Json:
        """The counts as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Cartridge:
    """A trained prefix; `state` is training, ready, stale or failed."""

    name: str
    corpus_id: str
    id: str
    state: str
    prefix_tokens: int
    query_offset: int
    size_bytes: int
    model_fingerprint: str
    corpus_digest: str
    tensor_digest: str
    metrics: Mapping[str, float]
    create_time: float
    error: ErrorReport | None
    changed_share: float = 0.0  # of the windows: new to a stale cartridge, or gone

    def as_json(self) -> Json:
        """The cartridge as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ResidentCartridge:
    """A cartridge in the server's memory; `hits` counts what asked for it since it was loaded."""

    name: str
    part: int
    size_bytes: int
    hits: int

    def as_json(self) -> Json:
        """The entry as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """A job at one moment; `phase` is queued, running, cancelling or done.

    `event_id` is where `watch` can go on after it; empty on snapshots that no event brought.
    """

    name: str
    kind: str
    corpus: str
    target: str
    phase: str
    progress: float
    message: str
    attempt: int
    metrics: Mapping[str, float]
    done: bool
    error: ErrorReport | None
    result: Corpus | Cartridge | None = None
    create_time: float = 0.0
    event_id: str = ""

    def as_json(self) -> Json:
        """The job as JSON values."""
        return asdict(self) | {"result": self.result.as_json() if self.result else None}


@dataclass(frozen=True, slots=True)
class Fallback:
    """A route that was tried and left, and why."""

    route: str
    reason: str
    message: str

    def as_json(self) -> Json:
        """The fallback as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Option:
    """A route as it stood: how likely it is right, seconds in the middle and at the 95th percentile,
    prompt tokens, what it is worth, and why it was shut out where it was.
    """

    route: str
    quality: float
    expected_seconds: float
    slow_seconds: float
    prompt_tokens: int
    utility: float
    closed_reason: str = ""
    closed_message: str = ""

    def as_json(self) -> Json:
        """The terms as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Decision:
    """The route taken, why, and on which numbers. `requested` is auto where none was forced.

    `options` are the terms of every route, open ones first, and `id` names the answer for feedback.
    `runner_up` is the best open route that was not taken, "auto" where there is none, and `margin` how
    much more the one taken is worth.
    """

    route: str
    requested: str
    reason: str
    explanation: str
    signals: Mapping[str, float] = field(default_factory=dict)
    cartridge: str = ""
    fallbacks: tuple[Fallback, ...] = ()
    options: tuple[Option, ...] = ()
    id: str = ""
    runner_up: str = Route.AUTO.value
    margin: float = 0.0

    def as_json(self) -> Json:
        """The decision as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A piece of a document: `start` and `end` in characters, `score` comparable in one answer."""

    document: str
    start: int
    end: int
    score: float
    text: str

    def as_json(self) -> Json:
        """The evidence as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Delta:
    """New text of a streamed answer, with the tokens it came from."""

    text: str
    token_ids: tuple[int, ...] = ()

    def as_json(self) -> Json:
        """The text as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts and times of one answer."""

    prompt_tokens: int
    prefix_tokens: int
    output_tokens: int
    first_token_seconds: float
    total_seconds: float
    queue_seconds: float = 0.0
    prepare_seconds: float = 0.0

    def as_json(self) -> Json:
        """The five figures that the command line promises, as JSON values."""
        own = asdict(self)
        return {name: own[name] for name in list(own)[:5]}


@dataclass(frozen=True, slots=True)
class Summary:
    """The last event of a streamed answer; `finish` is stop, length or cancelled."""

    finish: str
    usage: Usage

    def as_json(self) -> Json:
        """The summary as JSON values."""
        return {"finish": self.finish, "usage": self.usage.as_json()}


@dataclass(frozen=True, slots=True)
class ReadSoFar:
    """How much of a text that was sent with its question has been read."""

    sentences: int
    tokens: int

    def as_json(self) -> Json:
        """The progress as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Found:
    """What was found for a question: the evidence in document order, the candidates best first."""

    decision: Decision
    evidence: tuple[Evidence, ...]
    candidates: tuple[Evidence, ...]
    search_seconds: float

    def as_json(self) -> Json:
        """What was found as JSON values."""
        return {
            "route": self.decision.route,
            "reason": self.decision.reason,
            "evidence": [piece.as_json() for piece in self.evidence],
            "candidates": [piece.as_json() for piece in self.candidates],
            "search_seconds": self.search_seconds,
        }


# The events of a streamed answer, in this order: Decision, tuple[Evidence, ...], Delta*, Summary.
AnswerEvent = Decision | tuple[Evidence, ...] | Delta | Summary
# Those of an answer from a text that was sent along: ReadSoFar*, tuple[Evidence, ...], Delta*, Summary.
TextEvent = ReadSoFar | tuple[Evidence, ...] | Delta | Summary


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer with its reason, its evidence and its cost."""

    answer: str
    decision: Decision
    evidence: tuple[Evidence, ...]
    usage: Usage
    finish: str

    def as_json(self) -> Json:
        """The answer as JSON values; the first five keys are the lasting ones."""
        return {
            "answer": self.answer,
            "route": self.decision.route,
            "reason": self.decision.reason,
            "evidence": [piece.as_json() for piece in self.evidence],
            "usage": self.usage.as_json(),
            "explanation": self.decision.explanation,
            "fallbacks": [left.as_json() for left in self.decision.fallbacks],
            "cartridge": self.decision.cartridge,
            "decision_id": self.decision.id,
            "finish": self.finish,
        }


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server runs."""

    version: str
    model_name: str
    model_fingerprint: str
    device: str
    dtype: str
    window_tokens: int
    embedder: str
    data_format: int

    def as_json(self) -> Json:
        """The facts as JSON values."""
        return asdict(self)
