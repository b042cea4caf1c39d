"""Every kind of record there is, under which key it lies, and by what else it is found."""

from __future__ import annotations

import hashlib
import json

from service.state.job import UNFINISHED, JobState
from service.state.store import Key, Record, Store
from service.state.table import Table


def _by_time(key: Key, record: Record) -> Key:
    return (record["create_time"], *key)


def _of_corpus(key: Key, record: Record) -> Key:
    return (record["corpus_id"], record["create_time"], key[-1])


def _waiting(key: Key, job: Record) -> Key | None:
    is_queued = job["state"] == JobState.QUEUED
    return (job["ready_time"], job["number"], *key) if is_queued else None


def _running(key: Key, job: Record) -> Key | None:
    return (job["lease_until"], *key) if job["state"] == JobState.RUNNING else None


def _unfinished(key: Key, job: Record) -> Key | None:
    if job["state"] not in UNFINISHED or job["cancel_requested"]:
        return None
    return request_key(job["kind"], job["corpus_id"], job["target"], job["request"])


def request_key(kind: str, corpus_id: str, target: str, request: object) -> Key:
    """Where the unfinished job that asks for this stands in `unfinished`."""
    asked = json.dumps([kind, corpus_id, target, request], sort_keys=True)
    return (hashlib.sha256(asked.encode()).hexdigest(),)


CORPORA = Table("corpora", {"by_time": _by_time})
DOCUMENTS = Table("documents", {"by_digest": lambda key, one: (one["sha256"], *key)})
UPLOADS = Table("uploads")
CARTRIDGES = Table("cartridges", {"by_time": _by_time, "of_corpus": _of_corpus})
JOBS = Table(
    "jobs",
    {
        "by_time": _by_time,
        "of_corpus": _of_corpus,
        "waiting": _waiting,
        "running": _running,
        "unfinished": _unfinished,
    },
)
EVENTS = Table("events")
DELETIONS = Table("deletions")  # whose files are not removed yet
REQUESTS = Table("requests", {"by_time": _by_time})
OUTCOMES = Table(
    "outcomes",
    {
        "unjudged": lambda key, one: _by_time(key, one) if one["is_good"] is None else None,
        "judged": lambda key, one: None if one["is_good"] is None else _by_time(key, one),
        "numbered": lambda key, one: (one["number"], *key) if "number" in one else None,
    },
)
VERDICTS = Table("verdicts")
TIMINGS = Table("timings")
SETTINGS = Table("settings")
TENANTS = Table("tenants")
_COUNTERS = Table("counters")

_BELONGINGS = (DOCUMENTS, UPLOADS, CARTRIDGES, OUTCOMES, VERDICTS)
_ALL = (
    *(CORPORA, *_BELONGINGS, JOBS, EVENTS, DELETIONS, REQUESTS),
    *(TIMINGS, SETTINGS, TENANTS, _COUNTERS),
)


def delete_belongings(store: Store, corpus_id: str) -> None:
    """Removes every record that is a corpus' own; all their keys begin with its id."""
    with store.transaction():
        for table in _BELONGINGS:
            for key, _ in table.each(store, (corpus_id,)):
                table.delete(store, key)


def delete_all(store: Store) -> None:
    """Removes every record there is."""
    with store.transaction():
        for table in _ALL:
            for key, _ in table.each(store):
                table.delete(store, key)


def next_number(store: Store, name: str) -> int:
    """A number that grows with every call, from 1."""
    with store.transaction():
        record = _COUNTERS.get(store, (name,)) or {"last": 0}
        number = int(record["last"]) + 1
        _COUNTERS.put(store, (name,), {"last": number})
        return number
