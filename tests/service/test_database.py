"""Transactions are whole, the schema is known, and one process serves a data folder."""

import base64
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.errors import ServiceError
from service.limits import Limits
from service.state.content import ContentStore, examine
from service.state.database import Database, Listing, lock_data_folder, read_page

NUMBERS = Listing("numbers", "SELECT * FROM requests WHERE 1", (), ("request_id",))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "state.sqlite3")
    yield opened
    opened.close()


def insert(database: Database, request_id: str) -> None:
    database.execute("INSERT INTO requests VALUES ('m', ?, '', x'', 0)", (request_id,))


def count(database: Database) -> int:
    return len(database.rows("SELECT * FROM requests"))


def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:

    def fail_half_way() -> None:
        with database.transaction():
            insert(database, "one")
            with database.transaction():
                insert(database, "two")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert count(database) == 0
    with database.transaction():
        insert(database, "three")
    assert count(database) == 1


def test_the_settings_that_make_commits_durable_are_on(database: Database) -> None:
    settings = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    assert [database.rows(f"PRAGMA {name}")[0][0] for name in settings] == ["wal", 2, 1, 10000]


def test_threads_do_not_see_each_others_half_written_rows(database: Database) -> None:
    inside, seen = threading.Event(), []

    def read() -> None:
        inside.wait()
        seen.append(count(database))

    reader = threading.Thread(target=read)
    reader.start()
    with database.transaction():
        insert(database, "one")
        inside.set()
        reader.join(0.1)
        insert(database, "two")
    reader.join()
    assert seen == [2]


def test_an_unknown_schema_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    Database(path).close()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(ServiceError) as caught:
        Database(path)
    assert caught.value.reason == "DATA_FOLDER_VERSION"


def test_pages_hold_every_row_once_and_in_order(database: Database) -> None:
    for number in range(7):
        insert(database, f"{number}")
    seen, token, pages = [], "", 0
    while pages == 0 or token:
        rows, token = read_page(database, NUMBERS, 3, token, Limits())
        seen += [row["request_id"] for row in rows]
        pages += 1
    assert seen == [f"{number}" for number in range(7)]
    assert pages == 3


def test_a_page_is_never_larger_than_the_limit(database: Database) -> None:
    for number in range(9):
        insert(database, f"{number}")
    limits = Limits(default_page_size=2, max_page_size=4)
    assert len(read_page(database, NUMBERS, 0, "", limits)[0]) == 2
    assert len(read_page(database, NUMBERS, 1000, "", limits)[0]) == 4
    with pytest.raises(ServiceError, match="page_size: -1"):
        read_page(database, NUMBERS, -1, "", limits)


def token_of(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


@pytest.mark.parametrize(
    "token",
    [
        "!",
        "ä",
        "AAAA",
        token_of([]),
        token_of({"of": "numbers"}),
        token_of({"of": "other", "after": ["1"]}),
        token_of({"of": "numbers", "after": ["1", "2"]}),
        token_of({"of": "numbers", "after": [{}]}),
        token_of({"of": "numbers", "after": [float("nan")]}),
        token_of({"of": "numbers", "after": 5}),
    ],
)
def test_a_foreign_page_token_is_refused(database: Database, token: str) -> None:
    with pytest.raises(ServiceError) as caught:
        read_page(database, NUMBERS, 3, token, Limits())
    assert caught.value.reason == "PAGE_TOKEN_INVALID"


HOLD = """
import sys, time
from pathlib import Path
from service.state.database import lock_data_folder
lock = lock_data_folder(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_killed_process_gives_the_data_folder_free(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=root, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ServiceError, match=f"pid {holder.pid}") as caught:
            lock_data_folder(tmp_path)
        assert caught.value.reason == "DATA_FOLDER_LOCKED"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with lock_data_folder(tmp_path), pytest.raises(ServiceError, match=f"pid {os.getpid()}"):
        lock_data_folder(tmp_path)
    lock_data_folder(tmp_path).release()


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
