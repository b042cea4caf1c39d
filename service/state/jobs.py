"""Long work as records: queued, claimed under a lease, renewed, finished. Knows no kind's meaning.

A claim gives a token that grows with every claim; whoever comes back with an older token has
lost the job and is refused. Every change writes one event in the same transaction.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Literal

from engine.fail_point import fail_point
from service.errors import ErrorRecord, ServiceError, fail, quoted
from service.limits import Limits
from service.state.job import Job, JobCensus, JobKind, JobState, job_of, record_of
from service.state.pages import Listing, read_page
from service.state.store import Store
from service.state.tables import EVENTS, JOBS, next_number, request_key

MAX_ATTEMPTS = 5
EVENTS_KEPT = 1000
LEASE_SECONDS = 30.0
FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0


class Jobs:
    """The job queue in the store; safe for threads and for any number of processes."""

    def __init__(
        self,
        store: Store,
        lease_seconds: float = LEASE_SECONDS,
        limits: Limits | None = None,
        clock: Callable[[], float] | None = None,
        on_unmade: Callable[[Job], None] | None = None,
    ) -> None:
        """`clock` is the store's unless given; `on_unmade` hears of each job that fails or is cancelled,
        in the same transaction.
        """
        self._store = store
        self._on_unmade = on_unmade or (lambda job: None)
        self.lease_seconds = lease_seconds
        self._limits = limits or Limits()
        self._clock = clock or store.now

    def enqueue(
        self, kind: JobKind, corpus_id: str, target: str, request: Mapping[str, object]
    ) -> Job:
        """Queue a job, or return the unfinished one that asks for the same."""
        asked = request_key(kind, corpus_id, target, dict(request))
        with self._store.transaction():
            if same := JOBS.first(self._store, "unfinished", asked):
                return job_of(same[1])
            now, number = self._clock(), next_number(self._store, "jobs")
            job = Job(
                id=uuid.uuid4().hex, kind=kind, corpus_id=corpus_id, target=target,
                request=dict(request), state=JobState.QUEUED, progress=0.0, message="", metrics={},
                error=None, result=None, attempt=0, token=0, worker="", lease_until=None,
                cancel_requested=False, create_time=now, start_time=None, end_time=None,
                heartbeat_time=None, ready_time=now, number=number,
            )  # fmt: skip
            queued = self._put(job)
            fail_point("job.queued")
            return queued

    def transaction(self) -> AbstractContextManager[None]:
        """All that is written to the store inside is kept, or none of it."""
        return self._store.transaction()

    def get(self, job_id: str) -> Job:
        """The job as it stands. Raises JOB_NOT_FOUND."""
        record = JOBS.get(self._store, (job_id,))
        if record is None:
            raise _not_found(job_id)
        return job_of(record)

    def list(
        self, page_size: int = 0, page_token: str = "", corpus_id: str = ""
    ) -> tuple[tuple[Job, ...], str]:
        """A page of jobs, newest first, of one corpus or of all, and the next page's token."""
        index, prefix = ("of_corpus", (corpus_id,)) if corpus_id else ("by_time", ())
        listing = Listing(f"jobs/{corpus_id}", JOBS, index, (float, str), prefix, descending=True)
        found, token = read_page(self._store, listing, page_size, page_token, self._limits)
        return tuple(job_of(record) for record in found), token

    def census(self) -> JobCensus:
        """How many jobs there are of each kind and state, and how long the running ones are silent."""
        counts: Counter[tuple[JobKind, JobState]] = Counter()
        ages: dict[JobKind, float] = {}
        now = self._clock()
        for _, record in JOBS.each(self._store):
            job = job_of(record)
            counts[job.kind, job.state] += 1
            if job.state is JobState.RUNNING and job.heartbeat_time is not None:
                ages[job.kind] = max(ages.get(job.kind, 0.0), now - job.heartbeat_time)
        return JobCensus(counts, ages)

    def claim(self, worker: str) -> Job | None:
        """Take the next job under a new lease: expired leases first, then the oldest queued."""
        if not self.has_work():  # looked up before it locks others out
            return None
        with self._store.transaction():
            while job := self._next():
                if self._close_unclaimable(job):
                    continue
                now = self._clock()
                claimed = self._put(
                    replace(
                        job, state=JobState.RUNNING, token=_token_after(job.token, now),
                        attempt=job.attempt + 1, worker=worker,
                        lease_until=now + self.lease_seconds, heartbeat_time=now,
                        start_time=now if job.start_time is None else job.start_time,
                    )
                )  # fmt: skip
                fail_point("job.claimed")
                return claimed
            return None

    def has_work(self) -> bool:
        """Whether `claim` would find something."""
        return self._next() is not None

    def holds(self, job_id: str, token: int) -> bool:
        """Whether the claim with that token still counts; asked in the transaction that commits."""
        return self._held(job_id, token) is not None

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
        with self._store.transaction():
            before = self._held(job_id, token)
            if before is None:
                return "lost"
            now = self._clock()
            after = replace(
                before, lease_until=now + self.lease_seconds, heartbeat_time=now,
                progress=before.progress if progress is None else min(max(0.0, progress), 1.0),
                message=before.message if message is None else message,
                metrics=dict(before.metrics if metrics is None else metrics),
            )  # fmt: skip
            self._put(after, is_event=_report(after) != _report(before))
            fail_point("lease.renewed")
            return "cancel" if after.cancel_requested else "ok"

    def finish(self, job_id: str, token: int, result: Mapping[str, object]) -> bool:
        """The job is done; False, and nothing changes, for a stale token."""
        done = {"state": JobState.SUCCEEDED, "progress": 1.0, "result": dict(result), "error": None}
        return self._end(job_id, token, done)

    def fail(self, job_id: str, token: int, error: ErrorRecord, retryable: bool = False) -> bool:
        """The attempt failed; if retryable and attempts are left, the job is queued again and may be
        claimed after a pause that doubles with every attempt. False for a stale token.
        """
        with self._store.transaction():
            job = self._held(job_id, token)
            if job is None:
                return False
            if retryable and job.attempt < MAX_ATTEMPTS and not job.cancel_requested:
                self._queue(job, error=error, ready_time=self._clock() + _pause(job.attempt))
                return True
            return self._end(job_id, token, {"state": JobState.FAILED, "error": error})

    def cancelled(self, job_id: str, token: int) -> bool:
        """The worker has stopped because it was asked to. False for a stale token."""
        return self._end(job_id, token, {"state": JobState.CANCELLED, "error": _CANCELLED})

    def give_back(self, job_id: str, token: int) -> bool:
        """The worker stops before the job's end; the attempt does not count. False for a stale token."""
        with self._store.transaction():
            job = self._held(job_id, token)
            if job is None:
                return False
            self._release([job], is_counted=False)
            return True

    def cancel(self, job_id: str) -> Job:
        """Ask a job to stop: at once while queued, else at its next renewal; the job then.

        A finished job stays as it is. Raises JOB_NOT_FOUND.
        """
        with self._store.transaction():
            job = self.get(job_id)
            if job.state is JobState.QUEUED:
                return self._close(job, JobState.CANCELLED, _CANCELLED)
            if job.state is JobState.RUNNING and not job.cancel_requested:
                return self._put(replace(job, cancel_requested=True))
            return job

    def release_worker(self, worker: str, is_counted: bool = True) -> int:
        """Queue again what a dead worker held; how many. The attempt it died in counts unless told."""
        with self._store.transaction():
            mine = [job for job in self._running() if job.worker == worker]
            return self._release(mine, is_counted)

    def release_all(self) -> int:
        """Queue again what ran when the only server stopped; how many. Those attempts do not count."""
        with self._store.transaction():
            return self._release(self._running(), is_counted=False)

    def events_since(self, job_id: str, after_event_id: int = 0) -> tuple[tuple[int, Job], ...]:
        """The kept changes after an event, oldest first. Raises JOB_NOT_FOUND."""
        self.get(job_id)
        found = self._store.range(EVENTS.name, (job_id,), (job_id, after_event_id))
        return tuple((int(key[-1]), job_of(record)) for key, record in found)

    def delete(self, job_id: str) -> None:
        """Forget a finished job and its events. Raises JOB_NOT_FOUND, JOB_NOT_FINISHED."""
        with self._store.transaction():
            if not self.get(job_id).state.is_final:
                raise fail(
                    "JOB_NOT_FINISHED",
                    f"the operation '{job_id}' has not ended; cancel it and wait for its end",
                    job_id=job_id,
                )
            for key, _ in EVENTS.each(self._store, (job_id,)):
                EVENTS.delete(self._store, key)
            JOBS.delete(self._store, (job_id,))

    def _next(self) -> Job | None:
        now = self._clock()
        for index in ("running", "waiting"):
            found = JOBS.first(self._store, index)
            if found and float(found[0][0]) <= now:
                return job_of(found[1])
        return None

    def _running(self) -> Sequence[Job]:
        return [job_of(record) for _, record in JOBS.find(self._store, "running")]

    def _held(self, job_id: str, token: int) -> Job | None:
        record = JOBS.get(self._store, (job_id,))
        job = job_of(record) if record else None
        is_held = job is not None and job.token == token and job.state is JobState.RUNNING
        return job if is_held else None

    def _end(self, job_id: str, token: int, change: Mapping[str, Any]) -> bool:
        with self._store.transaction():
            job = self._held(job_id, token)
            if job is None:
                return False
            self._ended(replace(job, **change))
            fail_point("job.ended")
            return True

    def _close(self, job: Job, state: JobState, error: ErrorRecord) -> Job:
        return self._ended(replace(job, state=state, error=error))

    def _ended(self, job: Job) -> Job:
        ended = self._put(replace(job, worker="", lease_until=None, end_time=self._clock()))
        if ended.state is not JobState.SUCCEEDED:
            self._on_unmade(ended)
        return ended

    def _close_unclaimable(self, job: Job) -> bool:
        if job.cancel_requested:
            self._close(job, JobState.CANCELLED, _CANCELLED)
        elif job.attempt >= MAX_ATTEMPTS:
            self._close(job, JobState.FAILED, _poison(job))
        else:
            return False
        return True

    def _release(self, jobs: Sequence[Job], is_counted: bool) -> int:
        for job in jobs:
            if job.cancel_requested:
                self._close(job, JobState.CANCELLED, _CANCELLED)
            else:
                attempt = job.attempt if is_counted else max(job.attempt - 1, 0)
                self._queue(job, attempt=attempt, ready_time=job.create_time)  # its old place
        return len(jobs)

    def _queue(self, job: Job, **change: Any) -> None:
        self._put(replace(job, state=JobState.QUEUED, worker="", lease_until=None, **change))

    def _put(self, job: Job, is_event: bool = True) -> Job:
        with self._store.transaction():
            job = replace(job, events=job.events + is_event)
            record = record_of(job)
            JOBS.put(self._store, (job.id,), record)
            if is_event:
                EVENTS.put(self._store, (job.id, job.events), record)
                EVENTS.delete(self._store, (job.id, job.events - EVENTS_KEPT))
            return job


_CANCELLED = fail("JOB_CANCELLED", "the operation was cancelled; start it again if needed").record


def _token_after(token: int, now: float) -> int:
    """Grows also where the store came back from a crash without the last claims."""
    return max(token + 1, int(now * 1000))


def _pause(attempt: int) -> float:
    return float(min(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1), LONGEST_PAUSE_SECONDS))


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
