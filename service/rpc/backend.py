"""What the servicers work on, gathered in one value, and what they ask of parts built elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Protocol

from service.answers import AnswerEvent, Decision, Question
from service.library import Loaded
from service.limits import Limits
from service.routes import PreparedContext
from service.rpc.info_service import ServerInfo
from service.state.cartridge_shelf import CartridgeRecord, CartridgeShelf
from service.state.catalog import CatalogDense
from service.state.corpora import Corpora
from service.state.corpus import Corpus, DeletedCorpus
from service.state.jobs import Jobs
from service.state.outcomes_log import OutcomesLog
from service.state.requests import Requests
from service.state.uploads import Uploads
from service.telemetry.observer import Nobody, Observer
from service.telemetry.tracing import NoTracing, Tracing
from service.text_answering import TextEvent, TextQuestion


class Answerer(Protocol):
    """Decides on routes and answers questions; raises ServiceError, before or between events."""

    async def decide(self, question: Question) -> Decision:
        """The route that would be taken; generates nothing."""
        ...

    def answer(self, question: Question) -> AsyncIterator[AnswerEvent]:
        """The events of one answer; closing the iterator stops the generation."""
        ...

    async def retrieve(self, question: Question) -> tuple[Decision, PreparedContext]:
        """What an answer would be given; generates nothing."""
        ...


class TextAnswers(Protocol):
    """Answers questions about texts that come with them."""

    def answer(self, question: TextQuestion, text: AsyncIterator[str]) -> AsyncIterator[TextEvent]:
        """The events of one answer; closing the iterator stops the reading."""
        ...


class Supervisor(Protocol):
    """Keeps the workers running."""

    def wake(self) -> None:
        """There may be a new job; returns at once and may be called from any thread."""
        ...


class Artifacts(Protocol):
    """The files built from corpora. Called from threads, after the records are gone."""

    def forget_corpus(self, deleted: DeletedCorpus) -> None:
        """Remove what was built from a deleted corpus, and its texts."""
        ...

    def forget_cartridge(self, deleted: CartridgeRecord) -> None:
        """Remove the files of a deleted cartridge."""
        ...


class ResidentCartridges(Protocol):
    """The cartridges in memory."""

    limit_bytes: int

    async def warm(self, record: CartridgeRecord, part: int) -> Loaded:
        """Load a part; raises ServiceError where it cannot be."""
        ...

    async def evict(self, corpus_id: str, cartridge_id: str = "") -> int:
        """Drop a cartridge, or all of a corpus; how many parts were there."""
        ...

    async def all(self) -> tuple[Loaded, ...]:
        """The least used first."""
        ...


class Indexes(Protocol):
    """The files of the corpora's indexes. Called from threads."""

    def dense(self, corpus: Corpus) -> CatalogDense | None:
        """How its vectors are searched, as far as that is known."""
        ...

    def is_whole(self, corpus: Corpus) -> bool:
        """Whether every file of its index is as it was written."""
        ...


@dataclass(frozen=True, slots=True)
class Backend:
    """Everything behind the servicers."""

    corpora: Corpora
    uploads: Uploads
    jobs: Jobs
    shelf: CartridgeShelf
    requests: Requests
    outcomes: OutcomesLog
    limits: Limits
    answerer: Answerer
    text_answerer: TextAnswers
    count_tokens: Callable[[str], int]  # of the served model; may be called from any thread
    supervisor: Supervisor
    artifacts: Artifacts
    residents: ResidentCartridges
    staleness: Callable[[CartridgeRecord], float]  # share of its corpus that it does not know
    info: ServerInfo
    indexes: Indexes
    observer: Observer = field(default_factory=Nobody)
    tracing: Tracing = field(default_factory=NoTracing)
    under_way: Callable[[], int] = lambda: 0  # questions that are admitted and not answered
    is_alive: Callable[[], bool] = lambda: True  # whether questions can still be answered
    check_state: Callable[[], None] = lambda: None  # raises while the state store cannot be written
    require_open: Callable[[float | None], None] = lambda deadline: None  # raises: ask nothing now
