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
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
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
from service.rpc.gate import Gate
from service.stopped_reader import taken
from service.telemetry.call import Call, under_way
from service.telemetry.observer import Nobody, Observer
from service.telemetry.tracing import NoTracing, Tracing

REQUEST_ID_KEY = "x-request-id"
"""The metadata key of the request id, in both directions."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

_UNREADABLE = object()
"""Stands for bytes that are no message of their method."""

_log = structlog.stdlib.get_logger("longmemory.rpc")

Handler = Callable[[Any, Any], Any]
Deserialize = Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told of calls, how long a reader may take nothing, and the gate that calls come through."""

    observer: Observer = field(default_factory=Nobody)
    tracing: Tracing = field(default_factory=NoTracing)
    reader_seconds: float = Limits().reader_seconds
    gate: Gate = field(default_factory=Gate)


class HandlerInterceptor(grpc.aio.ServerInterceptor, ABC):
    """Stands around the handlers of every method."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler of a call, wrapped; None for an unknown method, which gRPC refuses."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        make, behaviour = _kind(handler)
        return make(
            self.wrapped(behaviour, handler_call_details.method, handler.response_streaming),
            request_deserializer=self.deserializing(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    def deserializing(self, deserialize: Deserialize) -> Deserialize:
        """What makes a request of its bytes."""
        return deserialize

    @abstractmethod
    def wrapped(self, behaviour: Handler, method: str, is_streaming: bool) -> Handler:
        """What stands in the place of a method's behaviour; `is_streaming` speaks of its responses."""


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


def _kind(handler: Any) -> tuple[Callable[..., Any], Handler]:
    if handler.request_streaming and handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler, handler.stream_stream
    if handler.request_streaming:
        return grpc.stream_unary_rpc_method_handler, handler.stream_unary
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler, handler.unary_stream
    return grpc.unary_unary_rpc_method_handler, handler.unary_unary


def _single(behaviour: Handler, method: str, watch: Watch) -> Handler:
    async def handle(request: Any, context: Any) -> Any:
        async with _call(method, context, watch):
            return await behaviour(_readable(request), context)

    return handle


def _streaming(behaviour: Handler, method: str, watch: Watch) -> Handler:
    async def handle(request: Any, context: Any) -> None:
        async with _call(method, context, watch):
            readable = _readable(request)
            if not inspect.isasyncgenfunction(behaviour):
                await behaviour(readable, context)
                return
            # Closed here and now, so that a cancelled call stops its work at once.
            async with aclosing(behaviour(readable, context)) as messages:
                async for message in messages:
                    await taken(context.write(message), watch.reader_seconds)

    return handle


def _readable(request: Any) -> Any:
    """A request, or a stream of them; raises REQUEST_UNREADABLE, in a stream where it comes."""
    if request is _UNREADABLE:
        raise fail(
            "REQUEST_UNREADABLE",
            "the bytes of the request are no message of this method (text must be UTF-8); make them "
            "with code generated from the service's protos",
        )
    return _each_readable(request) if isinstance(request, AsyncIterable) else request


async def _each_readable(requests: AsyncIterable[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _readable(request)


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
            with watch.gate.passing(method):
                yield
        except ServiceError as error:
            code = error.code.value
            call.noted["refused"] = error.reason
            watch.observer.rejected(error.reason)
            await _abort(context, wire.status(error), request_id)
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
            await _abort(context, wire.status(told), request_id)
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


async def _abort(context: Any, status: status_pb2.Status, request_id: str) -> None:
    made: Any = rpc_status.to_status(status)
    trailing = (*made.trailing_metadata, (REQUEST_ID_KEY, request_id))
    await context.abort(made.code, made.details, trailing)
