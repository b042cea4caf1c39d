"""Texts by their hash: whole, checked when read, and kept while anybody may need them."""

import os
from pathlib import Path

import pytest

from service.errors import ServiceError
from service.state.content import ContentStore, examine


def put(store: ContentStore, tmp_path: Path, data: bytes) -> str:
    (tmp_path / "incoming").write_bytes(data)
    return store.put_file(tmp_path / "incoming")


def test_a_text_is_found_by_its_hash_and_kept_once(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    digest = put(store, tmp_path, "Grüße\r\n".encode())
    assert put(store, tmp_path, "Grüße\r\n".encode()) == digest
    assert store.read_text(digest) == "Grüße\r\n"
    assert store.path(digest) == tmp_path / "documents" / digest[:2] / digest
    assert len(list((tmp_path / "documents").glob("*/*"))) == 1


@pytest.mark.parametrize("digest", ["../../secret", "", "A" * 64, "0" * 63])
def test_only_a_hash_becomes_a_path(tmp_path: Path, digest: str) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        ContentStore(tmp_path).path(digest)


def test_a_damaged_text_is_reported_not_read(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    digest = put(store, tmp_path, b"whole")
    store.path(digest).write_bytes(b"wh0le")
    with pytest.raises(ServiceError, match="damaged"):
        store.read_text(digest)
    store.path(digest).unlink()
    with pytest.raises(ServiceError, match="missing"):
        store.read_text(digest)


def test_only_old_texts_without_a_document_are_deleted(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    kept, old, fresh = (put(store, tmp_path, data) for data in (b"kept", b"old", b"fresh"))
    for digest in (kept, old):
        os.utime(store.path(digest), (0, 0))
    assert store.delete_unreferenced({kept}) == 1
    assert [store.path(digest).exists() for digest in (kept, old, fresh)] == [True, False, True]


def test_a_text_that_took_days_to_arrive_is_not_deleted_as_old(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    (tmp_path / "incoming").write_bytes(b"slow")
    os.utime(tmp_path / "incoming", (0, 0))
    digest = store.put_file(tmp_path / "incoming")
    assert store.delete_unreferenced(set()) == 0
    assert store.read_text(digest) == "slow"


@pytest.mark.parametrize("offset", [0, 1, 1024 * 1024 - 1, 1024 * 1024, 3_000_000])
def test_the_first_byte_that_is_not_utf8_is_named(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"x" * offset + b"\xe2\x82" + b"y" * 10)
    with pytest.raises(ServiceError) as caught:
        examine(path)
    assert caught.value.metadata["byte_offset"] == str(offset)


def test_a_character_cut_at_the_end_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"abc\xe2\x82")
    with pytest.raises(ServiceError) as caught:
        examine(path)
    assert caught.value.metadata["byte_offset"] == "3"


def test_characters_across_blocks_are_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "text"
    text = "x" + "€" * 700_000
    path.write_text(text, encoding="utf-8")
    facts = examine(path)
    assert (facts.char_count, facts.byte_count) == (len(text), len(text.encode()))
