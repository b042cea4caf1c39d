"""A job as a value: what it makes, where it is, and how it looks as a record of the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from service.errors import ErrorRecord


class JobKind(StrEnum):
    """What a job makes."""

    INDEX = "index"
    TRAIN = "train"


class JobState(StrEnum):
    """Where a job is; the last three are for good."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Whether nothing happens to the job any more."""
        return self not in UNFINISHED


UNFINISHED = frozenset({JobState.QUEUED, JobState.RUNNING})


@dataclass(frozen=True, slots=True)
class Job:
    """A job at one moment; `progress` in 0..1, times in seconds since the epoch.

    While a job is unfinished, `error` is what ended its last attempt. A queued job may be claimed from
    `ready_time` on, those of one time by `number`. `events` is the number of its last event.
    """

    id: str
    kind: JobKind
    corpus_id: str
    target: str
    request: Mapping[str, object]
    state: JobState
    progress: float
    message: str
    metrics: Mapping[str, float]
    error: ErrorRecord | None
    result: Mapping[str, object] | None
    attempt: int
    token: int
    worker: str
    lease_until: float | None
    cancel_requested: bool
    create_time: float
    start_time: float | None
    end_time: float | None
    heartbeat_time: float | None
    ready_time: float
    number: int
    events: int = 0


@dataclass(frozen=True, slots=True)
class JobCensus:
    """How many jobs of a kind are in a state, and for each kind that runs the seconds since the
    oldest of its heartbeats.
    """

    counts: Mapping[tuple[JobKind, JobState], int]
    heartbeat_ages: Mapping[JobKind, float]


def job_of(record: Mapping[str, Any]) -> Job:
    """The job that a record, or a stored event, holds."""
    parsed = {
        "kind": JobKind(record["kind"]),
        "state": JobState(record["state"]),
        "error": ErrorRecord.of(record["error"]),
    }
    return Job(**{**record, **parsed})


def record_of(job: Job) -> dict[str, Any]:
    """A job as JSON values."""
    return asdict(job)
