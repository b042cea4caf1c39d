"""A data folder of schema 1 or 2, where each kind of record had columns, brought to records."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

from service.state.store import Key, Record, Store
from service.state.table import Table
from service.state.tables import (
    CARTRIDGES,
    CORPORA,
    DOCUMENTS,
    EVENTS,
    JOBS,
    OUTCOMES,
    REQUESTS,
    TIMINGS,
    UPLOADS,
    VERDICTS,
    next_number,
)

_JSON = "_json"
_DROPPED = (
    "job_events",
    "jobs",
    "outcomes",
    "timings",
    "requests",
    "cartridges",
    "uploads",
    "documents",
    "corpora",
)


def migrate(connection: sqlite3.Connection, store: Store) -> None:
    """Moves every row to a record and drops the old tables; belongs in a transaction."""
    for name, table, move in _MOVES:
        for row in _rows(connection, name):
            key, record = move(row)
            table.put(store, key, record)
    for row in _rows(connection, "jobs", "create_time, rowid"):
        _move_job(connection, store, _parsed(row))
    for row in _rows(connection, "outcomes"):
        _move_outcome(store, _parsed(row))
    for name in _DROPPED:
        connection.execute(f"DROP TABLE IF EXISTS {name}")


def _rows(connection: sqlite3.Connection, table: str, order: str = "1") -> Iterator[dict[str, Any]]:
    known = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    if not known:
        return
    cursor = connection.execute(f"SELECT * FROM {table} ORDER BY {order}")
    names = [column[0] for column in cursor.description]
    for values in cursor.fetchall():
        yield dict(zip(names, values, strict=True))


def _parsed(row: dict[str, Any]) -> Record:
    """A row whose columns of JSON are values."""
    return {
        name.removesuffix(_JSON): json.loads(value) if name.endswith(_JSON) and value else value
        for name, value in row.items()
    }


def _move_job(connection: sqlite3.Connection, store: Store, job: Record) -> None:
    events = connection.execute(
        "SELECT event_id, snapshot_json FROM job_events WHERE job_id = ? ORDER BY event_id",
        (job["id"],),
    ).fetchall()
    number = next_number(store, "jobs")
    last = 0
    for event_id, snapshot in events:
        last = event_id
        EVENTS.put(store, (job["id"], last), _job(_parsed(json.loads(snapshot)), number, last))
    JOBS.put(store, (job["id"],), _job(job, number, last))


def _job(job: Record, number: int, last: int) -> Record:
    return job | {
        "cancel_requested": bool(job["cancel_requested"]),
        "ready_time": job["create_time"],
        "number": number,
        "events": last,
    }


def _move_outcome(store: Store, outcome: Record) -> None:
    verdict = outcome.pop("verdict")
    is_good = None if verdict is None else bool(verdict)
    OUTCOMES.put(store, (outcome["corpus_id"], outcome["id"]), outcome | {"is_good": is_good})
    if is_good is not None:
        key = (outcome["corpus_id"], outcome["kind"], outcome["route"])
        counts = VERDICTS.get(store, key) or {"good": 0, "bad": 0}
        counts["good" if is_good else "bad"] += 1
        VERDICTS.put(store, key, counts)


def _upload(row: dict[str, Any]) -> tuple[Key, Record]:
    key = (row["corpus_id"], row["request_id"], row["document_id"])
    return key, row | {"finished": bool(row["finished"])}


def _request(row: dict[str, Any]) -> tuple[Key, Record]:
    response = base64.b64encode(row["response"]).decode()
    return (row["method"], row["request_id"]), row | {"response": response}


_MOVES: tuple[tuple[str, Table, Callable[[dict[str, Any]], tuple[Key, Record]]], ...] = (
    ("corpora", CORPORA, lambda row: ((row["id"],), _parsed(row))),
    ("documents", DOCUMENTS, lambda row: ((row["corpus_id"], row["document_id"]), row)),
    ("uploads", UPLOADS, _upload),
    ("cartridges", CARTRIDGES, lambda row: ((row["corpus_id"], row["id"]), _parsed(row))),
    ("requests", REQUESTS, _request),
    ("timings", TIMINGS, lambda row: ((row["machine"],), {"stages": row["stages_json"]})),
)
