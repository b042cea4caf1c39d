"""A job as a value: what it makes, where it is, and how it looks as a row of the database."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
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
        return self not in (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, slots=True)
class Job:
    """A job at one moment; `progress` in 0..1, times in seconds since the epoch.

    While a job is unfinished, `error` is what ended its last attempt.
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


@dataclass(frozen=True, slots=True)
class JobCensus:
    """How many jobs of a kind are in a state, and for each kind that runs the seconds since the
    oldest of its heartbeats.
    """

    counts: Mapping[tuple[JobKind, JobState], int]
    heartbeat_ages: Mapping[JobKind, float]


def job_of(row: dict[str, Any]) -> Job:
    """The job that a row of the table, or a stored snapshot of one, holds."""
    result = row.pop("result_json")
    return Job(
        kind=JobKind(row.pop("kind")),
        state=JobState(row.pop("state")),
        request=json.loads(row.pop("request_json")),
        metrics=json.loads(row.pop("metrics_json")),
        error=ErrorRecord.from_json(row.pop("error_json")),
        result=json.loads(result) if result else None,
        cancel_requested=bool(row.pop("cancel_requested")),
        **row,
    )
