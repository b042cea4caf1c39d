"""The cartridges of the corpora as records: state, what they fit, what they measure.

Knows no tensors and no files. A cartridge whose corpus has changed since reads as STALE; that is
derived on reading, and a corpus that changes back makes it READY again.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from service import ids
from service.errors import ErrorRecord, ServiceError, fail, quoted
from service.limits import Limits
from service.state.corpora import settle
from service.state.database import Database, Listing, read_page

_SELECT = """SELECT r.corpus_id, r.id, CASE WHEN r.state = 'READY'
    AND r.corpus_digest <> c.content_digest THEN 'STALE' ELSE r.state END AS state,
    r.prefix_tokens, r.query_offset, r.size_bytes, r.model_fingerprint, r.corpus_digest,
    r.tensor_digest, r.metrics_json, r.error_json, r.create_time
    FROM cartridges r JOIN corpora c ON c.id = r.corpus_id WHERE """


class CartridgeState(StrEnum):
    """READY fits its corpus as it stands; STALE fits an earlier content of it."""

    TRAINING = "TRAINING"
    READY = "READY"
    STALE = "STALE"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class CartridgeRecord:
    """A cartridge as it is known to the service; it fits one model and one corpus content."""

    corpus_id: str
    id: str
    state: CartridgeState
    prefix_tokens: int
    query_offset: int
    size_bytes: int
    model_fingerprint: str
    corpus_digest: str
    tensor_digest: str
    metrics: Mapping[str, float]
    error: ErrorRecord | None
    create_time: float

    @property
    def has_tensors(self) -> bool:
        """Whether it was ever finished, be it for an earlier content of its corpus."""
        return self.state in (CartridgeState.READY, CartridgeState.STALE)


class CartridgeShelf:
    """Cartridge records. Methods on one cartridge raise CARTRIDGE_NOT_FOUND."""

    def __init__(self, database: Database, limits: Limits | None = None) -> None:
        self._database = database
        self._limits = limits or Limits()

    def create(
        self,
        corpus_id: str,
        cartridge_id: str,
        *,
        prefix_tokens: int,
        query_offset: int,
        model_fingerprint: str,
        corpus_digest: str,
    ) -> CartridgeRecord:
        """Record a cartridge that is to be trained.

        Raises MALFORMED_ID, CORPUS_NOT_FOUND, CARTRIDGE_EXISTS.
        """
        ids.parse_id(cartridge_id, "cartridge_id")
        with self._database.transaction():
            if not self._database.row("SELECT 1 FROM corpora WHERE id = ?", (corpus_id,)):
                raise fail(
                    "CORPUS_NOT_FOUND",
                    f"there is no corpus {quoted(corpus_id)}; create it first",
                    corpus_id=corpus_id,
                )
            if self._find(corpus_id, cartridge_id):
                raise fail(
                    "CARTRIDGE_EXISTS",
                    f"cartridge_id: the corpus '{corpus_id}' has a cartridge '{cartridge_id}'; "
                    "choose another id or delete it",
                    field="cartridge_id",
                    corpus_id=corpus_id,
                    cartridge_id=cartridge_id,
                )
            self._database.execute(
                "INSERT INTO cartridges (corpus_id, id, state, prefix_tokens, query_offset, "
                "model_fingerprint, corpus_digest, create_time) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    corpus_id,
                    cartridge_id,
                    CartridgeState.TRAINING,
                    prefix_tokens,
                    query_offset,
                    model_fingerprint,
                    corpus_digest,
                    time.time(),
                ),
            )
            return self.get(corpus_id, cartridge_id)

    def get(self, corpus_id: str, cartridge_id: str) -> CartridgeRecord:
        """The cartridge as it stands."""
        found = self._find(corpus_id, cartridge_id)
        if found is None:
            raise _not_found(corpus_id, cartridge_id)
        return found

    def list(
        self, corpus_id: str = "", page_size: int = 0, page_token: str = ""
    ) -> tuple[tuple[CartridgeRecord, ...], str]:
        """A page of cartridges, newest first, of one corpus or of all; the next page's token."""
        listing = Listing(
            f"cartridges/{corpus_id}",
            _SELECT + "? IN ('', r.corpus_id)",
            (corpus_id,),
            ("r.create_time", "r.corpus_id", "r.id"),
            descending=True,
        )
        with self._database.transaction():
            settle(self._database, corpus_id or None)
            rows, token = read_page(self._database, listing, page_size, page_token, self._limits)
        return tuple(_record(row) for row in rows), token

    def newest_ready(self, corpus_id: str, model_fingerprint: str) -> CartridgeRecord | None:
        """The newest cartridge that fits this model and the corpus as it stands."""
        found = self._select(
            corpus_id,
            "r.corpus_id = ? AND r.model_fingerprint = ? AND r.state = 'READY' "
            "AND r.corpus_digest = c.content_digest ORDER BY r.create_time DESC, r.id DESC LIMIT 1",
            (corpus_id, model_fingerprint),
        )
        return found[0] if found else None

    def mark_ready(
        self,
        corpus_id: str,
        cartridge_id: str,
        *,
        prefix_tokens: int,
        query_offset: int,
        size_bytes: int,
        corpus_digest: str,
        tensor_digest: str,
        metrics: Mapping[str, float],
    ) -> CartridgeRecord:
        """The cartridge is stored; the values are those of its manifest."""
        return self._mark(
            corpus_id,
            cartridge_id,
            "state = 'READY', error_json = NULL, prefix_tokens = ?, query_offset = ?, "
            "size_bytes = ?, corpus_digest = ?, tensor_digest = ?, metrics_json = ?",
            (
                prefix_tokens,
                query_offset,
                size_bytes,
                corpus_digest,
                tensor_digest,
                json.dumps(dict(metrics)),
            ),
        )

    def mark_failed(self, corpus_id: str, cartridge_id: str, error: ErrorRecord) -> CartridgeRecord:
        """Training ended without a cartridge, and why."""
        change = "state = 'FAILED', error_json = ?"
        return self._mark(corpus_id, cartridge_id, change, (error.to_json(),))

    def delete(self, corpus_id: str, cartridge_id: str) -> CartridgeRecord:
        """Remove the record; what it was."""
        with self._database.transaction():
            record = self.get(corpus_id, cartridge_id)
            self._database.execute(
                "DELETE FROM cartridges WHERE corpus_id = ? AND id = ?", (corpus_id, cartridge_id)
            )
            return record

    def _mark(
        self, corpus_id: str, cartridge_id: str, change: str, values: tuple[object, ...]
    ) -> CartridgeRecord:
        with self._database.transaction():
            self._database.execute(
                f"UPDATE cartridges SET {change} WHERE corpus_id = ? AND id = ?",
                (*values, corpus_id, cartridge_id),
            )
            return self.get(corpus_id, cartridge_id)

    def _find(self, corpus_id: str, cartridge_id: str) -> CartridgeRecord | None:
        found = self._select(corpus_id, "r.corpus_id = ? AND r.id = ?", (corpus_id, cartridge_id))
        return found[0] if found else None

    def _select(
        self, corpus_id: str, where: str, values: tuple[object, ...]
    ) -> tuple[CartridgeRecord, ...]:
        with self._database.transaction():
            settle(self._database, corpus_id)
            return tuple(_record(row) for row in self._database.rows(_SELECT + where, values))


def _record(row: sqlite3.Row) -> CartridgeRecord:
    values = dict(row)
    state = CartridgeState(values.pop("state"))
    error = ErrorRecord.from_json(values.pop("error_json"))
    metrics = json.loads(values.pop("metrics_json"))
    return CartridgeRecord(state=state, error=error, metrics=metrics, **values)


def _not_found(corpus_id: str, cartridge_id: str) -> ServiceError:
    return fail(
        "CARTRIDGE_NOT_FOUND",
        f"the corpus {quoted(corpus_id)} has no cartridge {quoted(cartridge_id)}; list its "
        "cartridges",
        corpus_id=corpus_id,
        cartridge_id=cartridge_id,
    )
