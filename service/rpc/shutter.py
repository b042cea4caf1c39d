"""Whether calls are still let in, and how many are inside."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import fail

_RETRY_SECONDS = 2.0  # by then another server has the calls, or this one is gone

_WATCHING = frozenset(
    {"/longmemory.v1.JobService/WatchJob", "/google.longrunning.Operations/WaitOperation"}
)
"""Not waited for: whoever watches a job goes on at another server, or at this one's successor."""


class Shutter:
    """Open until it is shut. gRPC's own end tells a call that comes amid it CANCELLED, which no client
    tries again; one that comes to a closed one is told UNAVAILABLE. Used on the event loop alone.
    """

    def __init__(self) -> None:
        self._inside = 0
        self._is_shut = False
        self._left = asyncio.Event()

    def shut(self) -> None:
        """Lets nobody in any more."""
        self._is_shut = True

    @contextmanager
    def passing(self, method: str) -> Iterator[None]:
        """A call, as long as it lasts. Raises SERVER_STOPPING; not for probes, which are answered to the
        end.
        """
        is_probe = method.startswith("/grpc.")
        if self._is_shut and not is_probe:
            raise fail(
                "SERVER_STOPPING",
                "the server stops; ask another, or this one again once it is back",
                retry_after_seconds=_RETRY_SECONDS,
            )
        counted = not is_probe and method not in _WATCHING
        self._inside += counted
        try:
            yield
        finally:
            self._inside -= counted
            if not self._inside:
                self._left.set()

    async def emptied(self, seconds: float) -> bool:
        """Waits until nobody is inside, so long at most; whether that is so. For one that is shut."""
        self._left.clear()
        try:
            if self._inside:
                await asyncio.wait_for(self._left.wait(), seconds)
        except TimeoutError:
            return False
        return True
