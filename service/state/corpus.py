"""A corpus and its documents as values, and how a corpus looks as a record of the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

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


def corpus_of(record: Mapping[str, Any]) -> Corpus:
    """The corpus that a record holds."""
    parsed = {"state": CorpusState(record["state"]), "error": ErrorRecord.of(record["error"])}
    return Corpus(**{**record, **parsed})
