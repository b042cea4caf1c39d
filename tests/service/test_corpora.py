"""A corpus is what its documents are: digest, etag and state follow from them."""

import hashlib
from pathlib import Path

import pytest

from service.errors import ServiceError, fail
from service.limits import Limits
from service.state.content import ContentStore, TextFacts
from service.state.corpora import Corpora
from service.state.corpus import CorpusState
from service.state.store import Store


@pytest.fixture
def corpora(store: Store, tmp_path: Path) -> Corpora:
    return Corpora(store, ContentStore(tmp_path), Limits(max_documents=4))


def facts(text: str) -> TextFacts:
    data = text.encode()
    return TextFacts(hashlib.sha256(data).hexdigest(), len(data), len(text), False)


def reason(caught: pytest.ExceptionInfo[ServiceError]) -> str:
    return caught.value.reason


def index(corpora: Corpora, corpus_id: str) -> CorpusState:
    digest = corpora.mark_indexing(corpus_id).content_digest
    return corpora.mark_ready(corpus_id, digest, 12, 3).state


def test_a_new_corpus_is_open_and_empty(corpora: Corpora) -> None:
    corpus = corpora.create("books", "My books")
    assert corpora.get("books") == corpus
    assert (corpus.display_name, corpus.state) == ("My books", CorpusState.OPEN)
    assert (corpus.document_count, corpus.byte_count, corpus.indexed_digest) == (0, 0, None)
    assert corpus.content_digest == hashlib.sha256().hexdigest()


def test_an_id_is_given_once(corpora: Corpora) -> None:
    corpora.create("books")
    with pytest.raises(ServiceError) as caught:
        corpora.create("books")
    assert reason(caught) == "CORPUS_EXISTS"
    with pytest.raises(ServiceError) as caught:
        corpora.create("../books")
    assert reason(caught) == "MALFORMED_ID"
    with pytest.raises(ServiceError) as caught:
        corpora.create("other", "two\nlines")
    assert reason(caught) == "INVALID_VALUE"


def test_a_missing_corpus_is_named(corpora: Corpora) -> None:
    for act in (
        lambda: corpora.get("nobody"),
        lambda: corpora.delete("nobody"),
        lambda: corpora.add_document("nobody", "a", facts("a")),
        lambda: corpora.list_documents("nobody"),
        lambda: corpora.mark_indexing("nobody"),
        lambda: corpora.get_document("nobody", "a"),
    ):
        with pytest.raises(ServiceError, match="nobody") as caught:
            act()
        assert reason(caught) == "CORPUS_NOT_FOUND"


def test_counts_are_sums_over_the_documents(corpora: Corpora) -> None:
    corpora.create("books")
    corpora.add_document("books", "b.txt", facts("zwei €"))
    corpora.add_document("books", "a.txt", facts("one"))
    corpus = corpora.get("books")
    assert (corpus.document_count, corpus.byte_count, corpus.char_count) == (2, 11, 9)
    corpora.add_document("books", "b.txt", facts("three"))
    corpora.add_document("books", "c.txt", facts("four"))
    corpora.delete_document("books", "a.txt")
    corpus = corpora.get("books")
    assert (corpus.document_count, corpus.byte_count, corpus.char_count) == (2, 9, 9)


def test_the_digest_is_over_the_sorted_documents(corpora: Corpora) -> None:
    corpora.create("books")
    corpora.add_document("books", "b.txt", facts("zwei €"))
    corpora.add_document("books", "a.txt", facts("one"))
    corpus = corpora.get("books")
    lines = f"a.txt\t{facts('one').sha256}\nb.txt\t{facts('zwei €').sha256}\n"
    assert corpus.content_digest == hashlib.sha256(lines.encode()).hexdigest()


def test_the_digest_does_not_depend_on_the_order_of_arrival(corpora: Corpora) -> None:
    for corpus_id, order in (("one", "ab"), ("two", "ba")):
        corpora.create(corpus_id)
        for document_id in order:
            corpora.add_document(corpus_id, document_id, facts(document_id))
    assert corpora.get("one").content_digest == corpora.get("two").content_digest


def test_an_unchanged_document_changes_nothing(corpora: Corpora) -> None:
    corpora.create("books")
    first = corpora.add_document("books", "a", facts("one"))
    index(corpora, "books")
    before = corpora.get("books")
    assert corpora.add_document("books", "a", facts("one")) == first
    assert corpora.get("books") == before


def test_a_changed_document_opens_the_corpus_again(corpora: Corpora) -> None:
    corpora.create("books")
    corpora.add_document("books", "a", facts("one"))
    assert index(corpora, "books") is CorpusState.READY
    before = corpora.get("books")
    corpora.add_document("books", "a", facts("two"))
    after = corpora.get("books")
    assert after.state is CorpusState.OPEN
    assert after.etag != before.etag
    assert after.indexed_digest == before.content_digest != after.content_digest
    assert after.document_count == 1


def test_a_corpus_that_changes_back_is_ready_again(corpora: Corpora) -> None:
    corpora.create("books")
    corpora.add_document("books", "a", facts("one"))
    index(corpora, "books")
    before = corpora.get("books")
    corpora.add_document("books", "b", facts("two"))
    assert corpora.get("books").state is CorpusState.OPEN
    corpora.delete_document("books", "b")
    assert corpora.get("books") == before


def test_a_document_that_arrives_during_indexing_leaves_the_corpus_open(corpora: Corpora) -> None:
    corpora.create("books")
    corpora.add_document("books", "a", facts("one"))
    digest = corpora.mark_indexing("books").content_digest
    corpora.add_document("books", "b", facts("two"))
    assert corpora.get("books").state is CorpusState.INDEXING
    ready = corpora.mark_ready("books", digest, 12, 3)
    assert (ready.state, ready.indexed_digest) == (CorpusState.OPEN, digest)
    assert (ready.token_count, ready.sentence_count) == (12, 3)


