"""A cartridge is served only for the model and the corpus content it was trained on."""

import hashlib
from pathlib import Path

import pytest

from service.errors import ServiceError, fail
from service.state.cartridge_shelf import CartridgeRecord, CartridgeShelf, CartridgeState
from service.state.content import ContentStore, TextFacts
from service.state.corpora import Corpora
from service.state.store import Store


@pytest.fixture
def corpora(store: Store, tmp_path: Path) -> Corpora:
    corpora = Corpora(store, ContentStore(tmp_path))
    for corpus_id in ("books", "films"):
        corpora.create(corpus_id)
        add(corpora, corpus_id, "a", "one")
    return corpora


@pytest.fixture
def shelf(store: Store, corpora: Corpora) -> CartridgeShelf:
    return CartridgeShelf(store)


def add(corpora: Corpora, corpus_id: str, document_id: str, text: str) -> None:
    digest = hashlib.sha256(text.encode()).hexdigest()
    corpora.add_document(corpus_id, document_id, TextFacts(digest, len(text), len(text), False))


def create(
    shelf: CartridgeShelf, cartridge_id: str, corpus_id: str = "books", model: str = "m1"
) -> CartridgeRecord:
    return shelf.create(
        corpus_id,
        cartridge_id,
        prefix_tokens=512,
        query_offset=512,
        model_fingerprint=model,
        corpus_digest="before",
    )


def make_ready(shelf: CartridgeShelf, corpora: Corpora, cartridge_id: str) -> CartridgeRecord:
    return shelf.mark_ready(
        "books",
        cartridge_id,
        prefix_tokens=256,
        query_offset=300,
        size_bytes=4096,
        corpus_digest=corpora.get("books").content_digest,
        tensor_digest="t" * 64,
        metrics={"loss": 1.5},
    )


def test_a_cartridge_is_trained_then_ready(shelf: CartridgeShelf, corpora: Corpora) -> None:
    assert create(shelf, "small").state is CartridgeState.TRAINING
    ready = make_ready(shelf, corpora, "small")
    assert ready.state is CartridgeState.READY
    assert (ready.prefix_tokens, ready.query_offset, ready.size_bytes) == (256, 300, 4096)
    assert ready.metrics == {"loss": 1.5}
    assert shelf.get("books", "small") == ready


def test_a_cartridge_of_a_changed_corpus_is_stale_until_it_changes_back(
    shelf: CartridgeShelf, corpora: Corpora
) -> None:
    create(shelf, "small")
    make_ready(shelf, corpora, "small")
    add(corpora, "books", "b", "two")
    assert shelf.get("books", "small").state is CartridgeState.STALE
    assert shelf.list("books")[0][0].state is CartridgeState.STALE
    assert shelf.newest_ready("books", "m1") is None
    corpora.delete_document("books", "b")
    assert shelf.get("books", "small").state is CartridgeState.READY
    assert shelf.newest_ready("books", "m1") is not None


def test_a_cartridge_in_training_does_not_go_stale(shelf: CartridgeShelf, corpora: Corpora) -> None:
    create(shelf, "small")
    add(corpora, "books", "b", "two")
    assert shelf.get("books", "small").state is CartridgeState.TRAINING


def test_the_newest_ready_cartridge_of_this_model_is_chosen(
    shelf: CartridgeShelf, corpora: Corpora
) -> None:
    for cartridge_id in ("first", "second"):
        create(shelf, cartridge_id)
        make_ready(shelf, corpora, cartridge_id)
    create(shelf, "other-model", model="m2")
    make_ready(shelf, corpora, "other-model")
    create(shelf, "unfinished")
    create(shelf, "failed")
    shelf.mark_failed("books", "failed", fail("INTERNAL", "no memory").record)
    found = shelf.newest_ready("books", "m1")
    assert found is not None
    assert found.id == "second"
    assert shelf.newest_ready("films", "m1") is None


def test_a_failure_is_kept_with_its_reason(shelf: CartridgeShelf) -> None:
    create(shelf, "small")
    error = fail("CARTRIDGE_CORPUS_TOO_LONG", "too long", tokens=9).record
    assert shelf.mark_failed("books", "small", error).error == error
    assert shelf.get("books", "small").state is CartridgeState.FAILED


def test_an_id_is_given_once_in_a_corpus(shelf: CartridgeShelf) -> None:
    create(shelf, "small")
    create(shelf, "small", "films")
    for corpus_id, cartridge_id, reason in (
        ("books", "small", "CARTRIDGE_EXISTS"),
        ("nobody", "small", "CORPUS_NOT_FOUND"),
        ("books", "../x", "MALFORMED_ID"),
    ):
        with pytest.raises(ServiceError) as caught:
            create(shelf, cartridge_id, corpus_id)
        assert caught.value.reason == reason


def test_cartridges_are_listed_newest_first_of_one_corpus_or_all(shelf: CartridgeShelf) -> None:
    for corpus_id in ("books", "films"):
        for number in range(3):
            create(shelf, f"cartridge-{number}", corpus_id)
    page, token = shelf.list("books", 2)
    rest, end = shelf.list("books", 2, token)
    assert [record.id for record in page + rest] == ["cartridge-2", "cartridge-1", "cartridge-0"]
    assert end == ""
    seen, token = [], ""
    while True:
        page, token = shelf.list(page_size=4, page_token=token)
        seen += [record.corpus_id for record in page]
        if not token:
            break
    assert seen == ["films"] * 3 + ["books"] * 3


def test_a_deleted_cartridge_is_gone_and_goes_with_its_corpus(
    shelf: CartridgeShelf, corpora: Corpora
) -> None:
    create(shelf, "small")
    create(shelf, "large")
    assert shelf.delete("books", "small").id == "small"
    for act in (shelf.get, shelf.delete):
        with pytest.raises(ServiceError) as caught:
            act("books", "small")
        assert caught.value.reason == "CARTRIDGE_NOT_FOUND"
    assert corpora.delete("books").cartridge_ids == ("large",)
    assert shelf.list()[0] == ()
