"""Which questions are let in: as many, and of as many tokens, as can be answered in time.

Once a second tenant has asked something, none holds more than its share of the queue, so that there is
room for the others' next questions.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from service.errors import ServiceError, fail
from service.limits import Limits
from service.pace import Load, Pace
from service.whose_call import tenant_under_way

_CHARS_A_TOKEN = 3  # of a question; few texts have less
_SOONEST, _LATEST = 0.1, 300.0  # seconds that a refused caller is told to wait


@dataclass(slots=True)
class Place:
    """One question under way; `tokens` of prompt and answer are held for its tenant."""

    tokens: int
    tenant: str


class Admission:
    """The questions under way and the pace at which they end; used on the event loop alone.

    Health, jobs and all calls that ask nothing of the model never come here.
    """

    def __init__(
        self, limits: Limits, places: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits, self._places, self._clock = limits, places, clock
        self._taken: dict[int, Place] = {}
        self._seen: set[str] = set()  # tenants that ever asked
        self._questions = 0  # of the places taken
        self._since = 0.0  # when the questions' work that is not yet counted began
        self.pace = Pace()

    @property
    def under_way(self) -> int:
        return len(self._taken)

    @property
    def load(self) -> Load:
        tokens = sum(place.tokens for place in self._taken.values())
        return Load(len(self._taken), tokens, self._places)

    @contextmanager
    def admit(self, tokens: int, deadline: float | None = None) -> Iterator[Place]:
        """A place for as long as the block lasts; `deadline` is in the clock's seconds.

        Raises:
            ServiceError: QUEUE_FULL where no place or no room for the tokens is left, TENANT_QUEUE_FULL
                where the tenant has its share of them, DEADLINE_TOO_SHORT where the wait would outlast
                the deadline.
        """
        with self.admit_beside(tokens, deadline) as place:
            if not self._questions:
                self._since = self._clock()
            self._questions += 1
            try:
                yield place
                now = self._clock()  # an answer that was cut short tells nothing of the pace
                self.pace = self.pace.learned(place.tokens, now - self._since)
                self._since = now
            finally:
                self._questions -= 1

    @contextmanager
    def admit_beside(self, tokens: int, deadline: float | None = None) -> Iterator[Place]:
        """A place for other work of the model's thread, such as embedding, whose end tells nothing of
        the pace of questions. Raises as `admit` does.
        """
        tenant = tenant_under_way()
        self._seen.add(tenant)
        self._require_room(tokens)
        self._require_share(tenant, tokens)
        self._require_time(deadline, tenant)
        place = Place(tokens, tenant)
        self._taken[id(place)] = place
        try:
            yield place
        finally:
            del self._taken[id(place)]

    def require_open(self, deadline: float | None = None) -> None:
        """Raises what `admit` raises where even a question of one token is refused, whoever asks it."""
        self._require_room(1)
        self._require_time(deadline, None)

    def _require_room(self, tokens: int) -> None:
        load, limits = self.load, self._limits
        if not load.questions:  # however large: alone, it holds up nobody
            return
        excess = load.tokens + tokens - limits.max_queue_tokens
        if load.questions >= limits.max_queue:
            told = f"{load.questions} questions are under way, the most this server takes"
        elif excess > 0:
            told = (
                f"the questions under way have {load.tokens} tokens and this one {tokens}; "
                f"the server takes {limits.max_queue_tokens} at once"
            )
        else:
            return
        raise self._full("QUEUE_FULL", told, load, excess)

    def _require_share(self, tenant: str, tokens: int) -> None:
        own, share = self._load_of(tenant), self._limits.max_tenant_percent / 100
        if len(self._seen) == 1 or not own.questions:
            return
        excess = own.tokens + tokens - int(share * self._limits.max_queue_tokens)
        if own.questions < share * self._limits.max_queue and excess <= 0:
            return
        told = (
            f"{own.questions} questions of {own.tokens} tokens are under way for the tenant "
            f"'{tenant}'; a tenant holds at most {self._limits.max_tenant_percent} % of the queue"
        )
        raise self._full("TENANT_QUEUE_FULL", told, own, excess)

    def _require_time(self, deadline: float | None, tenant: str | None) -> None:
        wait = self._ahead_of(tenant).wait(self.pace)
        if deadline is None or self._clock() + wait <= deadline:
            return
        if not wait:  # a deadline that has passed is told as such, where it is looked at next
            return
        left = max(0.0, deadline - self._clock())
        raise fail(
            "DEADLINE_TOO_SHORT",
            f"the answer would begin in some {wait:.1f} seconds and the deadline is in {left:.1f}; "
            "allow more time, or ask again in a while",
            retry_after_seconds=_bounded(wait - left),
            wait_seconds=round(wait, 3),
        )

    def _load_of(self, tenant: str) -> Load:
        held = [place.tokens for place in self._taken.values() if place.tenant == tenant]
        return Load(len(held), sum(held), self._places)

    def _ahead_of(self, tenant: str | None) -> Load:
        """What is answered before a tenant's next question where tenants take turns: all that is being
        answered, and of what waits no more of another tenant's than of its own.
        """
        load, counts = self.load, Counter(place.tenant for place in self._taken.values())
        own = counts[tenant] if tenant else 0
        before = own + sum(min(count, own + 1) for who, count in counts.items() if who != tenant)
        questions = min(load.questions, max(self._places, before))
        tokens = load.tokens * questions // max(1, load.questions)
        return Load(questions, tokens, self._places)

    def _full(self, reason: str, what: str, load: Load, excess: int) -> ServiceError:
        wait = _bounded(load.until_room(self.pace, excess))
        return fail(reason, f"{what}; ask again in {wait:.1f} seconds", retry_after_seconds=wait)


def tokens_asked(text: str, evidence: int, max_prompt_tokens: int, max_tokens: int) -> int:
    """Tokens to hold for a question before its prompt is known: the most it is likely to take."""
    prompt = len(text) // _CHARS_A_TOKEN + evidence
    return min(prompt, max_prompt_tokens or prompt) + max_tokens


def _bounded(seconds: float) -> float:
    return min(_LATEST, max(_SOONEST, seconds))
