"""What came of questions: route, terms, cost and a caller's verdict; never a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from service.errors import fail, quoted
from service.state.store import Store
from service.state.tables import CORPORA, OUTCOMES, VERDICTS, next_number

_SWEPT_EVERY = 64  # outcomes


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answered question. `options` are the terms of every route, as JSON values; `propensity` is the
    chance that this route had to be taken.
    """

    id: str
    corpus_id: str
    kind: str
    route: str
    reason: str
    quality: float
    options: Sequence[Mapping[str, object]]
    seconds: float
    prompt_tokens: int
    propensity: float = 1.0
    is_good: bool | None = None


def is_choice(outcome: Outcome) -> bool:
    """Whether the router chose: what a caller asked for tells nothing of its policy, nor does the second
    try of an answer that refused.
    """
    return outcome.reason not in ("REQUESTED", "ESCALATED")


class OutcomesLog:
    """The newest `most` outcomes or a few more, by id. What callers said of them is counted for good."""

    def __init__(self, store: Store, most: int = 100_000) -> None:
        self._store, self._most = store, most

    def add(self, outcome: Outcome) -> None:
        """Keeps an outcome. One of a corpus that is gone meanwhile is dropped."""
        with self._store.transaction():
            if CORPORA.get(self._store, (outcome.corpus_id,)):
                number = next_number(self._store, OUTCOMES.name)
                record = asdict(outcome) | {"create_time": self._store.now(), "number": number}
                OUTCOMES.put(self._store, (outcome.corpus_id, outcome.id), record)
                if number % _SWEPT_EVERY == 0:
                    OUTCOMES.delete_until(self._store, "numbered", number - self._most + 1)

    def judge(self, corpus_id: str, outcome_id: str, is_good: bool) -> tuple[int, int]:
        """Keeps a caller's verdict; how many of the same kind and route are right and wrong now.

        Raises DECISION_NOT_FOUND.
        """
        key = (corpus_id, outcome_id)
        with self._store.transaction():
            outcome = OUTCOMES.get(self._store, key)
            if outcome is None:
                raise fail(
                    "DECISION_NOT_FOUND",
                    f"decision_id: there is no answer {quoted(outcome_id)} of the corpus "
                    f"{quoted(corpus_id)}; give the decision_id of an answer of the last days",
                    field="decision_id",
                )
            counted = (corpus_id, outcome["kind"], outcome["route"])
            counts = VERDICTS.get(self._store, counted) or {"good": 0, "bad": 0}
            if outcome["is_good"] is not None:
                counts[_name(outcome["is_good"])] -= 1
            counts[_name(is_good)] += 1
            VERDICTS.put(self._store, counted, counts)
            OUTCOMES.put(self._store, key, outcome | {"is_good": is_good})
            return counts["good"], counts["bad"]

    def verdicts(self, corpus_id: str, kind: str) -> dict[str, tuple[int, int]]:
        """Answers of one kind that callers called right and wrong, by route."""
        found = self._store.range(VERDICTS.name, (corpus_id, kind))
        return {str(key[-1]): (counts["good"], counts["bad"]) for key, counts in found}

    def judged(self) -> list[Outcome]:
        """All that callers judged, oldest first."""
        names = {field.name for field in fields(Outcome)}
        return [
            Outcome(**{name: value for name, value in record.items() if name in names})
            for _, record in OUTCOMES.find(self._store, "judged")
        ]

    def forget(self, before: float) -> int:
        """Drops what is older than that time and was not judged; how many."""
        return OUTCOMES.delete_until(self._store, "unjudged", before)


def _name(is_good: bool) -> str:
    return "good" if is_good else "bad"