def test_an_index_of_earlier_content_does_not_replace_that_of_the_content(corpora: Corpora) -> None:
    corpora.create("books")
    corpora.add_document("books", "a", facts("one"))
    early = corpora.mark_indexing("books").content_digest
    corpora.add_document("books", "b", facts("two"))
    late = corpora.mark_indexing("books").content_digest
    corpora.mark_ready("books", late, 24, 6)
    corpora.mark_indexing("books")  # by the worker that still reads the earlier content
    after = corpora.mark_ready("books", early, 12, 3)
    assert (after.state, after.indexed_digest, after.token_count) == (CorpusState.READY, late, 24)


def test_only_the_index_that_is_meant_is_taken_back(corpora: Corpora) -> None:
    corpora.create("books")
    corpora.add_document("books", "a", facts("one"))
    index(corpora, "books")
    ready = corpora.get("books")
    assert corpora.mark_unindexed("books", "another") == ready
    taken = corpora.mark_unindexed("books", ready.indexed_digest)
    assert (taken.state, taken.indexed_digest) == (CorpusState.OPEN, None)


def test_an_empty_corpus_is_not_indexed(corpora: Corpora) -> None:
    corpora.create("books")
    with pytest.raises(ServiceError) as caught:
        corpora.mark_indexing("books")
    assert reason(caught) == "CORPUS_EMPTY"


def test_a_failure_is_kept_until_the_content_changes(corpora: Corpora) -> None:
    corpora.create("books")
    corpora.add_document("books", "a", facts("one"))
    error = fail("INTERNAL", "the index could not be built", step="windows").record
    failed = corpora.mark_failed("books", error)
    assert (failed.state, failed.error) == (CorpusState.FAILED, error)
    corpora.add_document("books", "b", facts("two"))
    assert (corpora.get("books").state, corpora.get("books").error) == (CorpusState.OPEN, None)


def test_corpora_are_listed_newest_first(corpora: Corpora) -> None:
    for number in range(5):
        corpora.create(f"corpus-{number}")
    seen, token = [], ""
    while True:
        page, token = corpora.list(2, token)
        seen += [corpus.id for corpus in page]
        if not token:
            break
    assert seen == [f"corpus-{number}" for number in reversed(range(5))]


def test_a_page_survives_corpora_that_come_and_go(corpora: Corpora) -> None:
    for number in range(4):
        corpora.create(f"corpus-{number}")
    page, token = corpora.list(2)
    corpora.delete(page[-1].id)
    corpora.create("newcomer")
    assert [corpus.id for corpus in corpora.list(2, token)[0]] == ["corpus-1", "corpus-0"]


def test_documents_are_listed_by_id_and_tokens_stay_in_their_corpus(corpora: Corpora) -> None:
    for corpus_id in ("one", "two"):
        corpora.create(corpus_id)
        for document_id in ("b", "c", "a"):
            corpora.add_document(corpus_id, document_id, facts(document_id))
    page, token = corpora.list_documents("one", 2)
    rest, end = corpora.list_documents("one", 2, token)
    assert ([d.document_id for d in page + rest], end) == (["a", "b", "c"], "")
    with pytest.raises(ServiceError) as caught:
        corpora.list_documents("two", 2, token)
    assert reason(caught) == "PAGE_TOKEN_INVALID"


def test_a_deleted_corpus_says_what_nobody_needs_any_more(corpora: Corpora) -> None:
    for corpus_id in ("one", "two"):
        corpora.create(corpus_id)
        corpora.add_document(corpus_id, "shared", facts("shared"))
    corpora.add_document("one", "own", facts("own"))
    deleted = corpora.delete("one")
    assert deleted.digests == (facts("own").sha256,)
    assert corpora.referenced_digests() == {facts("shared").sha256}
    corpora.create("one")
    assert corpora.get("one").document_count == 0


def test_a_corpus_that_changed_is_not_deleted_by_an_old_etag(corpora: Corpora) -> None:
    etag = corpora.create("books").etag
    corpora.add_document("books", "a", facts("one"))
    with pytest.raises(ServiceError) as caught:
        corpora.delete("books", etag)
    assert reason(caught) == "CORPUS_ETAG_MISMATCH"
    corpora.delete("books", corpora.get("books").etag)
    assert corpora.create("books").etag != etag


def test_a_corpus_takes_no_more_than_its_limits(store: Store, tmp_path: Path) -> None:
    limits = Limits(max_documents=2, max_corpus_bytes=10, max_document_bytes=10, max_chunk_bytes=10)
    corpora = Corpora(store, ContentStore(tmp_path), limits)
    corpora.create("books")
    corpora.add_document("books", "a", facts("12345678"))
    with pytest.raises(ServiceError, match="11 bytes") as caught:
        corpora.add_document("books", "b", facts("123"))
    assert reason(caught) == "CORPUS_TOO_LARGE"
    corpora.add_document("books", "a", facts("123"))
    corpora.add_document("books", "b", facts("123"))
    with pytest.raises(ServiceError, match="3 documents"):
        corpora.add_document("books", "c", facts("1"))
    corpora.add_document("books", "b", facts("1234567"))


def test_a_document_is_deleted_once(corpora: Corpora) -> None:
    corpora.create("books")
    corpora.add_document("books", "a", facts("one"))
    corpora.delete_document("books", "a")
    with pytest.raises(ServiceError) as caught:
        corpora.delete_document("books", "a")
    assert reason(caught) == "DOCUMENT_NOT_FOUND"
