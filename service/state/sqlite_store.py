"""The store in one SQLite file of the data folder, for one machine.

The only module that knows sqlite3's settings.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from engine.plain_file import refuse_links
from service.errors import ServiceError, fail
from service.state.migration import migrate
from service.state.store import Key, Record, bounds, decode_key, encode_key

SCHEMA_VERSION = 3

_SCHEMA = """CREATE TABLE records (tab TEXT NOT NULL, key BLOB NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (tab, key)) WITHOUT ROWID"""
_SETTINGS = ("busy_timeout = 10000", "journal_mode = WAL", "synchronous = FULL")
_FILES = ("", "-wal", "-shm", "-journal")
_MOST_PARAMETERS = 500
_NO_LIMIT = -1


class SqliteStore:
    """One connection shared by all threads of a process, one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises DATA_FOLDER_VERSION for a schema it does not know, FileNotPlainError where the file or one
        that SQLite keeps beside it is a link.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        refuse_links(*(path.with_name(path.name + end) for end in _FILES))
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            for setting in _SETTINGS:
                self._connection.execute(f"PRAGMA {setting}")
            self._create_schema()
        except BaseException:
            self._connection.close()
            raise

    def now(self) -> float:
        return time.time()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._lock:
            is_nested = self._connection.in_transaction
            if is_nested:
                yield
                return
            with _errors():
                self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                with _errors():
                    self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def get(self, table: str, key: Key) -> Record | None:
        return self.get_many(table, [key])[0]

    def get_many(self, table: str, keys: Sequence[Key]) -> list[Record | None]:
        found: dict[bytes, Record] = {}
        encoded = [encode_key(key) for key in keys]
        for start in range(0, len(encoded), _MOST_PARAMETERS):
            some = encoded[start : start + _MOST_PARAMETERS]
            marks = ", ".join("?" * len(some))
            sql = f"SELECT key, value FROM records WHERE tab = ? AND key IN ({marks})"
            found |= {key: json.loads(value) for key, value in self._rows(sql, table, *some)}
        return [found.get(key) for key in encoded]

    def put(self, table: str, key: Key, record: Record) -> None:
        sql = "INSERT OR REPLACE INTO records VALUES (?, ?, ?)"
        self._rows(sql, table, encode_key(key), json.dumps(record))

    def delete(self, table: str, key: Key) -> None:
        self._rows("DELETE FROM records WHERE tab = ? AND key = ?", table, encode_key(key))

    def range(
        self,
        table: str,
        prefix: Key = (),
        after: Key | None = None,
        limit: int | None = None,
        descending: bool = False,
    ) -> list[tuple[Key, Record]]:
        (low, with_low), (high, _) = bounds(prefix, after, descending)
        sql = (
            f"SELECT key, value FROM records WHERE tab = ? AND key {'>=' if with_low else '>'} ? "
            f"AND key < ? ORDER BY key {'DESC' if descending else 'ASC'} LIMIT ?"
        )
        rows = self._rows(sql, table, low, high, _NO_LIMIT if limit is None else limit)
        return [(decode_key(key), json.loads(value)) for key, value in rows]

    def check(self) -> None:
        with self.transaction():
            return

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _rows(self, sql: str, *parameters: object) -> list[tuple[bytes, str]]:
        with self._lock, _errors():
            return self._connection.execute(sql, parameters).fetchall()

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
            self._connection.execute(_SCHEMA)
            if version:
                migrate(self._connection, self)
            self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        refused = _refusal(error.sqlite_errorcode & 0xFF)
        if refused is None:
            raise
        raise refused from error


def _refusal(code: int) -> ServiceError | None:
    match code:
        case sqlite3.SQLITE_FULL:
            return fail(
                "STATE_FULL", "the disk of the data folder is full; free some space, then try again"
            )
        case sqlite3.SQLITE_READONLY:
            return fail(
                "STATE_READ_ONLY",
                "the data folder's SQLite file cannot be written; give this user the right to",
            )
        case sqlite3.SQLITE_BUSY:
            return fail(
                "STATE_CONFLICT",
                "another process kept the SQLite file locked; try again",
                retry_after_seconds=1.0,
            )
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN:
            return fail(
                "STATE_UNAVAILABLE",
                "the data folder's SQLite file cannot be read or written; see to its disk",
                retry_after_seconds=5.0,
            )
    return None
