"""What health says while the state store is away: questions are answered, the rest is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import structlog
from google.longrunning import operations_pb2
from longmemory.v1 import cartridge_pb2, corpus_pb2, job_pb2

from service.errors import ServiceError

CHECK_SECONDS = 1.0
IN_NEED_OF_STATE = tuple(
    service.full_name
    for module in (corpus_pb2, cartridge_pb2, job_pb2, operations_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
)
"""The services that answer STATE_UNAVAILABLE while the store is away."""

_log = structlog.stdlib.get_logger("longmemory.state")


@asynccontextmanager
async def following_state(
    set_serving: Callable[[str, bool], Awaitable[None]], check: Callable[[], None]
) -> AsyncIterator[None]:
    """Inside, health follows the store; `check` raises while it cannot be written."""
    task = asyncio.create_task(_follow(set_serving, check))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _follow(
    set_serving: Callable[[str, bool], Awaitable[None]], check: Callable[[], None]
) -> None:
    was_there = True
    while True:
        problem = await asyncio.to_thread(_problem, check)
        is_there = problem is None
        if is_there != was_there:
            was_there = is_there
            _log.warning("the state store is there" if is_there else "degraded", reason=problem)
            for name in IN_NEED_OF_STATE:
                await set_serving(name, is_there)
        await asyncio.sleep(CHECK_SECONDS)


def _problem(check: Callable[[], None]) -> str | None:
    try:
        check()
    except ServiceError as error:
        return None if error.reason == "STATE_CONFLICT" else error.reason  # busy is not away
    return None
