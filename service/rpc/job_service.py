"""JobService: the changes of a job as a stream that can be resumed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

from longmemory.v1 import job_pb2, job_pb2_grpc

from service import ids
from service.errors import fail
from service.rpc import wire
from service.rpc.access import CallersBackend
from service.rpc.operations_service import POLL_SECONDS, read_operation
from service.state.job import Job

# SQLite's integers end at 63 bits, which is 19 digits.
_EVENT_ID = re.compile(r"[0-9]{1,18}")


class JobService(CallersBackend, job_pb2_grpc.JobServiceServicer):
    """Polls the job's events; every watcher sees each of them once and in order."""

    async def WatchJob(
        self, request: job_pb2.WatchJobRequest, context: Any
    ) -> AsyncIterator[job_pb2.WatchJobResponse]:
        """The job as it is now, or what came after an event; then every change until its end."""
        job_id = ids.parse_operation_name(request.name)
        after = _after(request.after_event_id)
        while True:
            is_over, events = await asyncio.to_thread(self._read, job_id, after)
            for event_id, job in events[-1:] if after is None else events:
                after = event_id
                yield await asyncio.to_thread(self._event, event_id, job)
            if is_over:
                return
            await asyncio.sleep(POLL_SECONDS)

    def _read(self, job_id: str, after: int | None) -> tuple[bool, tuple[tuple[int, Job], ...]]:
        # The state first: of a job that has ended, the events read next hold the last one.
        is_over = self._backend.jobs.get(job_id).state.is_final
        return is_over, self._backend.jobs.events_since(job_id, after or 0)

    def _event(self, event_id: int, job: Job) -> job_pb2.WatchJobResponse:
        return wire.job_event(event_id, read_operation(self._backend, job))


def _after(event_id: str) -> int | None:
    if not event_id:
        return None
    if not _EVENT_ID.fullmatch(event_id):
        raise fail(
            "INVALID_VALUE",
            "after_event_id: it is no event id; pass one of WatchJobResponse unchanged, or leave "
            "it empty",
            field="after_event_id",
        )
    return int(event_id)
