"""Bytes that were acknowledged are there after a crash; what is kept has passed every check."""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import pytest

from service.errors import ServiceError
from service.limits import Limits
from service.state.content import ContentStore
from service.state.corpora import Corpora
from service.state.store import Store
from service.state.tables import UPLOADS
from service.state.uploads import Uploads, UploadStatus

REQUEST = "00000000-0000-4000-8000-000000000001"
OTHER_REQUEST = "00000000-0000-4000-8000-000000000002"
LIMITS = Limits(max_chunk_bytes=16, max_document_bytes=32, max_corpus_bytes=64)


@dataclass
class Room:
    store: Store
    corpora: Corpora
    uploads: Uploads

    def write(self, offset: int, data: bytes, **options: object) -> int:
        given = {"request_id": REQUEST, "document_id": "a.txt"} | options
        return self.uploads.write("books", offset=offset, data=data, **given)  # type: ignore[arg-type]

    def status(self) -> tuple[UploadStatus, ...]:
        return self.uploads.status("books", REQUEST)


@pytest.fixture
def open_room(open_state: Callable[[], Store], tmp_path: Path) -> Callable[[], Room]:
    """Opens the same uploads again and again, as several processes would."""

    def open_one() -> Room:
        store, content = open_state(), ContentStore(tmp_path)
        corpora = Corpora(store, content, LIMITS)
        return Room(store, corpora, Uploads(store, content, corpora, LIMITS, tmp_path / "uploads"))

    return open_one


@pytest.fixture
def room(open_room: Callable[[], Room]) -> Room:
    opened = open_room()
    opened.corpora.create("books")
    return opened


def parts(folder: Path) -> list[Path]:
    return list((folder / "uploads").rglob("*.part"))


def test_chunks_become_one_document(room: Room, tmp_path: Path) -> None:
    assert room.write(0, b"Once upon ", crc32c=google_crc32c.value(b"Once upon ")) == 10
    digest = hashlib.sha256(b"Once upon a time").hexdigest()
    assert room.write(10, b"a time", finish=True, sha256=digest.upper()) == 16
    assert room.corpora.read_document("books", "a.txt") == "Once upon a time"
    assert room.corpora.get_document("books", "a.txt").sha256 == digest
    assert room.status() == (UploadStatus("a.txt", 16, True),)
    assert parts(tmp_path) == []


def test_one_request_carries_several_documents(room: Room) -> None:
    room.write(0, b"one", document_id="x/1")
    room.write(0, b"two!", document_id="x/2", finish=True)
    assert room.status() == (UploadStatus("x/1", 3, False), UploadStatus("x/2", 4, True))


def test_a_chunk_that_came_twice_is_kept_once(room: Room) -> None:
    room.write(0, b"abc")
    room.write(3, b"def")
    assert room.write(0, b"abc") == 6
    assert room.write(6, b"", finish=True) == 6
    assert room.corpora.read_document("books", "a.txt") == "abcdef"


def test_the_repeat_of_an_early_chunk_does_not_end_the_document(room: Room) -> None:
    room.write(0, b"abc")
    room.write(3, b"def")
    assert room.write(0, b"abc", finish=True) == 6
    assert room.status() == (UploadStatus("a.txt", 6, False),)


def test_a_finished_upload_may_be_repeated_whole(room: Room) -> None:
    room.write(0, b"abc")
    room.write(3, b"def", finish=True)
    etag = room.corpora.get("books").etag
    assert room.write(0, b"abc") == 6
    assert room.write(3, b"def", finish=True) == 6
    assert room.corpora.get("books").etag == etag
    with pytest.raises(ServiceError) as caught:
        room.write(6, b"more")
    assert caught.value.reason == "REQUEST_ID_REUSED"


def test_a_gap_names_the_offset_to_continue_at(room: Room) -> None:
    room.write(0, b"abc")
    with pytest.raises(ServiceError) as caught:
        room.write(5, b"x")
    assert caught.value.reason == "UPLOAD_OFFSET_GAP"
    assert caught.value.metadata == {"expected_offset": "3"}


@pytest.mark.parametrize("torn", [0, 2, 999])
def test_an_upload_resumes_from_the_bytes_on_disk_after_a_crash(
    room: Room, open_room: Callable[[], Room], tmp_path: Path, torn: int
) -> None:
    room.write(0, b"abcdef")
    key = ("books", REQUEST, "a.txt")
    begun = UPLOADS.get(room.store, key)
    assert begun is not None
    UPLOADS.put(room.store, key, begun | {"committed_bytes": torn})
    room.store.close()
    with parts(tmp_path)[0].open("ab") as part:
        part.write(b"gh")
    again = open_room()
    assert again.status() == (UploadStatus("a.txt", 8, False),)
    with pytest.raises(ServiceError) as caught:
        again.write(9, b"x")
    assert caught.value.metadata == {"expected_offset": "8"}
    assert again.write(6, b"ghij", finish=True) == 10
    assert again.corpora.read_document("books", "a.txt") == "abcdefghij"


