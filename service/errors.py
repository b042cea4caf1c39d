"""What can go wrong in the service, as values: a code, a reason, and a sentence with the mend.

Knows no transport: another module of this room maps `Code` to gRPC status codes.

    Exception
      ServiceError      code, reason, message, field, metadata, retry_after_seconds

A message says which field, what is wrong with its value, and what to do. Whatever is dynamic in
the message stands in the metadata as well, so that a program need not read prose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class Code(StrEnum):
    """The status codes the service answers with, by their gRPC names."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    ABORTED = "ABORTED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    CANCELLED = "CANCELLED"
    DATA_LOSS = "DATA_LOSS"
    UNAVAILABLE = "UNAVAILABLE"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    INTERNAL = "INTERNAL"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"


_REASONS_OF_CODE = {
    Code.INVALID_ARGUMENT: """MALFORMED_ID INVALID_VALUE QUESTION_EMPTY QUESTION_TOO_LONG
        DOCUMENT_TOO_LARGE DOCUMENT_EMPTY DOCUMENT_NOT_UTF8 REQUEST_TOO_LARGE UPLOAD_HEADER_MISSING
        REQUEST_ID_REUSED REQUEST_UNREADABLE PAGE_TOKEN_INVALID TEXT_EMPTY TEXT_QUESTION_MISSING""",
    Code.NOT_FOUND: """CORPUS_NOT_FOUND DOCUMENT_NOT_FOUND CARTRIDGE_NOT_FOUND JOB_NOT_FOUND
        CARTRIDGE_MISSING DECISION_NOT_FOUND TOKEN_NOT_FOUND TENANT_NOT_FOUND
        MODEL_NOT_FOUND""",
    Code.ALREADY_EXISTS: "CORPUS_EXISTS CARTRIDGE_EXISTS",
    Code.FAILED_PRECONDITION: """CORPUS_EMPTY CORPUS_NOT_READY CARTRIDGE_NOT_READY CARTRIDGE_STALE
        CARTRIDGE_FORMAT CARTRIDGE_MODEL_MISMATCH CARTRIDGE_CORPUS_TOO_LONG CARTRIDGE_CORPUS_TOO_SMALL
        CONTEXT_TOO_LONG
        CORPUS_HAS_CARTRIDGES JOB_NOT_FINISHED DATA_FOLDER_LOCKED DATA_FOLDER_VERSION
        STORE_REFUSED STATE_EVICTS STATE_VERSION STATE_MODEL_MISMATCH FILE_NOT_PLAIN""",
    Code.OUT_OF_RANGE: "UPLOAD_OFFSET_GAP",
    Code.ABORTED: "CORPUS_ETAG_MISMATCH STATE_CONFLICT",
    Code.RESOURCE_EXHAUSTED: "QUEUE_FULL TENANT_QUEUE_FULL CORPUS_TOO_LARGE STATE_FULL DISK_FULL",
    Code.DEADLINE_EXCEEDED: """DEADLINE_PASSED DEADLINE_TOO_SHORT READER_STOPPED SENDER_STOPPED
        BODY_TOO_SLOW""",
    Code.CANCELLED: "JOB_CANCELLED",
    Code.DATA_LOSS: """UPLOAD_CRC_MISMATCH UPLOAD_DIGEST_MISMATCH DOCUMENT_DAMAGED
        CARTRIDGE_DAMAGED""",
    Code.UNAVAILABLE: """SERVER_STOPPING STATE_UNAVAILABLE STORE_UNAVAILABLE STATE_READ_ONLY
        TOKENS_UNREADABLE""",
    Code.UNIMPLEMENTED: "METHOD_NOT_SERVED",
    Code.INTERNAL: "INTERNAL POISON_JOB",
    Code.UNAUTHENTICATED: "TOKEN_MISSING TOKEN_INVALID TOKEN_EXPIRED",
    Code.PERMISSION_DENIED: "ROLE_TOO_LOW TENANT_NOT_SERVED",
}

REASONS: Mapping[str, Code] = MappingProxyType(
    {reason: code for code, reasons in _REASONS_OF_CODE.items() for reason in reasons.split()}
)
"""Every reason the service gives, with its code."""


@dataclass(frozen=True, slots=True)
class ErrorRecord:
    """An error as it is stored with a job, a corpus or a cartridge."""

    code: Code
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(stored: Mapping[str, Any] | None) -> ErrorRecord | None:
        """The record that was stored as JSON values; None where nothing was."""
        if not stored:
            return None
        return ErrorRecord(
            Code(stored["code"]), stored["reason"], stored["message"], stored["metadata"]
        )


class ServiceError(Exception):
    """An answer that is not the one asked for, ready to be sent to the caller."""

    def __init__(
        self,
        code: Code,
        reason: str,
        message: str,
        *,
        field: str | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.field = field
        self.metadata: Mapping[str, str] = MappingProxyType(dict(metadata or {}))
        self.retry_after_seconds = retry_after_seconds

    @property
    def record(self) -> ErrorRecord:
        """What is stored of this error."""
        return ErrorRecord(self.code, self.reason, self.message, dict(self.metadata))


def fail(
    reason: str,
    message: str,
    *,
    field: str | None = None,
    retry_after_seconds: float | None = None,
    **metadata: object,
) -> ServiceError:
    """The error for a reason; its code comes from `REASONS`.

    The caller raises it. Raises KeyError for a reason that is not in the table.
    """
    return ServiceError(
        REASONS[reason],
        reason,
        message,
        field=field,
        metadata={name: str(value) for name, value in metadata.items()},
        retry_after_seconds=retry_after_seconds,
    )


def quoted(value: str, longest: int = 80) -> str:
    """A caller's value for a message: escaped, and cut after `longest` characters."""
    return repr(value) if len(value) <= longest else repr(value[:longest]) + "..."
