"""A corpus and its documents as values, and how a corpus looks as a row of the database."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from enum import StrEnum

from service.errors import ErrorRecord


class CorpusState(StrEnum):
    """OPEN: takes documents, not indexed as it stands. READY: answerable as it stands."""

    OPEN = "OPEN"
    INDEXING = "INDEXING"
    READY = "READY"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Corpus:
    """A registered corpus; `token_count` and `sentence_count` are those of its last index."""

    id: str
    display_name: str
    state: CorpusState
    error: ErrorRecord | None
    content_digest: str
    indexed_digest: str | None
    etag: str
    document_count: int
    byte_count: int
    char_count: int
    token_count: int
    sentence_count: int
    create_time: float


@dataclass(frozen=True, slots=True)
class Document:
    """A document as last stored; its text is in the content store under `sha256`."""

    corpus_id: str
    document_id: str
    sha256: str
    byte_count: int
    char_count: int
    create_time: float


@dataclass(frozen=True, slots=True)
class DeletedCorpus:
    """What nothing refers to any more after a corpus was deleted."""

    corpus_id: str
    cartridge_ids: tuple[str, ...]
    digests: tuple[str, ...]


def corpus_of(row: sqlite3.Row) -> Corpus:
    """The corpus that a row of the table holds."""
    values = dict(row)
    error = ErrorRecord.from_json(values.pop("error_json"))
    values["state"] = CorpusState(values["state"])
    return Corpus(error=error, **values)
