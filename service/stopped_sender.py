"""A sender that sends nothing any more, and is waited for no longer than is agreed."""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

from service.errors import fail

T = TypeVar("T")
_END = object()


async def sent(coming: AsyncIterator[T], seconds: float | None) -> AsyncIterator[T]:
    """What comes, as it comes; raises SENDER_STOPPED where the next does not for so many seconds.

    Only the waiting counts, not what is done with a message before the next is asked for.
    """
    while True:
        try:
            async with asyncio.timeout(seconds):
                message = await anext(coming, _END)
        except TimeoutError:
            raise fail(
                "SENDER_STOPPED",
                f"nothing more of the request came for {seconds:g} seconds, so it was ended; send it "
                "without pauses and close it at its end",
                seconds=f"{seconds:g}",
            ) from None
        if message is _END:
            return
        yield message  # type: ignore[misc]
