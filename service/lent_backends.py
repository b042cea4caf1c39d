"""The backends of the tenants: made at a tenant's first call, lent to calls, the least used dropped."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from service.rpc.backend import Backend
from service.tokens import DEFAULT_TENANT


@dataclass(slots=True, eq=False)
class _Place:
    backend: Backend | None = None
    calls: int = 0
    making: asyncio.Lock = field(default_factory=asyncio.Lock)


class LentBackends:
    """Holds the default tenant's for ever, those with calls under way, and of the others as many as make
    `most` with these; used on the event loop alone.
    """

    def __init__(self, default: Backend, make: Callable[[str], Backend], most: int) -> None:
        """`make` is called in a thread and may raise ServiceError."""
        self._default, self._make, self._most = default, make, most
        self._places: OrderedDict[str, _Place] = OrderedDict()

    @asynccontextmanager
    async def use(self, tenant: str) -> AsyncIterator[Backend]:
        """Lends a tenant's backend, which stays as long as the block does. Raises what making does."""
        if tenant == DEFAULT_TENANT:
            yield self._default
            return
        place = self._places.setdefault(tenant, _Place())
        self._places.move_to_end(tenant)
        place.calls += 1
        try:
            async with place.making:
                if place.backend is None:
                    place.backend = await asyncio.to_thread(self._make, tenant)
            yield place.backend
        finally:
            place.calls -= 1
            self._drop_idle()

    def _drop_idle(self) -> None:
        idle = [name for name, place in self._places.items() if not place.calls]
        for name in idle:
            if len(self._places) > self._most or self._places[name].backend is None:
                del self._places[name]
