"""SQLite files as releases before the records wrote them: their schemas, and rows of every kind."""

import json
import sqlite3
from pathlib import Path

_FIRST = """
CREATE TABLE corpora (
    id TEXT PRIMARY KEY, display_name TEXT NOT NULL, state TEXT NOT NULL, error_json TEXT,
    content_digest TEXT, indexed_digest TEXT, etag TEXT NOT NULL,
    document_count INTEGER NOT NULL DEFAULT 0, byte_count INTEGER NOT NULL DEFAULT 0,
    char_count INTEGER NOT NULL DEFAULT 0,
    token_count INTEGER NOT NULL DEFAULT 0, sentence_count INTEGER NOT NULL DEFAULT 0,
    create_time REAL NOT NULL);
CREATE TABLE documents (
    corpus_id TEXT NOT NULL REFERENCES corpora(id) ON DELETE CASCADE,
    document_id TEXT NOT NULL, sha256 TEXT NOT NULL, byte_count INTEGER NOT NULL,
    char_count INTEGER NOT NULL, create_time REAL NOT NULL,
    PRIMARY KEY (corpus_id, document_id)) WITHOUT ROWID;
CREATE INDEX documents_by_digest ON documents(sha256);
CREATE TABLE uploads (
    corpus_id TEXT NOT NULL REFERENCES corpora(id) ON DELETE CASCADE,
    request_id TEXT NOT NULL, document_id TEXT NOT NULL,
    committed_bytes INTEGER NOT NULL DEFAULT 0, finished INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (corpus_id, request_id, document_id)) WITHOUT ROWID;
CREATE TABLE cartridges (
    corpus_id TEXT NOT NULL REFERENCES corpora(id) ON DELETE CASCADE,
    id TEXT NOT NULL, state TEXT NOT NULL, prefix_tokens INTEGER NOT NULL,
    query_offset INTEGER NOT NULL, size_bytes INTEGER NOT NULL DEFAULT 0,
    model_fingerprint TEXT NOT NULL, corpus_digest TEXT NOT NULL,
    tensor_digest TEXT NOT NULL DEFAULT '', metrics_json TEXT NOT NULL DEFAULT '{}',
    error_json TEXT, create_time REAL NOT NULL, PRIMARY KEY (corpus_id, id));
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, corpus_id TEXT NOT NULL, target TEXT NOT NULL,
    request_json TEXT NOT NULL, state TEXT NOT NULL, progress REAL NOT NULL DEFAULT 0,
    message TEXT NOT NULL DEFAULT '', metrics_json TEXT NOT NULL DEFAULT '{}',
    error_json TEXT, result_json TEXT, attempt INTEGER NOT NULL DEFAULT 0,
    token INTEGER NOT NULL DEFAULT 0, worker TEXT NOT NULL DEFAULT '', lease_until REAL,
    cancel_requested INTEGER NOT NULL DEFAULT 0, create_time REAL NOT NULL, start_time REAL,
    end_time REAL, heartbeat_time REAL);
CREATE INDEX jobs_by_state ON jobs(state, create_time);
CREATE TABLE job_events (
    event_id INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,
    snapshot_json TEXT NOT NULL, time REAL NOT NULL);
CREATE INDEX job_events_by_job ON job_events(job_id, event_id);
CREATE TABLE requests (
    method TEXT NOT NULL, request_id TEXT NOT NULL, body_sha256 TEXT NOT NULL,
    response BLOB NOT NULL, create_time REAL NOT NULL, PRIMARY KEY (method, request_id));
"""
_SECOND = """
CREATE TABLE timings (machine TEXT PRIMARY KEY, stages_json TEXT NOT NULL);
CREATE TABLE outcomes (
    id TEXT PRIMARY KEY, corpus_id TEXT NOT NULL REFERENCES corpora(id) ON DELETE CASCADE,
    kind TEXT NOT NULL, route TEXT NOT NULL, reason TEXT NOT NULL, quality REAL NOT NULL,
    propensity REAL NOT NULL, options_json TEXT NOT NULL, seconds REAL NOT NULL,
    prompt_tokens INTEGER NOT NULL, verdict INTEGER, create_time REAL NOT NULL);
CREATE INDEX outcomes_by_kind ON outcomes(corpus_id, kind, route, verdict);
CREATE INDEX outcomes_by_time ON outcomes(create_time);
"""
ERROR = {"code": "INTERNAL", "reason": "INTERNAL", "message": "no memory", "metadata": {"a": "1"}}
REQUEST_ID = "00000000-0000-4000-8000-000000000001"
TEXT = "a" * 64  # the digest of the one document


