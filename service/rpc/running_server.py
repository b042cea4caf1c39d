"""A gRPC server that answers, and its end: answers come to theirs, and watchers hold nobody up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]

from service.rpc.shutter import Shutter

_PULSE_SECONDS = 0.1
_LAST_WORDS_SECONDS = 1.0
"""For what a call has sent and its reader has not read."""


class RunningServer:
    """A server that answers at `address`."""

    def __init__(
        self,
        server: grpc.aio.Server,
        status: Any,
        address: str,
        port: int,
        shutter: Shutter,
        is_answering: Callable[[], bool],
    ) -> None:
        self._server, self._status = server, status
        self._shutter, self._is_answering = shutter, is_answering
        self.address = address
        self.port = port
        self.beside: str = ""  # where the companion answers

    async def set_serving(self, service: str, is_serving: bool) -> None:
        """Change what health says of a service; the empty name means the whole server."""
        await self._status.set(service, serving(is_serving))

    async def stop(
        self, drain_seconds: float = 0.0, grace_seconds: float = 0.0, answer_seconds: float = 0.0
    ) -> None:
        """Say NOT_SERVING, let clients move on, then let nobody in and end what is still under way.

        Calls have `grace_seconds`, answers `answer_seconds` if that is longer; what is cut off then, or
        only watches a job or health, hears UNAVAILABLE.
        """
        await self._status.enter_graceful_shutdown()
        await asyncio.sleep(drain_seconds)
        self._shutter.shut()
        end = time.monotonic() + answer_seconds
        is_empty = await self._shutter.emptied(grace_seconds)
        while not is_empty and self._is_answering() and time.monotonic() < end:
            is_empty = await self._shutter.emptied(_PULSE_SECONDS)
        longest = max(grace_seconds, answer_seconds)
        await self._server.stop(min(_LAST_WORDS_SECONDS, longest))


def serving(is_serving: bool) -> Any:
    """What health says."""
    states = health_pb2.HealthCheckResponse
    return states.SERVING if is_serving else states.NOT_SERVING