def test_a_crash_between_text_and_record_leaves_no_half_document(
    room: Room, open_room: Callable[[], Room], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(ContentStore, "put_file", crash)
    with pytest.raises(KeyboardInterrupt):
        room.write(0, b"abc", finish=True)
    monkeypatch.undo()
    room.store.close()
    again = open_room()
    assert again.corpora.list_documents("books")[0] == ()
    assert again.status() == (UploadStatus("a.txt", 3, False),)
    again.write(0, b"abc", finish=True)
    assert again.corpora.read_document("books", "a.txt") == "abc"


def test_other_bytes_under_a_known_offset_are_refused(room: Room) -> None:
    room.write(0, b"abc")
    with pytest.raises(ServiceError) as caught:
        room.write(0, b"abX")
    assert caught.value.reason == "REQUEST_ID_REUSED"
    assert room.status()[0].committed_bytes == 3


def test_a_chunk_damaged_on_its_way_is_not_kept(room: Room) -> None:
    with pytest.raises(ServiceError) as caught:
        room.write(0, b"abc", crc32c=google_crc32c.value(b"abd"))
    assert caught.value.reason == "UPLOAD_CRC_MISMATCH"
    assert room.status() == ()


@pytest.mark.parametrize(
    ("data", "sha256", "reason"),
    [
        (b"", "", "DOCUMENT_EMPTY"),
        (b" \n\t\xc2\xa0", "", "DOCUMENT_EMPTY"),
        (b"abc\xff", "", "DOCUMENT_NOT_UTF8"),
        (b"abc", "0" * 64, "UPLOAD_DIGEST_MISMATCH"),
    ],
)
def test_a_document_that_fails_its_checks_is_dropped_and_may_begin_again(
    room: Room, data: bytes, sha256: str, reason: str
) -> None:
    with pytest.raises(ServiceError) as caught:
        room.write(0, data, finish=True, sha256=sha256)
    assert caught.value.reason == reason
    assert room.corpora.get("books").document_count == 0
    assert room.status()[0].committed_bytes == 0
    assert room.write(0, b"good", finish=True) == 4


def test_invalid_utf8_is_named_by_its_offset_across_chunks(room: Room) -> None:
    room.write(0, b"0123456789\xe2\x82")
    with pytest.raises(ServiceError) as caught:
        room.write(12, b"abc", finish=True)
    assert caught.value.reason == "DOCUMENT_NOT_UTF8"
    assert caught.value.metadata == {"byte_offset": "10"}


def test_a_document_above_the_limit_is_dropped(room: Room, tmp_path: Path) -> None:
    room.write(0, b"x" * 16)
    room.write(16, b"x" * 16)
    with pytest.raises(ServiceError) as caught:
        room.write(32, b"x")
    assert caught.value.reason == "DOCUMENT_TOO_LARGE"
    assert parts(tmp_path) == []
    with pytest.raises(ServiceError) as caught:
        room.write(0, b"x" * 17)
    assert caught.value.reason == "REQUEST_TOO_LARGE"


def test_a_full_corpus_keeps_the_upload_for_later(room: Room) -> None:
    for name in ("one", "two"):
        room.write(0, name.encode() * 5, document_id=name)
        room.write(15, name.encode() * 5, document_id=name, finish=True)
    room.write(0, b"abcde")
    with pytest.raises(ServiceError) as caught:
        room.write(5, b"x", finish=True)
    assert caught.value.reason == "CORPUS_TOO_LARGE"
    room.corpora.delete_document("books", "one")
    assert room.write(6, b"", finish=True) == 6


@pytest.mark.parametrize(
    ("wrong", "reason", "field"),
    [
        ({"request_id": ""}, "UPLOAD_HEADER_MISSING", "request_id"),
        ({"document_id": ""}, "UPLOAD_HEADER_MISSING", "document_id"),
        ({"request_id": "../../x"}, "MALFORMED_ID", "request_id"),
        ({"document_id": "../x"}, "MALFORMED_ID", "document_id"),
    ],
)
def test_nothing_is_written_under_a_bad_name(
    room: Room, tmp_path: Path, wrong: dict[str, str], reason: str, field: str
) -> None:
    with pytest.raises(ServiceError) as caught:
        room.write(0, b"abc", **wrong)
    assert (caught.value.reason, caught.value.field) == (reason, field)
    assert parts(tmp_path) == []


def test_a_negative_offset_is_refused(room: Room) -> None:
    with pytest.raises(ServiceError, match="offset: -1"):
        room.write(-1, b"abc")


def test_the_bytes_of_a_deleted_corpus_do_not_come_back(room: Room, tmp_path: Path) -> None:
    room.write(0, b"old", document_id="a.txt")
    room.corpora.delete("books")
    with pytest.raises(ServiceError) as caught:
        room.write(3, b"more")
    assert caught.value.reason == "CORPUS_NOT_FOUND"
    room.corpora.create("books")
    assert room.status() == ()
    assert room.write(0, b"new") == 3
    room.uploads.forget("books")
    assert parts(tmp_path) == []


def test_a_replaced_document_has_the_new_text(room: Room) -> None:
    room.write(0, b"first", finish=True)
    room.write(0, b"second", finish=True, request_id=OTHER_REQUEST)
    assert room.corpora.read_document("books", "a.txt") == "second"
    assert room.corpora.get("books").document_count == 1


def test_two_servers_that_are_sent_the_same_chunks_keep_one_document(
    room: Room, open_room: Callable[[], Room]
) -> None:
    rooms, chunks = [room, open_room()], [(0, b"Once upon "), (10, b"a time"), (16, b" there")]

    def send(whose: Room) -> None:
        for offset, data in chunks:
            whose.write(offset, data, finish=offset == 16)

    threads = [threading.Thread(target=send, args=(rooms[n % 2],)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert room.corpora.read_document("books", "a.txt") == "Once upon a time there"
    assert room.status() == (UploadStatus("a.txt", 22, True),)


def test_a_corpus_that_is_not_there_gets_no_folder(room: Room, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="nobody"):
        room.uploads.write("nobody", REQUEST, "a.txt", 0, b"abc")
    assert not (tmp_path / "uploads" / "nobody").exists()
