"""The SQLite file: durable commits, known schemas, and the folders of earlier releases."""

import sqlite3
from pathlib import Path

import pytest
from old_folder import ERROR, REQUEST_ID, TEXT, write_old_folder

from service.errors import ErrorRecord, ServiceError
from service.state.cartridge_shelf import CartridgeShelf, CartridgeState
from service.state.content import ContentStore
from service.state.corpora import Corpora
from service.state.corpus import CorpusState
from service.state.job import JobKind, JobState
from service.state.jobs import Jobs
from service.state.kept_timings import KeptTimings
from service.state.outcomes_log import OutcomesLog
from service.state.requests import Requests
from service.state.sqlite_store import SqliteStore
from service.state.tables import REQUESTS, UPLOADS


def test_the_settings_that_make_commits_durable_are_on(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.sqlite3")
    settings = ("journal_mode", "synchronous", "busy_timeout")
    found = [store._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in settings]
    assert found == ["wal", 2, 10000]
    store.close()


def test_an_unknown_schema_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    SqliteStore(path).close()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(ServiceError) as caught:
        SqliteStore(path)
    assert caught.value.reason == "DATA_FOLDER_VERSION"


def test_a_full_disk_is_said_so_and_nothing_is_written(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.sqlite3")
    store._connection.execute("PRAGMA max_page_count = 20")

    def write() -> None:
        with store.transaction():
            store.put("things", ("small",), {})
            store.put("things", ("large",), {"text": "x" * 200_000})

    with pytest.raises(ServiceError) as caught:
        write()
    assert caught.value.reason == "STATE_FULL"
    assert store.range("things") == []
    store.put("things", ("small",), {})
    store.close()


def test_a_file_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.sqlite3")
    store._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(ServiceError) as caught:
        store.put("things", ("one",), {})
    assert caught.value.reason == "STATE_READ_ONLY"
    store.close()


@pytest.fixture(params=[1, 2])
def version(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
def migrated(tmp_path: Path, version: int) -> SqliteStore:
    write_old_folder(tmp_path / "old.sqlite3", version)
    SqliteStore(tmp_path / "old.sqlite3").close()
    return SqliteStore(tmp_path / "old.sqlite3")  # opened again it is not migrated again


def test_corpora_of_an_old_folder_are_as_they_were(migrated: SqliteStore, tmp_path: Path) -> None:
    corpora, shelf = Corpora(migrated, ContentStore(tmp_path)), CartridgeShelf(migrated)
    corpus = corpora.get("books")
    assert (corpus.display_name, corpus.state) == ("My books", CorpusState.FAILED)
    assert corpus.error == ErrorRecord.of(ERROR)
    assert (corpus.document_count, corpus.byte_count, corpus.create_time) == (1, 9, 100.5)
    (document,) = corpora.list_documents("books")[0]
    assert (document.document_id, document.sha256) == ("a/ä.txt", TEXT)
    assert corpora.referenced_digests() == {TEXT}
    upload = UPLOADS.get(migrated, ("books", REQUEST_ID, "a/ä.txt"))
    assert upload is not None
    assert (upload["finished"], upload["committed_bytes"]) == (True, 9)
    (cartridge,) = shelf.list("books")[0]
    assert (cartridge.state, cartridge.metrics) == (CartridgeState.STALE, {"loss": 1.5})
    assert corpora.delete("books").digests == (TEXT,)


def test_jobs_of_an_old_folder_go_on(migrated: SqliteStore) -> None:
    jobs = Jobs(migrated)
    assert [job.id for job in jobs.list()[0]] == ["job1", "job0"]
    done = jobs.get("job0")
    assert (done.state, done.result, done.request) == (
        JobState.SUCCEEDED, {"corpus": "books"}, {"n": 0},
    )  # fmt: skip
    running = jobs.get("job1")
    same = jobs.enqueue(JobKind.TRAIN, "books", running.target, {"n": 1})
    assert same.id == "job1"
    ids = [number for number, _ in jobs.events_since("job1")]
    assert ids == [3, 4]
    assert jobs.renew("job1", running.token, 0.7) == "ok"
    ((later, event),) = jobs.events_since("job1", ids[-1])
    assert (later, event.progress) == (5, 0.7)
    assert jobs.release_all() == 1
    claimed = jobs.claim("w2")
    assert claimed is not None
    assert claimed.token > running.token


def test_answers_of_an_old_folder_are_given_again(migrated: SqliteStore) -> None:
    assert REQUESTS.get(migrated, ("CreateCorpus", REQUEST_ID)) is not None
    assert Requests(migrated)._answer("CreateCorpus", REQUEST_ID, "b" * 64) == b"\x00answer"
    assert Requests(migrated).forget(200.0) == 1


def test_outcomes_and_timings_of_an_old_folder_are_kept(
    migrated: SqliteStore, version: int
) -> None:
    log = OutcomesLog(migrated)
    known = version > 1
    assert log.verdicts("books", "lookup") == ({"crag": (1, 1)} if known else {})
    assert [one.id for one in log.judged()] == (["d0", "d1"] if known else [])
    assert log.forget(float("inf")) == int(known)
    assert KeptTimings(migrated).get("here/cpu") == ('{"read": 1}' if known else "")


def test_an_old_folder_that_cannot_be_read_whole_is_left_as_it_was(
    tmp_path: Path, version: int
) -> None:
    path = tmp_path / "old.sqlite3"
    write_old_folder(path, version)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE jobs SET request_json = '{' WHERE id = 'job1'")
    before = list(database.iterdump())
    with pytest.raises(ValueError, match="Expecting"):
        SqliteStore(path)
    assert list(database.iterdump()) == before
    assert database.execute("PRAGMA user_version").fetchone()[0] == version
    database.close()
