"""The corpora and their documents: what is registered, in which state, with which content.

Knows rows and digests. Does not know how text arrives (uploads) or what is built of it.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from dataclasses import astuple

from service import ids
from service.errors import ErrorRecord, ServiceError, fail, quoted
from service.limits import Limits
from service.state.content import ContentStore, TextFacts
from service.state.corpus import Corpus, CorpusState, DeletedCorpus, Document, corpus_of
from service.state.database import Database, Listing, read_page


class Corpora:
    """Corpora and documents in the database. Methods raise CORPUS_NOT_FOUND and MALFORMED_ID."""

    def __init__(
        self, database: Database, content: ContentStore, limits: Limits | None = None
    ) -> None:
        self._database = database
        self._content = content
        self._limits = limits or Limits()

    def create(self, corpus_id: str, display_name: str = "") -> Corpus:
        """Register an empty corpus. Raises CORPUS_EXISTS, INVALID_VALUE."""
        ids.parse_id(corpus_id, "corpus_id")
        self._check_display_name(display_name)
        with self._database.transaction():
            taken = self._database.row("SELECT 1 FROM corpora WHERE id = ?", (corpus_id,))
            if taken:
                raise fail(
                    "CORPUS_EXISTS",
                    f"corpus_id: the corpus '{corpus_id}' exists; choose another id or delete it",
                    field="corpus_id",
                    corpus_id=corpus_id,
                )
            self._database.execute(
                "INSERT INTO corpora (id, display_name, state, etag, create_time) "
                "VALUES (?, ?, ?, '', ?)",
                (corpus_id, display_name, CorpusState.OPEN, time.time()),
            )
            return self.get(corpus_id)

    def get(self, corpus_id: str) -> Corpus:
        """The corpus as it stands."""
        with self._database.transaction():
            settle(self._database, corpus_id)
            return corpus_of(self._row(corpus_id))

    def require(self, corpus_id: str) -> None:
        """Raise CORPUS_NOT_FOUND unless the corpus exists; cheaper than `get` amid uploads."""
        self._row(corpus_id)

    def list(self, page_size: int = 0, page_token: str = "") -> tuple[tuple[Corpus, ...], str]:
        """A page of corpora, newest first, and the next page's token."""
        keys = ("create_time", "id")
        listing = Listing("corpora", "SELECT * FROM corpora WHERE 1", (), keys, descending=True)
        with self._database.transaction():
            settle(self._database)
            rows, token = read_page(self._database, listing, page_size, page_token, self._limits)
        return tuple(corpus_of(row) for row in rows), token

    def delete(self, corpus_id: str, etag: str | None = None) -> DeletedCorpus:
        """Remove the corpus with its documents, uploads and cartridges.

        Raises CORPUS_ETAG_MISMATCH when `etag` is given and the corpus has changed since.
        """
        with self._database.transaction():
            if etag and etag != self.get(corpus_id).etag:
                raise fail(
                    "CORPUS_ETAG_MISMATCH",
                    f"etag: the corpus '{corpus_id}' has changed since; read it again and decide",
                    field="etag",
                    corpus_id=corpus_id,
                )
            cartridges = self._database.rows(
                "SELECT id FROM cartridges WHERE corpus_id = ? ORDER BY id", (corpus_id,)
            )
            digests = self._database.rows(
                "SELECT DISTINCT sha256 FROM documents WHERE corpus_id = ? AND sha256 NOT IN "
                "(SELECT sha256 FROM documents WHERE corpus_id <> ?) ORDER BY sha256",
                (corpus_id, corpus_id),
            )
            if not self._database.execute("DELETE FROM corpora WHERE id = ?", (corpus_id,)):
                raise _corpus_not_found(corpus_id)
        return DeletedCorpus(
            corpus_id, tuple(row["id"] for row in cartridges), tuple(row[0] for row in digests)
        )

    def add_document(self, corpus_id: str, document_id: str, facts: TextFacts) -> Document:
        """Record a document, new or replaced; the same text again changes nothing.

        Raises CORPUS_TOO_LARGE.
        """
        ids.parse_document_id(document_id, limits=self._limits)
        with self._database.transaction():
            corpus = self._row(corpus_id)
            before = self._find_document(corpus_id, document_id)
            if before and before.sha256 == facts.sha256:
                return before
            self._check_room(corpus, before, facts)
            counts = (facts.byte_count, facts.char_count)
            document = Document(corpus_id, document_id, facts.sha256, *counts, time.time())
            self._database.execute(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?, ?)",
                astuple(document),
            )
            self._content_changed(corpus_id, before, document)
            return document

    def get_document(self, corpus_id: str, document_id: str) -> Document:
        """One document's record. Raises DOCUMENT_NOT_FOUND."""
        found = self._find_document(corpus_id, document_id)
        if found is None:
            self._row(corpus_id)
            raise _document_not_found(corpus_id, document_id)
        return found

    def read_document(self, corpus_id: str, document_id: str) -> str:
        """One document's text. Raises DOCUMENT_NOT_FOUND, DOCUMENT_DAMAGED."""
        return self._content.read_text(self.get_document(corpus_id, document_id).sha256)

    def delete_document(self, corpus_id: str, document_id: str) -> None:
        """Remove one document. Raises DOCUMENT_NOT_FOUND."""
        with self._database.transaction():
            before = self.get_document(corpus_id, document_id)
            self._database.execute(
                "DELETE FROM documents WHERE corpus_id = ? AND document_id = ?",
                (corpus_id, document_id),
            )
            self._content_changed(corpus_id, before, None)

    def list_documents(
        self, corpus_id: str, page_size: int = 0, page_token: str = ""
    ) -> tuple[tuple[Document, ...], str]:
        """A page of a corpus's documents by document id, and the next page's token."""
        self._row(corpus_id)
        select = "SELECT * FROM documents WHERE corpus_id = ?"
        listing = Listing(f"documents/{corpus_id}", select, (corpus_id,), ("document_id",))
        rows, token = read_page(self._database, listing, page_size, page_token, self._limits)
        return tuple(Document(**dict(row)) for row in rows), token

    def referenced_digests(self) -> frozenset[str]:
        """The hashes of all texts that some document refers to."""
        return frozenset(r[0] for r in self._database.rows("SELECT sha256 FROM documents"))

    def mark_indexing(self, corpus_id: str) -> Corpus:
        """An index is being built. Raises CORPUS_EMPTY."""
        with self._database.transaction():
            if not self.get(corpus_id).document_count:
                raise fail(
                    "CORPUS_EMPTY",
                    f"the corpus '{corpus_id}' has no documents; upload one first",
                    corpus_id=corpus_id,
                )
            return self._mark(corpus_id, "state = 'INDEXING', error_json = NULL")

    def mark_ready(
        self, corpus_id: str, indexed_digest: str, token_count: int, sentence_count: int
    ) -> Corpus:
        """An index of that content stands; READY if it is still the content, OPEN if not."""
        return self._mark(
            corpus_id,
            "state = CASE WHEN content_digest = ? THEN 'READY' ELSE 'OPEN' END, "
            "indexed_digest = ?, token_count = ?, sentence_count = ?, error_json = NULL",
            (indexed_digest, indexed_digest, token_count, sentence_count),
        )

    def mark_unindexed(self, corpus_id: str) -> Corpus:
        """Its index cannot be used any more; a READY corpus is OPEN again."""
        return self._mark(
            corpus_id,
            "indexed_digest = NULL, state = CASE WHEN state = 'READY' THEN 'OPEN' ELSE state END",
        )

    def mark_failed(self, corpus_id: str, error: ErrorRecord) -> Corpus:
        """The last index could not be built, and why."""
        return self._mark(corpus_id, "state = 'FAILED', error_json = ?", (error.to_json(),))

    def _row(self, corpus_id: str) -> sqlite3.Row:
        row = self._database.row("SELECT * FROM corpora WHERE id = ?", (corpus_id,))
        if row is None:
            raise _corpus_not_found(corpus_id)
        return row

    def _mark(self, corpus_id: str, change: str, values: tuple[object, ...] = ()) -> Corpus:
        with self._database.transaction():
            self.get(corpus_id)
            self._database.execute(
                f"UPDATE corpora SET {change} WHERE id = ?", (*values, corpus_id)
            )
            return self.get(corpus_id)

    def _content_changed(
        self, corpus_id: str, before: Document | None, after: Document | None
    ) -> None:
        # The digest over all documents is left to the next reader: computed here, a stream of
        # n documents would cost n^2. For the same reason the sums are kept, not counted.
        removed, added = _sums(before), _sums(after)
        self._database.execute(
            "UPDATE corpora SET content_digest = NULL, "
            "error_json = CASE WHEN state = 'FAILED' THEN NULL ELSE error_json END, "
            "state = CASE WHEN state = 'INDEXING' THEN state ELSE 'OPEN' END, "
            "document_count = document_count + ?, byte_count = byte_count + ?, "
            "char_count = char_count + ? WHERE id = ?",
            (*(new - old for new, old in zip(added, removed, strict=True)), corpus_id),
        )

    def _find_document(self, corpus_id: str, document_id: str) -> Document | None:
        row = self._database.row(
            "SELECT * FROM documents WHERE corpus_id = ? AND document_id = ?",
            (corpus_id, document_id),
        )
        return Document(**dict(row)) if row else None

    def _check_room(self, corpus: sqlite3.Row, before: Document | None, facts: TextFacts) -> None:
        total = corpus["byte_count"] - (before.byte_count if before else 0) + facts.byte_count
        count = corpus["document_count"] + (0 if before else 1)
        for what, value, limit in (
            ("bytes", total, self._limits.max_corpus_bytes),
            ("documents", count, self._limits.max_documents),
        ):
            if value > limit:
                raise fail(
                    "CORPUS_TOO_LARGE",
                    f"the corpus '{corpus['id']}' would have {value} {what}, the limit is {limit}; "
                    "delete documents or start another corpus",
                    corpus_id=corpus["id"],
                    limit=limit,
                )

    def _check_display_name(self, display_name: str) -> None:
        longest = self._limits.max_display_name_chars
        if len(display_name) > longest or not display_name.isprintable():
            raise fail(
                "INVALID_VALUE",
                f"display_name: it has more than {longest} characters, or some that cannot be "
                "printed; shorten it to one printable line",
                field="display_name",
            )


