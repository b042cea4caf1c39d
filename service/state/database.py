"""The SQLite file in the data folder: connection, schema, transactions, pages of rows.

The only module that knows sqlite3's settings. Knows the tables' columns, not their meaning.
Times are seconds since the epoch, as floats.
"""

from __future__ import annotations

import base64
import fcntl
import json
import math
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from service.errors import fail
from service.limits import Limits

SCHEMA_VERSION = 2

_SCHEMA = (
    """CREATE TABLE corpora (
        id TEXT PRIMARY KEY, display_name TEXT NOT NULL, state TEXT NOT NULL, error_json TEXT,
        content_digest TEXT, indexed_digest TEXT, etag TEXT NOT NULL,
        document_count INTEGER NOT NULL DEFAULT 0, byte_count INTEGER NOT NULL DEFAULT 0,
        char_count INTEGER NOT NULL DEFAULT 0,
        token_count INTEGER NOT NULL DEFAULT 0, sentence_count INTEGER NOT NULL DEFAULT 0,
        create_time REAL NOT NULL)""",
    """CREATE TABLE documents (
        corpus_id TEXT NOT NULL REFERENCES corpora(id) ON DELETE CASCADE,
        document_id TEXT NOT NULL, sha256 TEXT NOT NULL, byte_count INTEGER NOT NULL,
        char_count INTEGER NOT NULL, create_time REAL NOT NULL,
        PRIMARY KEY (corpus_id, document_id)) WITHOUT ROWID""",
    "CREATE INDEX documents_by_digest ON documents(sha256)",
    """CREATE TABLE uploads (
        corpus_id TEXT NOT NULL REFERENCES corpora(id) ON DELETE CASCADE,
        request_id TEXT NOT NULL, document_id TEXT NOT NULL,
        committed_bytes INTEGER NOT NULL DEFAULT 0, finished INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (corpus_id, request_id, document_id)) WITHOUT ROWID""",
    """CREATE TABLE cartridges (
        corpus_id TEXT NOT NULL REFERENCES corpora(id) ON DELETE CASCADE,
        id TEXT NOT NULL, state TEXT NOT NULL, prefix_tokens INTEGER NOT NULL,
        query_offset INTEGER NOT NULL, size_bytes INTEGER NOT NULL DEFAULT 0,
        model_fingerprint TEXT NOT NULL, corpus_digest TEXT NOT NULL,
        tensor_digest TEXT NOT NULL DEFAULT '', metrics_json TEXT NOT NULL DEFAULT '{}',
        error_json TEXT, create_time REAL NOT NULL, PRIMARY KEY (corpus_id, id))""",
    """CREATE TABLE jobs (
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, corpus_id TEXT NOT NULL, target TEXT NOT NULL,
        request_json TEXT NOT NULL, state TEXT NOT NULL, progress REAL NOT NULL DEFAULT 0,
        message TEXT NOT NULL DEFAULT '', metrics_json TEXT NOT NULL DEFAULT '{}',
        error_json TEXT, result_json TEXT, attempt INTEGER NOT NULL DEFAULT 0,
        token INTEGER NOT NULL DEFAULT 0, worker TEXT NOT NULL DEFAULT '', lease_until REAL,
        cancel_requested INTEGER NOT NULL DEFAULT 0, create_time REAL NOT NULL, start_time REAL,
        end_time REAL, heartbeat_time REAL)""",
    "CREATE INDEX jobs_by_state ON jobs(state, create_time)",
    """CREATE TABLE job_events (
        event_id INTEGER PRIMARY KEY AUTOINCREMENT,
        job_id TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,
        snapshot_json TEXT NOT NULL, time REAL NOT NULL)""",
    "CREATE INDEX job_events_by_job ON job_events(job_id, event_id)",
    """CREATE TABLE requests (
        method TEXT NOT NULL, request_id TEXT NOT NULL, body_sha256 TEXT NOT NULL,
        response BLOB NOT NULL, create_time REAL NOT NULL, PRIMARY KEY (method, request_id))""",
)

# What each version added to the one before it; a folder of an earlier one is brought up to date.
_ADDED = {
    2: (
        "CREATE TABLE timings (machine TEXT PRIMARY KEY, stages_json TEXT NOT NULL)",
        """CREATE TABLE outcomes (
        id TEXT PRIMARY KEY, corpus_id TEXT NOT NULL REFERENCES corpora(id) ON DELETE CASCADE,
        kind TEXT NOT NULL, route TEXT NOT NULL, reason TEXT NOT NULL, quality REAL NOT NULL,
        propensity REAL NOT NULL, options_json TEXT NOT NULL, seconds REAL NOT NULL,
        prompt_tokens INTEGER NOT NULL, verdict INTEGER, create_time REAL NOT NULL)""",
        "CREATE INDEX outcomes_by_kind ON outcomes(corpus_id, kind, route, verdict)",
        "CREATE INDEX outcomes_by_time ON outcomes(create_time)",
    ),
}


