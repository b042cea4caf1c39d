"""Ids are checked before they reach a database or a path, and errors name field and mend."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

import service
from service import ids
from service.errors import REASONS, Code, ErrorRecord, ServiceError, fail
from service.limits import Limits


@pytest.mark.parametrize("value", ["abc", "a-1", "0" * 63, "a--b"])
def test_a_plain_id_is_taken_as_it_is(value: str) -> None:
    assert ids.parse_id(value, "corpus_id") == value


@pytest.mark.parametrize(
    "value", ["", "ab", "a" * 64, "-ab", "ab-", "Abc", "a_b", "a/b", "../x", "abc\n", "äbc"]
)
def test_a_bad_id_is_refused_and_its_field_named(value: str) -> None:
    with pytest.raises(ServiceError) as caught:
        ids.parse_id(value, "corpus_id")
    assert caught.value.reason == "MALFORMED_ID"
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.field == "corpus_id"
    assert caught.value.message.startswith("corpus_id: ")


def test_names_are_read_back_as_they_were_written() -> None:
    assert ids.parse_corpus_name(ids.corpus_name("books")) == "books"
    name = ids.cartridge_name("books", "small")
    assert ids.parse_cartridge_name(name) == ids.CartridgeName("books", "small")
    assert ids.parse_operation_name(ids.operation_name("job-1")) == "job-1"


@pytest.mark.parametrize(
    "name", ["books", "corpora/", "corpora/books/", "corpus/books", "corpora/books/cartridges/one"]
)
def test_a_name_of_another_kind_is_refused(name: str) -> None:
    with pytest.raises(ServiceError, match="name: "):
        ids.parse_corpus_name(name)


@pytest.mark.parametrize("value", ["a", "src/main.py", "notes/..hidden", "ein Büchlein.txt", "a:b"])
def test_a_relative_path_is_a_document_id(value: str) -> None:
    assert ids.parse_document_id(value) == value


@pytest.mark.parametrize(
    "value",
    ["", "/etc/passwd", "a/../b", "..", ".", "a//b", "a/", "a\\b", "a\0b", "a\nb", "\ud800", "./a"],
)
def test_a_document_id_that_could_leave_its_folder_is_refused(value: str) -> None:
    with pytest.raises(ServiceError) as caught:
        ids.parse_document_id(value)
    assert caught.value.reason == "MALFORMED_ID"


def test_a_long_document_id_is_refused_and_cut_in_the_message() -> None:
    with pytest.raises(ServiceError, match="use at most 512") as caught:
        ids.parse_document_id("x" * 513)
    assert len(caught.value.message) < 200
    assert ids.parse_document_id("x" * 512)


def test_a_request_id_is_a_uuid_or_empty() -> None:
    assert ids.parse_request_id("") == ""
    assert (
        ids.parse_request_id("0188E9B2-0000-7000-8000-0123456789AB")
        == "0188e9b2-0000-7000-8000-0123456789ab"
    )
    for value in (
        "1",
        "0188e9b2000070008000012345678 9ab",
        "{0188e9b2-0000-7000-8000-0123456789ab}",
    ):
        with pytest.raises(ServiceError, match="request_id: "):
            ids.parse_request_id(value)


def test_every_reason_that_is_raised_has_a_code() -> None:
    folder = Path(service.__file__).parent
    sources = "\n".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    raised = set(re.findall(r"\bfail\(\s*\"([A-Z0-9_]+)\"", sources))
    assert raised
    assert raised <= set(REASONS)
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]{0,62}", reason) for reason in REASONS)


def test_an_error_is_read_back_as_it_was_stored() -> None:
    error = fail("UPLOAD_OFFSET_GAP", "offset: 3 leaves a gap", field="offset", expected_offset=2)
    assert error.metadata == {"expected_offset": "2"}
    assert ErrorRecord.of(json.loads(json.dumps(asdict(error.record)))) == error.record
    assert ErrorRecord.of(None) is None


@pytest.mark.parametrize(
    "values",
    [
        {"max_queue": 0},
        {"max_queue": True},
        {"default_page_size": 2000},
        {"max_chunk_bytes": 2**40},
    ],
)
def test_limits_that_make_no_sense_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        Limits(**values)