def write_old_folder(path: Path, version: int) -> None:
    """A corpus with a document, an upload, a cartridge, jobs with events, an answered request; from
    version 2 on judged and unjudged outcomes and a machine's timings.
    """
    with sqlite3.connect(path) as database:
        database.executescript(_FIRST + (_SECOND if version > 1 else ""))
        _write_first(database)
        if version > 1:
            _write_second(database)
        database.execute(f"PRAGMA user_version = {version}")
    database.close()


def _insert(database: sqlite3.Connection, table: str, **values: object) -> None:
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    database.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))


def _write_first(database: sqlite3.Connection) -> None:
    _insert(
        database, "corpora", id="books", display_name="My books", state="FAILED",
        error_json=json.dumps(ERROR), content_digest=None, indexed_digest=None, etag="",
        document_count=1, byte_count=9, char_count=8, create_time=100.5,
    )  # fmt: skip
    _insert(
        database, "documents", corpus_id="books", document_id="a/ä.txt", sha256=TEXT, byte_count=9,
        char_count=8, create_time=101.0,
    )  # fmt: skip
    _insert(
        database, "uploads", corpus_id="books", request_id=REQUEST_ID, document_id="a/ä.txt",
        committed_bytes=9, finished=1,
    )  # fmt: skip
    _insert(
        database, "cartridges", corpus_id="books", id="small", state="READY", prefix_tokens=16,
        query_offset=20, size_bytes=7, model_fingerprint="m1", corpus_digest="before",
        tensor_digest="t", metrics_json='{"loss": 1.5}', create_time=102.0,
    )  # fmt: skip
    for number, (state, lease) in enumerate((("SUCCEEDED", None), ("RUNNING", 130.0))):
        job = {
            "id": f"job{number}", "kind": "train", "corpus_id": "books",
            "target": "corpora/books/cartridges/small", "request_json": f'{{"n": {number}}}',
            "state": state, "progress": 0.5, "message": "half", "metrics_json": '{"step": 2.0}',
            "error_json": None, "result_json": '{"corpus": "books"}' if lease is None else None,
            "attempt": 1, "token": 1, "worker": "w1" if lease else "", "lease_until": lease,
            "cancel_requested": 0, "create_time": 103.0 + number, "start_time": 104.0,
            "end_time": None, "heartbeat_time": 105.0,
        }  # fmt: skip
        _insert(database, "jobs", **job)
        for _ in range(2):
            _insert(
                database, "job_events", job_id=job["id"], snapshot_json=json.dumps(job), time=1.0
            )
    _insert(
        database, "requests", method="CreateCorpus", request_id=REQUEST_ID, body_sha256="b" * 64,
        response=b"\x00answer", create_time=106.0,
    )  # fmt: skip


def _write_second(database: sqlite3.Connection) -> None:
    _insert(database, "timings", machine="here/cpu", stages_json='{"read": 1}')
    for number, verdict in enumerate((1, 0, None)):
        _insert(
            database, "outcomes", id=f"d{number}", corpus_id="books", kind="lookup", route="crag",
            reason="X", quality=0.7, propensity=1.0, options_json='[{"route": "crag"}]',
            seconds=1.5, prompt_tokens=300, verdict=verdict, create_time=107.0 + number,
        )  # fmt: skip
