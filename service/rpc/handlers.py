"""A method's handler with something around its behaviour; here the four kinds are told apart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

Handler = Callable[[Any, Any], Any]
Deserialize = Callable[[bytes], Any]


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
        method, is_streaming = handler_call_details.method, handler.response_streaming
        return remade(
            handler,
            lambda behaviour: self.wrapped(behaviour, method, is_streaming),
            self.deserializing,
        )

    def deserializing(self, deserialize: Deserialize) -> Deserialize:
        """What makes a request of its bytes."""
        return deserialize

    @abstractmethod
    def wrapped(self, behaviour: Handler, method: str, is_streaming: bool) -> Handler:
        """What stands in the place of a method's behaviour; `is_streaming` speaks of its responses."""


def remade(
    handler: Any,
    wrap: Callable[[Handler], Handler],
    deserializing: Callable[[Deserialize], Deserialize] = lambda deserialize: deserialize,
) -> Any:
    """A handler of the same kind with something around its behaviour."""
    make, behaviour = _kind(handler)
    return make(
        wrap(behaviour),
        request_deserializer=deserializing(handler.request_deserializer),
        response_serializer=handler.response_serializer,
    )


def _kind(handler: Any) -> tuple[Callable[..., Any], Handler]:
    if handler.request_streaming and handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler, handler.stream_stream
    if handler.request_streaming:
        return grpc.stream_unary_rpc_method_handler, handler.stream_unary
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler, handler.unary_stream
    return grpc.unary_unary_rpc_method_handler, handler.unary_unary