class Database:
    """One connection shared by all threads of a process, one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises DATA_FOLDER_VERSION for a schema it does not know."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        try:
            for setting in (
                "busy_timeout = 10000",
                "journal_mode = WAL",
                "synchronous = FULL",
                "foreign_keys = ON",
            ):
                self._connection.execute(f"PRAGMA {setting}")
            self._create_schema()
        except BaseException:
            self._connection.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside are kept, or none. A nested transaction joins the outer one."""
        with self._lock:
            is_nested = self._connection.in_transaction
            if is_nested:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[sqlite3.Row]:
        """Every row of a statement's answer."""
        with self._lock:
            return self._connection.execute(sql, parameters).fetchall()

    def row(self, sql: str, parameters: Sequence[object] = ()) -> sqlite3.Row | None:
        """The first row of a statement's answer, or None."""
        found = self.rows(sql, parameters)
        return found[0] if found else None

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement; the number of rows it changed."""
        with self._lock:
            return self._connection.execute(sql, parameters).rowcount

    def close(self) -> None:
        """Close the connection; safe to call twice."""
        with self._lock:
            self._connection.close()

    def _create_schema(self) -> None:
        with self.transaction():
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version == SCHEMA_VERSION:
                return
            if version > SCHEMA_VERSION:
                raise fail(
                    "DATA_FOLDER_VERSION",
                    f"the data folder has schema version {version}, this release reads "
                    f"{SCHEMA_VERSION}; start the release that wrote it, or name another folder",
                    version=version,
                )
            first = _SCHEMA if version == 0 else ()
            added = (_ADDED[later] for later in range(max(1, version) + 1, SCHEMA_VERSION + 1))
            for statement in (*first, *(one for more in added for one in more)):
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


@dataclass(frozen=True, slots=True)
class Listing:
    """An ordered query that is read page by page; `keys` order it and tell its rows apart."""

    scope: str
    select: str
    parameters: tuple[object, ...]
    keys: tuple[str, ...]
    descending: bool = False


def read_page(
    database: Database, listing: Listing, page_size: int, page_token: str, limits: Limits
) -> tuple[list[sqlite3.Row], str]:
    """One page of rows and the token of the next page, empty after the last.

    A size of 0 means the default, one above the maximum means the maximum.
    Raises INVALID_VALUE for a negative size, PAGE_TOKEN_INVALID for a token of another listing.
    """
    if page_size < 0:
        raise fail(
            "INVALID_VALUE", f"page_size: {page_size} is negative; use 0 or more", field="page_size"
        )
    size = min(page_size or limits.default_page_size, limits.max_page_size)
    after = _after_token(page_token, listing)
    direction, compare = ("DESC", "<") if listing.descending else ("ASC", ">")
    sql = listing.select
    if after:
        marks = ", ".join("?" * len(after))
        sql += f" AND ({', '.join(listing.keys)}) {compare} ({marks})"
    order = ", ".join(f"{key} {direction}" for key in listing.keys)
    sql += f" ORDER BY {order} LIMIT ?"
    found = database.rows(sql, (*listing.parameters, *after, size + 1))
    if len(found) <= size:
        return found, ""
    last = [found[size - 1][key.rpartition(".")[2]] for key in listing.keys]
    text = json.dumps({"of": listing.scope, "after": last})
    return found[:size], base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _after_token(token: str, listing: Listing) -> tuple[str | float, ...]:
    if not token:
        return ()
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        content = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        after = tuple(content["after"])
        fits = content["of"] == listing.scope and len(after) == len(listing.keys)
    except (ValueError, TypeError, KeyError, RecursionError):
        fits, after = False, ()
    if not fits or not all(
        isinstance(key, str) or (isinstance(key, float) and math.isfinite(key)) for key in after
    ):
        raise fail(
            "PAGE_TOKEN_INVALID",
            "page_token: it does not belong to this listing; pass next_page_token unchanged "
            "with the same arguments, or leave it empty to begin again",
            field="page_token",
        )
    return after


class DataFolderLock:
    """The right of one process to serve a data folder; it ends with the process at the latest."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the folder free; safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> DataFolderLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def lock_data_folder(folder: Path) -> DataFolderLock:
    """Lock `folder`/lock for this process. Raises DATA_FOLDER_LOCKED when another holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise fail(
            "DATA_FOLDER_LOCKED",
            f"another process (pid {holder}) serves this data folder; stop it, or name another "
            "folder",
            pid=holder,
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return DataFolderLock(descriptor)
