"""The nouns of asking: a question, the decision about its route, and the events of its answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from engine.answer_row import FinishReason
from engine.sampling import SamplingParams
from retrieval.corpus_index import Evidence
from retrieval.lines import Effort


class Route(StrEnum):
    """How an answer gets its context."""

    AUTO = "auto"  # as a wish only: the router chooses
    CARTRIDGE = "cartridge"
    INFINI_RETRI = "infini_retri"
    CRAG = "crag"
    FULL_CONTEXT = "full_context"
    NONE = "none"
    DECLINE = "decline"  # says that the corpus does not tell


WISHES = tuple(route for route in Route if route is not Route.DECLINE)
"""What a caller may ask for."""


class Reading(StrEnum):
    """How the InfiniRetri route reads a text."""

    DEFAULT = "default"  # as a wish only: indexed for a registered corpus, else streaming
    INDEXED = "indexed"
    STREAMING = "streaming"
    PUBLISHED = "published"


@dataclass(frozen=True, slots=True)
class Question:
    """A validated question to one corpus. `deadline` is in `time.monotonic()` seconds."""

    corpus_id: str
    text: str
    route: Route = Route.AUTO
    cartridge_id: str = ""  # empty: the newest one that fits
    max_prompt_tokens: int = 0  # 0: the server's default budget
    sampling: SamplingParams = field(default_factory=SamplingParams)
    deadline: float | None = None
    reading: Reading = Reading.DEFAULT


@dataclass(frozen=True, slots=True)
class Fallback:
    """A route that was left, with a stable reason code and a sentence for people."""

    route: Route
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Option:
    """A route as it stood when one was chosen: how likely it is right, seconds in the middle and at the
    95th percentile, prompt tokens, what it is worth, and why it was closed where it was.
    """

    route: Route
    quality: float
    p50: float
    p95: float
    tokens: int
    utility: float
    closed: str = ""  # a stable reason code
    why: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The route taken, why, on which inputs, which routes were left before it, and the terms of all."""

    route: Route
    requested: Route
    reason: str
    explanation: str
    signals: Mapping[str, float] = field(default_factory=dict)
    cartridge_id: str = ""
    fallbacks: tuple[Fallback, ...] = ()
    options: tuple[Option, ...] = ()  # open ones first, the most worth first
    id: str = ""
    propensity: float = 1.0  # the chance with which this route was taken

    @property
    def runner_up(self) -> Option | None:
        """The best of the open routes that were not taken."""
        left = (one for one in self.options if not one.closed and one.route is not self.route)
        return next(left, None)

    @property
    def margin(self) -> float:
        """How much more the route taken is worth than the runner-up: below 0 where something else than
        worth decided, 0 where there is none.
        """
        worth = next((one.utility for one in self.options if one.route is self.route), 0.0)
        return worth - self.runner_up.utility if self.runner_up else 0.0

    def with_effort(self, effort: Effort | None) -> "Decision":
        """The decision that also tells how far the question was read, where that hung on it."""
        if effort is None:
            return self
        done = "nothing was read twice"
        if effort.read_again:
            done = "the best passages were read again"
        if effort.rounds > 1:
            done += ", and a draft of the answer was searched for"
        found = f"the best sentence covers {effort.coverage:.0%} of what the question finds"
        signals = {
            "coverage": effort.coverage,
            "read_again": float(effort.read_again),
            "search_rounds": float(effort.rounds),
        }
        if effort.search_seconds:
            signals["search_seconds"] = effort.search_seconds
        return replace(
            self,
            explanation=f"{self.explanation}; {found}: {done}",
            signals={**self.signals, **signals},
        )


@dataclass(frozen=True, slots=True)
class ReadSoFar:
    """How much of a text that came with its question has been read."""

    sentences: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Delta:
    """New text of a streamed answer, with the tokens it came from."""

    text: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts and times of one answer; times in seconds from the question's arrival."""

    prompt_tokens: int
    prefix_tokens: int
    output_tokens: int
    queue_seconds: float
    prepare_seconds: float
    first_token_seconds: float
    total_seconds: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The last event of an answer."""

    finish: FinishReason
    usage: Usage


# The events of one answer, in this order: Decision, tuple[Evidence, ...], Delta*, Summary.
AnswerEvent = Decision | tuple[Evidence, ...] | Delta | Summary
