"""A reader that takes nothing any more, and is waited for no longer than is agreed."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from service.errors import fail

T = TypeVar("T")


async def taken(sending: Awaitable[T], seconds: float) -> T:
    """What a sending yields once it is taken; raises READER_STOPPED after so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            return await sending
    except TimeoutError:
        raise fail(
            "READER_STOPPED",
            f"nothing of the stream was taken for {seconds:g} seconds, so it was ended; read as it "
            "comes, or ask for the whole answer at once",
            seconds=f"{seconds:g}",
        ) from None
