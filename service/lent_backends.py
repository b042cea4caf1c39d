"""The backends of the tenants: made at a tenant's first call, lent to calls, the least used dropped."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from service.errors import fail
from service.rpc.backend import Backend
from service.tokens import DEFAULT_TENANT


@dataclass(slots=True, eq=False)
class _Place:
    backend: Backend | None = None
    calls: int = 0
    making: asyncio.Lock = field(default_factory=asyncio.Lock)


class LentBackends:
    """Holds the default tenant's for ever and at most `most` others; used on the event loop alone."""

    def __init__(self, default: Backend, make: Callable[[str], Backend], most: int) -> None:
        """`make` is called in a thread and may raise ServiceError."""
        self._default, self._make, self._most = default, make, most
        self._places: OrderedDict[str, _Place] = OrderedDict()

    @asynccontextmanager
    async def use(self, tenant: str) -> AsyncIterator[Backend]:
        """Lends a tenant's backend, which stays as long as the block lasts.

        Raises:
            ServiceError: TENANTS_FULL where calls of too many other tenants are under way, and what
                making the backend raises.
        """
        if tenant == DEFAULT_TENANT:
            yield self._default
            return
        place = self._take(tenant)
        place.calls += 1
        try:
            async with place.making:
                if place.backend is None:
                    place.backend = await asyncio.to_thread(self._make, tenant)
            yield place.backend
        finally:
            place.calls -= 1
            if place.backend is None and not place.calls:
                self._places.pop(tenant, None)

    def _take(self, tenant: str) -> _Place:
        if tenant not in self._places:
            self._make_room()
            self._places[tenant] = _Place()
        self._places.move_to_end(tenant)
        return self._places[tenant]

    def _make_room(self) -> None:
        if len(self._places) < self._most:
            return
        idle = next((name for name, place in self._places.items() if not place.calls), None)
        if idle is None:
            raise fail(
                "TENANTS_FULL",
                f"calls of {self._most} tenants are under way, the most this server serves at once; "
                "ask again in a second",
                retry_after_seconds=1.0,
            )
        del self._places[idle]
