"""What came of questions: route, terms, cost and a caller's verdict; never a text."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.errors import fail, quoted
from service.state.database import Database


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


class OutcomesLog:
    """Outcomes by id; the oldest are forgotten."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, outcome: Outcome) -> None:
        """Keeps an outcome. One of a corpus that is gone meanwhile is dropped."""
        self._database.execute(
            "INSERT INTO outcomes (id, corpus_id, kind, route, reason, quality, propensity, "
            "options_json, seconds, prompt_tokens, create_time) "
            "SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE EXISTS "
            "(SELECT 1 FROM corpora WHERE id = ?)",
            (
                outcome.id, outcome.corpus_id, outcome.kind, outcome.route, outcome.reason,
                outcome.quality, outcome.propensity, json.dumps(list(outcome.options)),
                outcome.seconds, outcome.prompt_tokens, time.time(), outcome.corpus_id,
            ),
        )  # fmt: skip

    def judge(self, corpus_id: str, outcome_id: str, is_good: bool) -> tuple[int, int]:
        """Keeps a caller's verdict; how many of the same kind and route are right and wrong now.

        Raises DECISION_NOT_FOUND.
        """
        with self._database.transaction():
            changed = self._database.execute(
                "UPDATE outcomes SET verdict = ? WHERE id = ? AND corpus_id = ?",
                (int(is_good), outcome_id, corpus_id),
            )
            row = self._database.row("SELECT kind, route FROM outcomes WHERE id = ?", (outcome_id,))
            if not changed or row is None:
                raise fail(
                    "DECISION_NOT_FOUND",
                    f"decision_id: there is no answer {quoted(outcome_id)} of the corpus "
                    f"{quoted(corpus_id)}; give the decision_id of an answer of the last days",
                    field="decision_id",
                )
            return self.verdicts(corpus_id, row["kind"]).get(row["route"], (0, 0))

    def verdicts(self, corpus_id: str, kind: str) -> dict[str, tuple[int, int]]:
        """Answers of one kind that callers called right and wrong, by route."""
        rows = self._database.rows(
            "SELECT route, SUM(verdict) AS good, COUNT(*) AS judged FROM outcomes "
            "WHERE corpus_id = ? AND kind = ? AND verdict IS NOT NULL GROUP BY route",
            (corpus_id, kind),
        )
        return {row["route"]: (row["good"], row["judged"] - row["good"]) for row in rows}

    def judged(self) -> list[Outcome]:
        """All that callers judged, oldest first."""
        rows = self._database.rows(
            "SELECT * FROM outcomes WHERE verdict IS NOT NULL ORDER BY create_time, id"
        )
        return [
            Outcome(
                row["id"], row["corpus_id"], row["kind"], row["route"], row["reason"],
                row["quality"], json.loads(row["options_json"]), row["seconds"],
                row["prompt_tokens"], row["propensity"], bool(row["verdict"]),
            )
            for row in rows
        ]  # fmt: skip

    def forget(self, before: float) -> int:
        """Drops what is older than that time and was not judged; how many."""
        return self._database.execute(
            "DELETE FROM outcomes WHERE create_time < ? AND verdict IS NULL", (before,)
        )
