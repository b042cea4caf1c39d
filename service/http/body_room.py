"""The bytes of all bodies that requests under way have brought, within one bound."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import fail

_RETRY_SECONDS = 1.0


class BodyRoom:
    """Stands around the routes; a body's bytes count until its response is sent."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app, self._most = app, most_bytes
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands the request on; whoever reads its body meets QUEUE_FULL where all together are too
        large.
        """
        brought = 0

        async def counted() -> Message:
            nonlocal brought
            message = await receive()
            size = len(message.get("body", b""))
            if self.held + size > self._most:
                raise fail(
                    "QUEUE_FULL",
                    f"the requests under way hold {self.held} bytes and the server takes "
                    f"{self._most} at once; ask again in a second",
                    retry_after_seconds=_RETRY_SECONDS,
                )
            self.held += size
            brought += size
            return message

        try:
            await self._app(scope, counted, send)
        finally:
            self.held -= brought
