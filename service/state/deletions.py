"""Deletions whose records are gone and whose files may not be: what a kill cuts off is ended later."""

from __future__ import annotations

from service.state.store import Store
from service.state.tables import CARTRIDGES, CORPORA, DELETIONS


def begin_deletion(store: Store, corpus_id: str, cartridge_id: str = "") -> None:
    """Notes, in the transaction that deletes the record, that there are files to remove."""
    key = (corpus_id, cartridge_id)
    DELETIONS.put(store, key, {"corpus_id": corpus_id, "cartridge_id": cartridge_id})


def end_deletion(store: Store, corpus_id: str, cartridge_id: str = "") -> None:
    """The files are gone."""
    DELETIONS.delete(store, (corpus_id, cartridge_id))


def unfinished_deletions(store: Store) -> list[tuple[str, str]]:
    """Corpora, and cartridges of corpora, that were deleted and are not there again under their id."""
    found = [(one["corpus_id"], one["cartridge_id"]) for _, one in DELETIONS.each(store)]
    return [
        (corpus, cartridge)
        for corpus, cartridge in found
        if not (
            CARTRIDGES.get(store, (corpus, cartridge))
            if cartridge
            else CORPORA.get(store, (corpus,))
        )
    ]