def settle(database: Database, corpus_id: str | None = None) -> None:
    """Bring `content_digest`, and what follows from it, up to date: of one corpus, or of all."""
    sql = "SELECT id FROM corpora WHERE content_digest IS NULL"
    chosen = ("", ()) if corpus_id is None else (" AND id = ?", (corpus_id,))
    if not database.row(sql + chosen[0], chosen[1]):
        return
    with database.transaction():
        for found in database.rows(sql + chosen[0], chosen[1]):
            _settle_one(database, found["id"])


def _settle_one(database: Database, corpus_id: str) -> None:
    digest = hashlib.sha256()
    for row in database.rows(
        "SELECT document_id, sha256 FROM documents WHERE corpus_id = ? ORDER BY document_id",
        (corpus_id,),
    ):
        digest.update(f"{row['document_id']}\t{row['sha256']}\n".encode())
    content_digest = digest.hexdigest()
    # The creation time tells a corpus from a deleted one of the same id and content.
    born = database.rows("SELECT create_time FROM corpora WHERE id = ?", (corpus_id,))[0][0]
    etag = hashlib.sha256(f"{corpus_id} {born} {content_digest}".encode()).hexdigest()[:16]
    database.execute(
        "UPDATE corpora SET content_digest = ?, etag = ?, state = CASE "
        "WHEN state = 'OPEN' AND indexed_digest = ? THEN 'READY' ELSE state END WHERE id = ?",
        (content_digest, etag, content_digest, corpus_id),
    )


def _sums(document: Document | None) -> tuple[int, int, int]:
    return (1, document.byte_count, document.char_count) if document else (0, 0, 0)


def _corpus_not_found(corpus_id: str) -> ServiceError:
    return fail(
        "CORPUS_NOT_FOUND",
        f"there is no corpus {quoted(corpus_id)}; create it, or list the corpora for its id",
        corpus_id=corpus_id,
    )


def _document_not_found(corpus_id: str, document_id: str) -> ServiceError:
    return fail(
        "DOCUMENT_NOT_FOUND",
        f"the corpus '{corpus_id}' has no document {quoted(document_id)}; list its documents",
        corpus_id=corpus_id,
        document_id=document_id,
    )
