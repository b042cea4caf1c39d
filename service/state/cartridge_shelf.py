"""The cartridges of the corpora as records: state, what they fit, what they measure.

Knows no tensors and no files. A cartridge whose corpus has changed since reads as STALE; that is
derived on reading, and a corpus that changes back makes it READY again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from service import ids
from service.errors import ErrorRecord, ServiceError, fail, quoted
from service.limits import Limits
from service.state.corpora import settled
from service.state.deletions import begin_deletion, end_deletion
from service.state.pages import Listing, read_page
from service.state.store import Record, Store
from service.state.tables import CARTRIDGES, CORPORA


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

    def __init__(self, store: Store, limits: Limits | None = None) -> None:
        self._store = store
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
        with self._store.transaction():
            if not CORPORA.get(self._store, (corpus_id,)):
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
            made = CartridgeRecord(
                corpus_id, cartridge_id, CartridgeState.TRAINING, prefix_tokens, query_offset, 0,
                model_fingerprint, corpus_digest, "", {}, None, self._store.now(),
            )  # fmt: skip
            CARTRIDGES.put(self._store, (corpus_id, cartridge_id), asdict(made))
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
        index, prefix = ("of_corpus", (corpus_id,)) if corpus_id else ("by_time", ())
        parts = (float, str) if corpus_id else (float, str, str)
        listing = Listing(
            f"cartridges/{corpus_id}", CARTRIDGES, index, parts, prefix, descending=True
        )
        found, token = read_page(self._store, listing, page_size, page_token, self._limits)
        digests: dict[str, str] = {}
        for record in found:
            owner = record["corpus_id"]
            digests[owner] = digests.get(owner) or self._content_digest(owner)
        return tuple(_cartridge(one, digests[one["corpus_id"]]) for one in found), token

    def newest_ready(self, corpus_id: str, model_fingerprint: str) -> CartridgeRecord | None:
        """The newest cartridge that fits the corpus as it stands and this model."""
        found = CARTRIDGES.find(self._store, "of_corpus", (corpus_id,), descending=True)
        digest = self._content_digest(corpus_id)
        for _, record in found:
            cartridge = _cartridge(record, digest)
            is_of_model = cartridge.model_fingerprint == model_fingerprint
            if is_of_model and cartridge.state is CartridgeState.READY:
                return cartridge
        return None

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
        change = {
            "state": CartridgeState.READY,
            "error": None,
            "prefix_tokens": prefix_tokens,
            "query_offset": query_offset,
            "size_bytes": size_bytes,
            "corpus_digest": corpus_digest,
            "tensor_digest": tensor_digest,
            "metrics": dict(metrics),
        }
        return self._mark(corpus_id, cartridge_id, change)

    def mark_failed(self, corpus_id: str, cartridge_id: str, error: ErrorRecord) -> CartridgeRecord:
        """Training ended without a cartridge, and why."""
        change = {"state": CartridgeState.FAILED, "error": asdict(error)}
        return self._mark(corpus_id, cartridge_id, change)

    def delete(self, corpus_id: str, cartridge_id: str) -> CartridgeRecord:
        """Remove the record; what it was."""
        with self._store.transaction():
            record = self.get(corpus_id, cartridge_id)
            CARTRIDGES.delete(self._store, (corpus_id, cartridge_id))
            begin_deletion(self._store, corpus_id, cartridge_id)
            return record

    def end_deletion(self, corpus_id: str, cartridge_id: str) -> None:
        """The files of a deleted cartridge are gone."""
        end_deletion(self._store, corpus_id, cartridge_id)

    def _mark(
        self, corpus_id: str, cartridge_id: str, change: Mapping[str, Any]
    ) -> CartridgeRecord:
        key = (corpus_id, cartridge_id)
        with self._store.transaction():
            record = CARTRIDGES.get(self._store, key)
            if record is None:
                raise _not_found(corpus_id, cartridge_id)
            CARTRIDGES.put(self._store, key, {**record, **change})
            return self.get(corpus_id, cartridge_id)

    def _find(self, corpus_id: str, cartridge_id: str) -> CartridgeRecord | None:
        # The corpus second: what it says is the newer word.
        record = CARTRIDGES.get(self._store, (corpus_id, cartridge_id))
        return _cartridge(record, self._content_digest(corpus_id)) if record else None

    def _content_digest(self, corpus_id: str) -> str:
        corpus = CORPORA.get(self._store, (corpus_id,))
        return settled(self._store, corpus)["content_digest"] if corpus else ""


def _cartridge(record: Record, content_digest: str) -> CartridgeRecord:
    state = CartridgeState(record["state"])
    if state is CartridgeState.READY and record["corpus_digest"] != content_digest:
        state = CartridgeState.STALE
    return CartridgeRecord(**{**record, "state": state, "error": ErrorRecord.of(record["error"])})


def _not_found(corpus_id: str, cartridge_id: str) -> ServiceError:
    return fail(
        "CARTRIDGE_NOT_FOUND",
        f"the corpus {quoted(corpus_id)} has no cartridge {quoted(cartridge_id)}; list its "
        "cartridges",
        corpus_id=corpus_id,
        cartridge_id=cartridge_id,
    )
