"""Before everything else: what asks the model is refused where no question at all is let in now.

The model's thread shares the interpreter with the event loop, so in a flood every microsecond spent
on a refusal is taken from the answers under way. Here no token is checked, no request is looked at and
no line is written for each. What is refused for its own size is refused later, where that is known.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import structlog

from service.errors import ServiceError
from service.rpc import wire
from service.rpc.handlers import Handler, remade
from service.rpc.interceptors import abort, request_id_of
from service.telemetry.observer import Observer

ASKING = frozenset(
    f"/longmemory.v1.QueryService/{method}"
    for method in ("Query", "StreamQuery", "ExplainRoute", "Retrieve", "QueryText")
)
"""The methods that wait for the model; health, jobs and all others never wait for a question."""

_LINE_SECONDS = 1.0
_log = structlog.stdlib.get_logger("longmemory.rpc")


class Gate(grpc.aio.ServerInterceptor):
    """Stands outside of all other interceptors; a call that it refuses reaches none of them."""

    def __init__(self, require_open: Callable[[float | None], None], observer: Observer) -> None:
        """`require_open` takes a deadline in monotonic seconds; it raises ServiceError at once."""
        self._require_open, self._observer = require_open, observer
        self._handlers: dict[str, Any] = {}  # a method's handlers are the same at every call
        self._untold, self._told_at = 0, float("-inf")

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler of a call, behind the gate where the method asks the model."""
        method = handler_call_details.method
        if method not in ASKING:
            return await continuation(handler_call_details)
        if method not in self._handlers:
            handler = await continuation(handler_call_details)
            self._handlers[method] = handler and remade(
                handler, lambda behaviour: self._gated(behaviour, method)
            )
        return self._handlers[method]

    def _gated(self, behaviour: Handler, method: str) -> Handler:
        async def handle(request: Any, context: Any) -> Any:
            began, remaining = time.monotonic(), context.time_remaining()
            try:
                self._require_open(None if remaining is None else began + remaining)
            except ServiceError as error:
                self._tell(method, error, began)
                await abort(context, wire.status(error), request_id_of(context))
            return await behaviour(request, context)

        return handle

    def _tell(self, method: str, error: ServiceError, began: float) -> None:
        """Counts each; one line a second says how many there were since the last."""
        self._observer.rejected(error.reason)
        self._observer.call_ended(method, error.code.value, time.monotonic() - began)
        self._untold += 1
        if began - self._told_at >= _LINE_SECONDS:
            _log.info("calls refused", refused=error.reason, calls=self._untold)
            self._untold, self._told_at = 0, began
