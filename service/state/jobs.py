"""Long work as rows: queued, claimed under a lease, renewed, finished. Knows no kind's meaning.

A claim gives a token that grows with every claim; whoever comes back with an older token has
lost the job and is refused. Every change writes one event in the same transaction.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Literal

from service.errors import ErrorRecord, ServiceError, fail, quoted
from service.limits import Limits
from service.state.database import Database, Listing, read_page
from service.state.job import Job, JobCensus, JobKind, JobState, job_of

MAX_ATTEMPTS = 5
EVENTS_KEPT = 1000


class Jobs:
    """The job queue in the database; safe for threads and for several connections."""

    def __init__(
        self,
        database: Database,
        lease_seconds: float = 30.0,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
        on_unmade: Callable[[Job], None] | None = None,
    ) -> None:
        """`on_unmade` hears of each job that fails or is cancelled, in the same transaction."""
        self._database = database
        self._on_unmade = on_unmade or (lambda job: None)
        self._lease_seconds = lease_seconds
        self._limits = limits or Limits()
        self._clock = clock

    def enqueue(
        self, kind: JobKind, corpus_id: str, target: str, request: Mapping[str, object]
    ) -> Job:
        """Queue a job, or return the unfinished one that asks for the same."""
        request_json = json.dumps(request, sort_keys=True)
        with self._database.transaction():
            same = self._database.row(
                "SELECT id FROM jobs WHERE state IN ('QUEUED', 'RUNNING') AND NOT cancel_requested "
                "AND kind = ? AND corpus_id = ? AND target = ? AND request_json = ?",
                (kind, corpus_id, target, request_json),
            )
            if same:
                return self.get(same["id"])
            job_id = uuid.uuid4().hex
            self._database.execute(
                "INSERT INTO jobs (id, kind, corpus_id, target, request_json, state, create_time) "
                "VALUES (?, ?, ?, ?, ?, 'QUEUED', ?)",
                (job_id, kind, corpus_id, target, request_json, self._clock()),
            )
            return self._record_event(job_id)

    def transaction(self) -> AbstractContextManager[None]:
        """All that is written to the store inside is kept, or none of it."""
        return self._database.transaction()

    def get(self, job_id: str) -> Job:
        """The job as it stands. Raises JOB_NOT_FOUND."""
        row = self._database.row("SELECT * FROM jobs WHERE id = ?", (job_id,))
        if row is None:
            raise _not_found(job_id)
        return job_of(dict(row))

    def list(
        self, page_size: int = 0, page_token: str = "", corpus_id: str = ""
    ) -> tuple[tuple[Job, ...], str]:
        """A page of jobs, newest first, of one corpus or of all, and the next page's token."""
        listing = Listing(
            f"jobs/{corpus_id}",
            "SELECT * FROM jobs WHERE ? IN ('', corpus_id)",
            (corpus_id,),
            ("create_time", "id"),
            descending=True,
        )
        rows, token = read_page(self._database, listing, page_size, page_token, self._limits)
        return tuple(job_of(dict(row)) for row in rows), token

    def census(self) -> JobCensus:
        """How many jobs there are of each kind and state, and how long the running ones are silent."""
        rows = self._database.rows(
            "SELECT kind, state, COUNT(*) AS number, MIN(heartbeat_time) AS oldest FROM jobs "
            "GROUP BY kind, state"
        )
        now = self._clock()
        counts = {(JobKind(row["kind"]), JobState(row["state"])): row["number"] for row in rows}
        ages = {
            JobKind(row["kind"]): max(0.0, now - row["oldest"])
            for row in rows
            if row["state"] == JobState.RUNNING and row["oldest"] is not None
        }
        return JobCensus(counts, ages)

    def claim(self, worker: str) -> Job | None:
        """Take the next job under a new lease: expired leases first, then the oldest queued."""
        with self._database.transaction():
            while True:
                now = self._clock()
                row = self._database.row(
                    "SELECT * FROM jobs WHERE state = 'QUEUED' "
                    "OR (state = 'RUNNING' AND lease_until <= ?) "
                    "ORDER BY state = 'QUEUED', COALESCE(lease_until, create_time), rowid LIMIT 1",
                    (now,),
                )
                if row is None:
                    return None
                if self._close_unclaimable(job_of(dict(row))):
                    continue
                return self._change(
                    row["id"],
                    "state = 'RUNNING', token = token + 1, attempt = attempt + 1, worker = ?, "
                    "lease_until = ?, heartbeat_time = ?, start_time = COALESCE(start_time, ?)",
                    (worker, now + self._lease_seconds, now, now),
                )

    def has_work(self) -> bool:
        """Whether `claim` would find something."""
        row = self._database.row(
            "SELECT 1 FROM jobs WHERE state = 'QUEUED' "
            "OR (state = 'RUNNING' AND lease_until <= ?) LIMIT 1",
            (self._clock(),),
        )
        return row is not None

    def renew(
        self,
        job_id: str,
        token: int,
        progress: float | None = None,
        message: str | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> Literal["ok", "lost", "cancel"]:
        """Keep the lease and report; "lost" means stop at once, "cancel" stop and say so.

        What is None stays as it was.
        """
        with self._database.transaction():
            before = self._held(job_id, token)
            if before is None:
                return "lost"
            now = self._clock()
            self._database.execute(
                "UPDATE jobs SET lease_until = ?, heartbeat_time = ?, progress = ?, message = ?, "
                "metrics_json = ? WHERE id = ?",
                (
                    now + self._lease_seconds,
                    now,
                    before.progress if progress is None else min(max(0.0, progress), 1.0),
                    before.message if message is None else message,
                    json.dumps(dict(before.metrics if metrics is None else metrics)),
                    job_id,
                ),
            )
            after = self.get(job_id)
            if _report(after) != _report(before):
                self._record_event(job_id)
            return "cancel" if after.cancel_requested else "ok"

    def finish(self, job_id: str, token: int, result: Mapping[str, object]) -> bool:
        """The job is done; False, and nothing changes, for a stale token."""
        change = "state = 'SUCCEEDED', progress = 1, result_json = ?, error_json = NULL"
        return self._end(job_id, token, change, json.dumps(dict(result)))

    def fail(self, job_id: str, token: int, error: ErrorRecord, retryable: bool = False) -> bool:
        """The attempt failed; queued again if retryable and attempts are left. False if stale."""
        with self._database.transaction():
            job = self._held(job_id, token)
            if job is None:
                return False
            if retryable and job.attempt < MAX_ATTEMPTS and not job.cancel_requested:
                change = "state = 'QUEUED', worker = '', lease_until = NULL, error_json = ?"
                self._change(job_id, change, (error.to_json(),))
                return True
            return self._end(job_id, token, "state = 'FAILED', error_json = ?", error.to_json())

    def cancelled(self, job_id: str, token: int) -> bool:
        """The worker has stopped because it was asked to. False for a stale token."""
        change = "state = 'CANCELLED', error_json = ?"
        return self._end(job_id, token, change, _CANCELLED.to_json())

    def cancel(self, job_id: str) -> Job:
        """Ask a job to stop: at once while queued, else at its next renewal; the job then.

        A finished job stays as it is. Raises JOB_NOT_FOUND.
        """
        with self._database.transaction():
            job = self.get(job_id)
            if job.state is JobState.QUEUED:
                return self._close(job_id, JobState.CANCELLED, _CANCELLED)
            if job.state is JobState.RUNNING and not job.cancel_requested:
                return self._change(job_id, "cancel_requested = 1")
            return job

    def release_worker(self, worker: str) -> int:
        """Queue again what a dead worker held; how many. The attempt it died in counts."""
        return self._release("worker = ?", (worker,), "attempt")

    def release_all(self) -> int:
        """Queue again what ran when the server stopped; how many. Those attempts do not count."""
        return self._release("1", (), "MAX(attempt - 1, 0)")

    def events_since(self, job_id: str, after_event_id: int = 0) -> tuple[tuple[int, Job], ...]:
        """The kept changes after an event, oldest first. Raises JOB_NOT_FOUND."""
        self.get(job_id)
        rows = self._database.rows(
            "SELECT event_id, snapshot_json FROM job_events WHERE job_id = ? AND event_id > ? "
            "ORDER BY event_id",
            (job_id, after_event_id),
        )
        return tuple((row["event_id"], job_of(json.loads(row["snapshot_json"]))) for row in rows)

    def delete(self, job_id: str) -> None:
        """Forget a finished job and its events. Raises JOB_NOT_FOUND, JOB_NOT_FINISHED."""
        with self._database.transaction():
            if not self.get(job_id).state.is_final:
                raise fail(
                    "JOB_NOT_FINISHED",
                    f"the operation '{job_id}' has not ended; cancel it and wait for its end",
                    job_id=job_id,
                )
            self._database.execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    def _held(self, job_id: str, token: int) -> Job | None:
        row = self._database.row(
            "SELECT * FROM jobs WHERE id = ? AND token = ? AND state = 'RUNNING'", (job_id, token)
        )
        return job_of(dict(row)) if row else None

    def _end(self, job_id: str, token: int, change: str, value: str) -> bool:
        with self._database.transaction():
            if self._held(job_id, token) is None:
                return False
            ended = f"{change}, worker = '', lease_until = NULL, end_time = ?"
            self._ended(self._change(job_id, ended, (value, self._clock())))
            return True

    def _close(self, job_id: str, state: JobState, error: ErrorRecord) -> Job:
        closed = self._change(
            job_id,
            "state = ?, error_json = ?, worker = '', lease_until = NULL, end_time = ?",
            (state, error.to_json(), self._clock()),
        )
        return self._ended(closed)

    def _ended(self, job: Job) -> Job:
        if job.state is not JobState.SUCCEEDED:
            self._on_unmade(job)
        return job

    def _close_unclaimable(self, job: Job) -> bool:
        if job.cancel_requested:
            self._close(job.id, JobState.CANCELLED, _CANCELLED)
        elif job.attempt >= MAX_ATTEMPTS:
            self._close(job.id, JobState.FAILED, _poison(job))
        else:
            return False
        return True

    def _release(self, whose: str, values: tuple[object, ...], attempt: str) -> int:
        with self._database.transaction():
            held = self._database.rows(
                f"SELECT id, cancel_requested FROM jobs WHERE state = 'RUNNING' AND {whose}", values
            )
            change = f"state = 'QUEUED', worker = '', lease_until = NULL, attempt = {attempt}"
            for row in held:
                if row["cancel_requested"]:
                    self._close(row["id"], JobState.CANCELLED, _CANCELLED)
                else:
                    self._change(row["id"], change)
            return len(held)

    def _change(self, job_id: str, change: str, values: tuple[object, ...] = ()) -> Job:
        self._database.execute(f"UPDATE jobs SET {change} WHERE id = ?", (*values, job_id))
        return self._record_event(job_id)

    def _record_event(self, job_id: str) -> Job:
        row = dict(self._database.rows("SELECT * FROM jobs WHERE id = ?", (job_id,))[0])
        self._database.execute(
            "INSERT INTO job_events (job_id, snapshot_json, time) VALUES (?, ?, ?)",
            (job_id, json.dumps(row), self._clock()),
        )
        self._database.execute(
            "DELETE FROM job_events WHERE job_id = ? AND event_id <= (SELECT event_id FROM "
            "job_events WHERE job_id = ? ORDER BY event_id DESC LIMIT 1 OFFSET ?)",
            (job_id, job_id, EVENTS_KEPT),
        )
        return job_of(row)


_CANCELLED = fail("JOB_CANCELLED", "the operation was cancelled; start it again if needed").record


def _poison(job: Job) -> ErrorRecord:
    return fail(
        "POISON_JOB",
        f"the operation ended {job.attempt} workers without finishing; look at the worker's log "
        "and memory, then start it again",
        attempts=job.attempt,
    ).record


def _not_found(job_id: str) -> ServiceError:
    return fail(
        "JOB_NOT_FOUND",
        f"there is no operation {quoted(job_id)}; list the operations for its id",
        job_id=job_id,
    )


def _report(job: Job) -> tuple[object, ...]:
    return (job.progress, job.message, job.metrics)
