"""Requests that run once: a repeat with the same id gets the first answer. Knows no method."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from service import ids
from service.errors import ServiceError, fail
from service.state.store import Store
from service.state.tables import REQUESTS


@dataclass(slots=True)
class _AsyncTurn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class Requests:
    """The answers given under request ids, to all servers that share the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._async_turns: dict[tuple[str, str], _AsyncTurn] = {}

    def once(self, method: str, request_id: str, body: bytes, run: Callable[[], bytes]) -> bytes:
        """The answer of `run`, or the stored one when this request was answered before.

        `run` writes to nothing but the store: what it does and its answer are kept together or not at
        all. An empty id just runs. What `run` raises is passed on and not stored.
        Raises MALFORMED_ID, and REQUEST_ID_REUSED for a known id with another body.
        """
        request_id = ids.parse_request_id(request_id)
        if not request_id:
            return run()
        digest = hashlib.sha256(body).hexdigest()
        with self._store.transaction():
            stored = self._answer(method, request_id, digest)
            return self._keep(method, request_id, digest, run()) if stored is None else stored

    async def once_async(
        self, method: str, request_id: str, body: bytes, run: Callable[[], Awaitable[bytes]]
    ) -> bytes:
        """As `once`, for work that awaits and leaves nothing behind; of several servers that do it at
        once the first answer counts. While the store is away it runs, and its answer is not kept.

        All calls for one method come from one event loop, and none of them through `once`.
        """
        request_id = ids.parse_request_id(request_id)
        if not request_id:
            return await run()
        digest = hashlib.sha256(body).hexdigest()
        async with self._async_turn(method, request_id):
            try:
                stored = await asyncio.to_thread(self._answer, method, request_id, digest)
            except ServiceError as error:
                if error.reason != "STATE_UNAVAILABLE":
                    raise
                return await run()
            if stored is not None:
                return stored
            response = await run()
            return await asyncio.to_thread(self._keep_first, method, request_id, digest, response)

    def forget(self, before: float) -> int:
        """Drop the answers given before that time, in seconds since the epoch; how many."""
        return REQUESTS.delete_until(self._store, "by_time", before)

    def _answer(self, method: str, request_id: str, digest: str) -> bytes | None:
        stored = REQUESTS.get(self._store, (method, request_id))
        if stored is not None and stored["body_sha256"] != digest:
            raise fail(
                "REQUEST_ID_REUSED",
                f"request_id: {request_id} was used for another {method}; use a new id for a "
                "new request",
                field="request_id",
                request_id=request_id,
            )
        return None if stored is None else base64.b64decode(stored["response"])

    def _keep(self, method: str, request_id: str, digest: str, response: bytes) -> bytes:
        record = {
            "body_sha256": digest,
            "response": base64.b64encode(response).decode("ascii"),
            "create_time": self._store.now(),
        }
        REQUESTS.put(self._store, (method, request_id), record)
        return response

    def _keep_first(self, method: str, request_id: str, digest: str, response: bytes) -> bytes:
        try:
            with self._store.transaction():
                stored = self._answer(method, request_id, digest)
                if stored is None:
                    return self._keep(method, request_id, digest, response)
                return stored
        except ServiceError as error:
            if error.reason == "REQUEST_ID_REUSED":
                raise
            return response  # it is not taken back because it could not be kept

    @asynccontextmanager
    async def _async_turn(self, method: str, request_id: str) -> AsyncIterator[None]:
        key = (method, request_id)
        turn = self._async_turns.setdefault(key, _AsyncTurn())
        turn.waiting += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self._async_turns[key]
