"""What the client raises, and what the errors of gRPC mean to a caller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from service.client.types import ErrorReport


class ClientError(Exception):
    """A call that failed: a status code's name, a stable reason, a message with the mend."""

    def __init__(
        self, code: str, reason: str, message: str, metadata: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata = metadata or {}

    @property
    def report(self) -> ErrorReport:
        """The error as a value."""
        return ErrorReport(self.code, self.reason, self.message, self.metadata)


@contextmanager
def client_errors(address: str) -> Iterator[None]:
    """Inside, an error of gRPC is raised as the ClientError it means."""
    try:
        yield
    except grpc.RpcError as error:
        raise client_error(error, address) from error


def client_error(error: grpc.RpcError, address: str) -> ClientError:
    """What an error of gRPC means; one without details that is UNAVAILABLE means no server."""
    call: Any = error  # what gRPC raises is a Call as well, which its types do not say
    if not isinstance(call, grpc.Call):
        return ClientError("UNKNOWN", "UNKNOWN", str(error))
    code, status = call.code(), _status_of(call)
    if status is not None:
        report = error_report(status)
        return ClientError(code.name, report.reason, report.message, dict(report.metadata))
    if code is grpc.StatusCode.UNAVAILABLE:
        return ClientError(
            code.name,
            "SERVER_UNREACHABLE",
            f"no server answers at {address}; start one with `longmemory serve`, or name another "
            "with --server HOST:PORT",
            {"address": address},
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        late = "the time limit passed before the answer; give more time, or ask for less"
        return ClientError(code.name, "DEADLINE_PASSED", late)
    said = call.details() or f"the server answered {code.name}"
    return ClientError(code.name, code.name, said)


def error_report(status: status_pb2.Status) -> ErrorReport:
    """The reason and message in a status; the code's name stands in for a missing reason."""
    known = status.code in code_pb2.Code.values()
    code = code_pb2.Code.Name(status.code) if known else "UNKNOWN"
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info):
            return ErrorReport(code, info.reason, status.message, dict(info.metadata))
    return ErrorReport(code, code, status.message)


def _status_of(call: grpc.Call) -> status_pb2.Status | None:
    try:
        return rpc_status.from_call(call)
    except ValueError:  # the details name another code than the call: not ours to interpret
        return None
