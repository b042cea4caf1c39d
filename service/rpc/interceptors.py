"""Around every call: a request id, one log line, and errors as google.rpc.Status.

The only place where an exception becomes a gRPC status. What a client sees of an unforeseen
exception is the request id; the traceback stays in the server's log.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import time
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from grpc_status import rpc_status

from service.errors import ServiceError, fail
from service.file_errors import file_error
from service.limits import Limits
from service.rpc import wire
from service.rpc.handlers import Deserialize, Handler, HandlerInterceptor
from service.rpc.shutter import Shutter
from service.stopped_reader import taken
from service.stopped_sender import sent
from service.telemetry.call import Call, under_way
from service.telemetry.observer import Nobody, Observer
from service.telemetry.tracing import NoTracing, Tracing

REQUEST_ID_KEY = "x-request-id"
"""The metadata key of the request id, in both directions."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

_UNREADABLE = object()
"""Stands for bytes that are no message of their method."""

_log = structlog.stdlib.get_logger("longmemory.rpc")


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told of calls, how long a client may take nothing and send nothing, and what shuts calls
    out when the server ends.
    """

    observer: Observer = field(default_factory=Nobody)
    tracing: Tracing = field(default_factory=NoTracing)
    reader_seconds: float = Limits().reader_seconds
    sender_seconds: float = Limits().sender_seconds
    shutter: Shutter = field(default_factory=Shutter)


class CallInterceptor(HandlerInterceptor):
    """Wraps the handlers of all four kinds; inside it stands only what may raise ServiceError."""

    def __init__(self, watch: Watch | None = None) -> None:
        self._watch = watch or Watch()

    def wrapped(self, behaviour: Handler, method: str, is_streaming: bool) -> Handler:
        """The behaviour with its request id, its log line and its errors as statuses."""
        return (_streaming if is_streaming else _single)(behaviour, method, self._watch)

    def deserializing(self, deserialize: Deserialize) -> Deserialize:
        """Lets the behaviour tell of what cannot be read; gRPC itself would say UNKNOWN."""

        def read(data: bytes) -> Any:
            try:
                return deserialize(data)
            except DecodeError:
                return _UNREADABLE

        return read


def _single(behaviour: Handler, method: str, watch: Watch) -> Handler:
    async def handle(request: Any, context: Any) -> Any:
        async with _call(method, context, watch):
            return await behaviour(_readable(request, method, watch), context)

    return handle


def _streaming(behaviour: Handler, method: str, watch: Watch) -> Handler:
    async def handle(request: Any, context: Any) -> None:
        async with _call(method, context, watch):
            readable = _readable(request, method, watch)
            if not inspect.isasyncgenfunction(behaviour):
                await behaviour(readable, context)
                return
            # Closed here and now, so that a cancelled call stops its work at once.
            async with aclosing(behaviour(readable, context)) as messages:
                async for message in messages:
                    await taken(context.write(message), watch.reader_seconds)

    return handle


def _readable(request: Any, method: str, watch: Watch) -> Any:
    """A request, or a stream of them; raises REQUEST_UNREADABLE, in a stream where it comes."""
    if not isinstance(request, AsyncIterable):
        return _checked(request)
    is_ours = not method.startswith("/grpc.")  # a tool may rest between two looks at the methods
    return _each_readable(request, watch.sender_seconds if is_ours else None)


def _checked(request: Any) -> Any:
    if request is _UNREADABLE:
        raise fail(
            "REQUEST_UNREADABLE",
            "the bytes of the request are no message of this method (text must be UTF-8); make them "
            "with code generated from the service's protos",
        )
    return request


async def _each_readable(
    requests: AsyncIterable[Any], sender_seconds: float | None
) -> AsyncIterator[Any]:
    async for request in sent(aiter(requests), sender_seconds):
        yield _checked(request)


@asynccontextmanager
async def _call(method: str, context: Any, watch: Watch) -> AsyncIterator[None]:
    headers = _headers(context)
    request_id, start = _request_id(headers), time.monotonic()
    context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
    with (
        structlog.contextvars.bound_contextvars(request_id=request_id),
        watch.tracing.call(method, request_id, headers) as (span, attributes),
        under_way(Call(span, attributes)) as call,
    ):
        code = "OK"
        try:
            _check_deadline(context)
            with watch.shutter.passing(method):
                yield
        except ServiceError as error:
            code = error.code.value
            call.noted["refused"] = error.reason
            watch.observer.rejected(error.reason)
            await abort(context, wire.status(error), request_id)
        except asyncio.CancelledError:
            code = "DEADLINE_EXCEEDED" if _is_late(context) else "CANCELLED"
            raise
        except grpc.aio.AbortError:
            code = _aborted_code(context)
            raise
        except Exception as error:
            told = _told(error, context, request_id)
            code = told.code.value
            if told.reason == "INTERNAL":
                _log.error("call failed", method=method, request_id=request_id, exc_info=error)
            await abort(context, wire.status(told), request_id)
        finally:
            seconds = time.monotonic() - start
            watch.observer.call_ended(method, code, seconds)
            # Probes come every few seconds and would drown the rest.
            log = _log.debug if method.startswith("/grpc.") else _log.info
            facts = {"method": method, "code": code, "ms": round(1000 * seconds, 3)}
            log("call", **facts, **call.noted, request_id=request_id)
            attributes["code"] = code


def _headers(context: Any) -> Mapping[str, str]:
    """The call's metadata as text; of a key that comes twice the last."""
    given = context.invocation_metadata() or ()
    return {key: value for key, value in given if isinstance(value, str)}


def request_id_of(context: Any) -> str:
    """The call's own request id, or a new one."""
    return _request_id(_headers(context))


def _request_id(headers: Mapping[str, str]) -> str:
    given = headers.get(REQUEST_ID_KEY, "")
    return given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())


def _is_late(context: Any) -> bool:
    remaining = context.time_remaining()
    return remaining is not None and remaining <= 0


def _check_deadline(context: Any) -> None:
    if _is_late(context):
        raise fail("DEADLINE_PASSED", "the call's deadline has passed; allow more time")


def _told(error: Exception, context: Any, request_id: str) -> ServiceError:
    """What a client hears of an exception that is no ServiceError."""
    is_unserved = isinstance(error, NotImplementedError)
    if is_unserved and context.code() is grpc.StatusCode.UNIMPLEMENTED:  # by the generated code
        return fail("METHOD_NOT_SERVED", "this server does not have the method; do without it")
    return file_error(error) or _internal(request_id)


def _internal(request_id: str) -> ServiceError:
    return fail(
        "INTERNAL",
        "the server failed on this call; its log tells why under the request id "
        f"{request_id}; try again, and report the id if it happens again",
        request_id=request_id,
    )


def _aborted_code(context: Any) -> str:
    code = context.code()
    return code.name if isinstance(code, grpc.StatusCode) else str(code)


async def abort(context: Any, status: status_pb2.Status, request_id: str) -> None:
    """Ends a call with a status and its request id; raises what ends its handler."""
    made: Any = rpc_status.to_status(status)
    trailing = (*made.trailing_metadata, (REQUEST_ID_KEY, request_id))
    await context.abort(made.code, made.details, trailing)
