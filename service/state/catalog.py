"""What an index of a corpus consists of: documents by hash and windows by hash.

The window records themselves are shared between corpora; a catalog only names them.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from retrieval.digest import Digest, Summary
from service.routing.rehearsal import Rehearsal, Tried


class CatalogDamagedError(Exception):
    """A catalog's file is not as it was written."""


@dataclass(frozen=True, slots=True)
class CatalogWindow:
    """A window at its place in a document, in characters."""

    start: int
    end: int
    digest: str


@dataclass(frozen=True, slots=True)
class CatalogDocument:
    """A document with its windows in order."""

    id: str
    sha256: str
    windows: tuple[CatalogWindow, ...]


@dataclass(frozen=True, slots=True)
class CatalogDense:
    """How vectors are searched: by an inverted file of so many lists and rows, or exactly where there
    are no lists. `recall` is the share of the ten nearest that was found when it was built.
    """

    lists: int = 0
    probes: int = 0  # lists looked into
    recall: float = 1.0
    rows: int = 0
    sha256: str = ""  # of the inverted file


@dataclass(frozen=True, slots=True)
class Catalog:
    """One index: the corpus content it covers and how it was made."""

    corpus_digest: str
    recipe: str
    token_count: int
    sentence_count: int
    documents: tuple[CatalogDocument, ...]
    digests: tuple[Digest, ...] = ()
    words_sha256: str = ""  # of the file of its words
    dense: CatalogDense | None = None  # None: made before this was told
    summaries: tuple[Summary, ...] = ()  # none unless they were asked for
    rehearsal: Rehearsal | None = None  # None: not rehearsed yet

    @classmethod
    def from_json(cls, data: bytes) -> "Catalog":
        """Raises CatalogDamagedError where the file is not as `to_json` made it."""
        try:
            fields = json.loads(data)
            told = fields.pop("sha256", None)  # of older releases: none
            if told not in (None, _digest(fields)):
                raise CatalogDamagedError("it does not match its digest")
            return _catalog(fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CatalogDamagedError("it is no catalog") from error

    def to_json(self) -> str:
        """The catalog with the digest of all else that is in the file."""
        fields = asdict(self)
        return json.dumps(fields | {"sha256": _digest(fields)})

    @property
    def windows(self) -> tuple[str, ...]:
        """The digests of all windows, in the order of the documents."""
        return tuple(window.digest for each in self.documents for window in each.windows)

    @property
    def texts(self) -> set[tuple[str, str]]:
        """Ids of the documents with the hashes of their texts."""
        return {(document.id, document.sha256) for document in self.documents}


def _digest(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields).encode()).hexdigest()


def _catalog(fields: dict[str, Any]) -> Catalog:
    documents = tuple(
        CatalogDocument(
            document["id"],
            document["sha256"],
            tuple(CatalogWindow(**window) for window in document["windows"]),
        )
        for document in fields.pop("documents")
    )
    digests = tuple(
        Digest(one["budget"], tuple(one["sentences"]), tuple(one["speaks_for"]))
        for one in fields.pop("digests", ())
    )
    told = fields.pop("dense", None)
    dense = CatalogDense(**told) if told else None
    summaries = tuple(Summary(**one) for one in fields.pop("summaries", ()))
    tried = fields.pop("rehearsal", None)
    rehearsal = _rehearsal(tried) if tried else None
    return Catalog(
        documents=documents, digests=digests, dense=dense, summaries=summaries,
        rehearsal=rehearsal, **fields,
    )  # fmt: skip


def _rehearsal(fields: Mapping[str, Any]) -> Rehearsal:
    return Rehearsal(**{**fields, "routes": tuple(Tried(**one) for one in fields["routes"])})
