"""The corpora and their documents: what is registered, in which state, with which content.

Knows records and digests. Does not know how text arrives (uploads) or what is built of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from engine.fail_point import fail_point
from service import ids
from service.errors import ErrorRecord, ServiceError, fail, quoted
from service.limits import Limits
from service.state.content import ContentStore, TextFacts
from service.state.corpus import Corpus, CorpusState, DeletedCorpus, Document, corpus_of
from service.state.deletions import begin_deletion
from service.state.pages import Listing, read_page
from service.state.store import Record, Store
from service.state.tables import CARTRIDGES, CORPORA, DOCUMENTS, delete_belongings


class Corpora:
    """Corpora and documents in the store. Methods raise CORPUS_NOT_FOUND and MALFORMED_ID."""

    def __init__(self, store: Store, content: ContentStore, limits: Limits | None = None) -> None:
        self._store = store
        self._content = content
        self._limits = limits or Limits()

    def create(self, corpus_id: str, display_name: str = "") -> Corpus:
        """Register an empty corpus. Raises CORPUS_EXISTS, INVALID_VALUE."""
        ids.parse_id(corpus_id, "corpus_id")
        self._check_display_name(display_name)
        with self._store.transaction():
            if CORPORA.get(self._store, (corpus_id,)):
                raise fail(
                    "CORPUS_EXISTS",
                    f"corpus_id: the corpus '{corpus_id}' exists; choose another id or delete it",
                    field="corpus_id",
                    corpus_id=corpus_id,
                )
            made = Corpus(
                id=corpus_id, display_name=display_name, state=CorpusState.OPEN, error=None,
                content_digest="", indexed_digest=None, etag="", document_count=0, byte_count=0,
                char_count=0, token_count=0, sentence_count=0, create_time=self._store.now(),
            )  # fmt: skip
            CORPORA.put(self._store, (corpus_id,), asdict(made) | {"content_digest": None})
            fail_point("corpus.recorded")
            return self.get(corpus_id)

    def get(self, corpus_id: str) -> Corpus:
        """The corpus as it stands."""
        return corpus_of(settled(self._store, self._record(corpus_id)))

    def require(self, corpus_id: str) -> None:
        """Raise CORPUS_NOT_FOUND unless the corpus exists; cheaper than `get` amid uploads."""
        self._record(corpus_id)

    def list(self, page_size: int = 0, page_token: str = "") -> tuple[tuple[Corpus, ...], str]:
        """A page of corpora, newest first, and the next page's token."""
        listing = Listing("corpora", CORPORA, "by_time", (float, str), descending=True)
        found, token = read_page(self._store, listing, page_size, page_token, self._limits)
        return tuple(corpus_of(settled(self._store, record)) for record in found), token

    def delete(self, corpus_id: str, etag: str | None = None) -> DeletedCorpus:
        """Remove the corpus with its documents, uploads and cartridges.

        Raises CORPUS_ETAG_MISMATCH when `etag` is given and the corpus has changed since.
        """
        with self._store.transaction():
            corpus = self.get(corpus_id) if etag else None
            if corpus and etag != corpus.etag:
                raise fail(
                    "CORPUS_ETAG_MISMATCH",
                    f"etag: the corpus '{corpus_id}' has changed since; read it again and decide",
                    field="etag",
                    corpus_id=corpus_id,
                )
            if CORPORA.delete(self._store, (corpus_id,)) is None:
                raise _corpus_not_found(corpus_id)
            cartridges = [record["id"] for _, record in CARTRIDGES.each(self._store, (corpus_id,))]
            digests = {one["sha256"] for _, one in DOCUMENTS.each(self._store, (corpus_id,))}
            delete_belongings(self._store, corpus_id)
            begin_deletion(self._store, corpus_id)
            unneeded = [
                one for one in digests if not DOCUMENTS.first(self._store, "by_digest", (one,))
            ]
            return DeletedCorpus(corpus_id, tuple(cartridges), tuple(sorted(unneeded)))

    def add_document(self, corpus_id: str, document_id: str, facts: TextFacts) -> Document:
        """Record a document, new or replaced; the same text again changes nothing.

        Raises CORPUS_TOO_LARGE.
        """
        ids.parse_document_id(document_id, limits=self._limits)
        with self._store.transaction():
            corpus = self._record(corpus_id)
            before = self._find_document(corpus_id, document_id)
            if before and before.sha256 == facts.sha256:
                return before
            self._check_room(corpus, before, facts)
            counts = (facts.byte_count, facts.char_count)
            now = self._store.now()
            document = Document(corpus_id, document_id, facts.sha256, *counts, now)
            DOCUMENTS.put(self._store, (corpus_id, document_id), asdict(document))
            self._content_changed(corpus, before, document)
            return document

    def get_document(self, corpus_id: str, document_id: str) -> Document:
        """One document's record. Raises DOCUMENT_NOT_FOUND."""
        found = self._find_document(corpus_id, document_id)
        if found is None:
            self._record(corpus_id)
            raise _document_not_found(corpus_id, document_id)
        return found

    def read_document(self, corpus_id: str, document_id: str) -> str:
        """One document's text. Raises DOCUMENT_NOT_FOUND, DOCUMENT_DAMAGED."""
        return self._content.read_text(self.get_document(corpus_id, document_id).sha256)

    def delete_document(self, corpus_id: str, document_id: str) -> None:
        """Remove one document. Raises DOCUMENT_NOT_FOUND."""
        with self._store.transaction():
            before = self.get_document(corpus_id, document_id)
            DOCUMENTS.delete(self._store, (corpus_id, document_id))
            self._content_changed(self._record(corpus_id), before, None)

    def list_documents(
        self, corpus_id: str, page_size: int = 0, page_token: str = ""
    ) -> tuple[tuple[Document, ...], str]:
        """A page of a corpus's documents by document id, and the next page's token."""
        self._record(corpus_id)
        listing = Listing(f"documents/{corpus_id}", DOCUMENTS, "", (str,), (corpus_id,))
        found, token = read_page(self._store, listing, page_size, page_token, self._limits)
        return tuple(Document(**record) for record in found), token

    def referenced_digests(self) -> frozenset[str]:
        """The hashes of all texts that some document refers to."""
        return frozenset(record["sha256"] for _, record in DOCUMENTS.each(self._store))

    def mark_indexing(self, corpus_id: str) -> Corpus:
        """An index is being built. Raises CORPUS_EMPTY."""
        with self._store.transaction():
            if not self.get(corpus_id).document_count:
                raise fail(
                    "CORPUS_EMPTY",
                    f"the corpus '{corpus_id}' has no documents; upload one first",
                    corpus_id=corpus_id,
                )
            return self._mark(corpus_id, {"state": CorpusState.INDEXING, "error": None})

    def mark_ready(
        self, corpus_id: str, indexed_digest: str, token_count: int, sentence_count: int
    ) -> Corpus:
        """An index of that content stands; READY if it is still the content, OPEN if not. Where the
        content as it stands is indexed already, the index of an earlier one changes nothing of that.
        """
        with self._store.transaction():
            corpus = self.get(corpus_id)
            indexed = {
                "indexed_digest": indexed_digest,
                "token_count": token_count,
                "sentence_count": sentence_count,
            }
            is_current = indexed_digest == corpus.content_digest
            if not is_current and corpus.indexed_digest == corpus.content_digest:
                is_current, indexed = True, {}
            state = CorpusState.READY if is_current else CorpusState.OPEN
            return self._mark(corpus_id, {**indexed, "state": state, "error": None})

    def mark_unindexed(self, corpus_id: str, indexed_digest: str | None = None) -> Corpus:
        """Its index, or that of one content, cannot be used any more; a READY corpus is OPEN again."""
        with self._store.transaction():
            corpus = self.get(corpus_id)
            if indexed_digest is not None and corpus.indexed_digest != indexed_digest:
                return corpus  # indexed anew meanwhile
            is_ready = corpus.state is CorpusState.READY
            state = CorpusState.OPEN if is_ready else corpus.state
            return self._mark(corpus_id, {"state": state, "indexed_digest": None})

    def mark_failed(self, corpus_id: str, error: ErrorRecord) -> Corpus:
        """The last index could not be built, and why."""
        return self._mark(corpus_id, {"state": CorpusState.FAILED, "error": asdict(error)})

    def _record(self, corpus_id: str) -> Record:
        record = CORPORA.get(self._store, (corpus_id,))
        if record is None:
            raise _corpus_not_found(corpus_id)
        return record

    def _mark(self, corpus_id: str, change: Mapping[str, Any]) -> Corpus:
        with self._store.transaction():
            record = {**settled(self._store, self._record(corpus_id)), **change}
            CORPORA.put(self._store, (corpus_id,), record)
            return self.get(corpus_id)

    def _content_changed(
        self, corpus: Record, before: Document | None, after: Document | None
    ) -> None:
        # The digest over all documents is left to the next reader: computed here, a stream of
        # n documents would cost n^2. For the same reason the sums are kept, not counted.
        counts = ("document_count", "byte_count", "char_count")
        removed, added = _sums(before), _sums(after)
        changed = corpus | {
            name: corpus[name] + new - old
            for name, new, old in zip(counts, added, removed, strict=True)
        }
        if corpus["state"] == CorpusState.FAILED:
            changed["error"] = None
        if corpus["state"] != CorpusState.INDEXING:
            changed["state"] = CorpusState.OPEN
        CORPORA.put(self._store, (corpus["id"],), changed | {"content_digest": None})

    def _find_document(self, corpus_id: str, document_id: str) -> Document | None:
        record = DOCUMENTS.get(self._store, (corpus_id, document_id))
        return Document(**record) if record else None

    def _check_room(self, corpus: Record, before: Document | None, facts: TextFacts) -> None:
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


def settled(store: Store, corpus: Record) -> Record:
    """A corpus' record with `content_digest`, and what follows from it, up to date."""
    if corpus["content_digest"] is not None:
        return corpus
    with store.transaction():
        # As it stands now; a corpus that has gone meanwhile is told of as it was.
        found = CORPORA.get(store, (corpus["id"],))
        record = _settle(store, found or corpus)
        if found:
            CORPORA.put(store, (corpus["id"],), record)
        return record


def _settle(store: Store, corpus: Record) -> Record:
    digest = hashlib.sha256()
    for _, one in DOCUMENTS.each(store, (corpus["id"],)):
        digest.update(f"{one['document_id']}\t{one['sha256']}\n".encode())
    content_digest = digest.hexdigest()
    # The creation time tells a corpus from a deleted one of the same id and content.
    known = f"{corpus['id']} {corpus['create_time']} {content_digest}"
    is_indexed = corpus["state"] == CorpusState.OPEN and corpus["indexed_digest"] == content_digest
    return corpus | {
        "content_digest": content_digest,
        "etag": hashlib.sha256(known.encode()).hexdigest()[:16],
        "state": CorpusState.READY if is_indexed else corpus["state"],
    }


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
