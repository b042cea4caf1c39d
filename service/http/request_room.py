"""How many requests are under way at once."""

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import fail
from service.http import errors

HEALTH = "/healthz"  # is told however many wait
_RETRY_SECONDS = 1.0


class RequestRoom:
    """Stands around everything else; a request counts until its response is sent."""

    def __init__(self, app: ASGIApp, most_requests: int) -> None:
        self._app, self._most = app, most_requests
        self.under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands the request on, or answers QUEUE_FULL before any of its body is read."""
        if scope["type"] != "http" or scope["path"] == HEALTH:
            await self._app(scope, receive, send)
            return
        if self.under_way >= self._most:
            refusal = fail(
                "QUEUE_FULL",
                f"{self.under_way} requests are under way, the most this server takes; ask again in a "
                "second",
                retry_after_seconds=_RETRY_SECONDS,
            )
            await errors.response(refusal)(scope, receive, send)
            return
        self.under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.under_way -= 1
