"""Backends are made once, kept while calls are under way, and bounded."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from service.errors import ServiceError, fail
from service.lent_backends import LentBackends


@dataclass
class Maker:
    """Makes a new object at each call, unless it is told to fail."""

    made: list[str] = field(default_factory=list)
    error: ServiceError | None = None

    def __call__(self, tenant: str) -> Any:
        self.made.append(tenant)
        if self.error:
            raise self.error
        return object()


async def lent(backends: LentBackends, tenant: str) -> object:
    async with backends.use(tenant) as backend:
        return backend


async def test_calls_at_once_share_one_backend_and_other_tenants_have_another() -> None:
    maker, default = Maker(), object()
    backends = LentBackends(default, maker, 2)  # type: ignore[arg-type]
    found = await asyncio.gather(*(lent(backends, name) for name in ("one", "two") * 5))
    assert sorted(maker.made) == ["one", "two"]
    assert len({id(backend) for backend in found}) == 2
    assert await lent(backends, "default") is default


async def test_the_least_used_is_dropped_and_made_anew_when_it_is_asked_for() -> None:
    maker = Maker()
    backends = LentBackends(object(), maker, 2)  # type: ignore[arg-type]
    first = await lent(backends, "one")
    for name in ("two", "one", "three"):
        await lent(backends, name)
    assert await lent(backends, "one") is first
    await lent(backends, "two")
    assert maker.made == ["one", "two", "three", "two"]


async def test_no_call_loses_its_backend_and_none_is_refused() -> None:
    maker = Maker()
    backends = LentBackends(object(), maker, 2)  # type: ignore[arg-type]
    names = [f"tenant-{number}" for number in range(10)]
    async with AsyncExitStack() as calls:
        held = [await calls.enter_async_context(backends.use(name)) for name in names]
        assert [await lent(backends, name) for name in names] == held
    assert len(backends._places) == 2
    assert maker.made == names


async def test_what_could_not_be_made_is_tried_again() -> None:
    maker = Maker(error=fail("STATE_UNAVAILABLE", "it is away"))
    backends = LentBackends(object(), maker, 2)  # type: ignore[arg-type]
    with pytest.raises(ServiceError, match="it is away"):
        await lent(backends, "one")
    assert not backends._places
    maker.error = None
    assert await lent(backends, "one") is await lent(backends, "one")
    assert maker.made == ["one", "one"]
