"""google.longrunning.Operations: the jobs by the names that other calls returned."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.empty_pb2 import Empty

from service import ids
from service.errors import Code, ServiceError, fail
from service.rpc import wire
from service.rpc.access import CallersBackend
from service.rpc.backend import Backend
from service.state.cartridge_shelf import CartridgeRecord
from service.state.corpus import Corpus
from service.state.job import Job, JobKind, JobState

POLL_SECONDS = 0.15
"""How often a waiting call looks at its job."""

# A waiting call answers this long before its deadline, so that the answer still arrives.
_DEADLINE_MARGIN_SECONDS = 0.2


def read_operation(backend: Backend, job: Job) -> operations_pb2.Operation:
    """A job as an operation, with what it made read now if it has succeeded."""
    return wire.operation(job, _made(backend, job) if job.state is JobState.SUCCEEDED else None)


class OperationsService(CallersBackend, operations_pb2_grpc.OperationsServicer):  # type: ignore[misc]
    """Reads, lists, cancels, deletes and awaits jobs."""

    async def GetOperation(
        self, request: operations_pb2.GetOperationRequest, context: Any
    ) -> operations_pb2.Operation:
        """One operation."""
        return await asyncio.to_thread(self._get, ids.parse_operation_name(request.name))

    async def ListOperations(
        self, request: operations_pb2.ListOperationsRequest, context: Any
    ) -> operations_pb2.ListOperationsResponse:
        """A page of operations, newest first: of all, or with the name corpora/{corpus} of one."""
        if request.filter:
            raise fail("INVALID_VALUE", "filter: none is supported; leave it empty", field="filter")
        is_all = request.name in ("", "operations")
        corpus_id = "" if is_all else ids.parse_corpus_name(request.name)
        return await asyncio.to_thread(self._list, corpus_id, request)

    async def CancelOperation(
        self, request: operations_pb2.CancelOperationRequest, context: Any
    ) -> Empty:
        """Ask an operation to stop."""
        job_id = ids.parse_operation_name(request.name)
        await asyncio.to_thread(self._backend.jobs.cancel, job_id)
        return Empty()

    async def DeleteOperation(
        self, request: operations_pb2.DeleteOperationRequest, context: Any
    ) -> Empty:
        """Forget an operation that has ended."""
        job_id = ids.parse_operation_name(request.name)
        await asyncio.to_thread(self._backend.jobs.delete, job_id)
        return Empty()

    async def WaitOperation(
        self, request: operations_pb2.WaitOperationRequest, context: Any
    ) -> operations_pb2.Operation:
        """The operation at its end, or as it stands when the time is over."""
        job_id, end = ids.parse_operation_name(request.name), _end_of_wait(request, context)
        while True:
            operation = await asyncio.to_thread(self._get, job_id)
            left = end - time.monotonic()
            if operation.done or left <= 0:
                return operation
            await asyncio.sleep(min(POLL_SECONDS, left))

    def _get(self, job_id: str) -> operations_pb2.Operation:
        return read_operation(self._backend, self._backend.jobs.get(job_id))

    def _list(
        self, corpus_id: str, request: operations_pb2.ListOperationsRequest
    ) -> operations_pb2.ListOperationsResponse:
        jobs, token = self._backend.jobs.list(request.page_size, request.page_token, corpus_id)
        return operations_pb2.ListOperationsResponse(
            operations=[read_operation(self._backend, job) for job in jobs], next_page_token=token
        )


def _made(backend: Backend, job: Job) -> Corpus | CartridgeRecord | None:
    try:
        if job.kind is JobKind.INDEX:
            return backend.corpora.get(job.corpus_id)
        name = ids.parse_cartridge_name(job.target)
        return backend.shelf.get(name.corpus_id, name.cartridge_id)
    except ServiceError as gone:
        if gone.code is Code.NOT_FOUND:
            return None
        raise


def _end_of_wait(request: operations_pb2.WaitOperationRequest, context: Any) -> float:
    waits = []
    if request.HasField("timeout"):
        waits.append(request.timeout.seconds + request.timeout.nanos / 1e9)
    remaining = context.time_remaining()
    if remaining is not None:
        waits.append(remaining - _DEADLINE_MARGIN_SECONDS)
    return time.monotonic() + min(waits, default=float("inf"))
