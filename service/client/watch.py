"""Following a job to its end, over broken connections and restarts of the server."""

from __future__ import annotations

from collections.abc import Iterator

from google.longrunning import operations_pb2
from longmemory.v1 import job_pb2

from service.client import wire as wire
from service.client.calls import Calls, Pauses
from service.client.failures import ClientError
from service.client.types import JobSnapshot

TRIES = 7  # 16 seconds of pauses: longer than a server with its model needs to come back


def get_job(calls: Calls, name: str) -> JobSnapshot:
    """A job as it stands. Raises ClientError."""
    request = operations_pb2.GetOperationRequest(name=name)
    return wire.job(calls.call(calls.operations.GetOperation, request))


def watch_job(calls: Calls, name: str, after: str = "") -> Iterator[JobSnapshot]:
    """The job at every change until it ends; a broken stream is taken up after its last event.

    Raises ClientError: at once when the server never answers, and when it stays away later.
    """
    waits, has_answered = Pauses(TRIES), False
    while True:
        broken: ClientError | None = None
        request = job_pb2.WatchJobRequest(name=name, after_event_id=after)
        try:
            for event in calls.stream(calls.jobs.WatchJob, request):
                waits, has_answered, after = Pauses(TRIES), True, event.event_id
                snapshot = wire.job(event.operation, after)
                yield snapshot
                if snapshot.done:
                    return
            # The stream ended before the job did, or `after` was the job's last event.
            snapshot, has_answered = get_job(calls, name), True
            if snapshot.done:
                yield snapshot
                return
        except ClientError as error:
            if error.code != "UNAVAILABLE" or not has_answered:
                raise
            broken = error
        if not waits.take():
            raise broken or ClientError(
                "UNAVAILABLE",
                "WATCH_ENDED",
                f"the server keeps ending the events of {name} before the job; watch it again",
            )
