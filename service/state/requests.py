"""Requests that run once: a repeat with the same id gets the first answer. Knows no method."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from service import ids
from service.errors import fail
from service.state.database import Database


@dataclass(slots=True)
class _Turn:
    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: int = 0


@dataclass(slots=True)
class _AsyncTurn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class Requests:
    """The answers given under request ids; safe for the threads of one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turns: dict[tuple[str, str], _Turn] = {}
        self._turns_lock = threading.Lock()
        self._async_turns: dict[tuple[str, str], _AsyncTurn] = {}

    def once(self, method: str, request_id: str, body: bytes, run: Callable[[], bytes]) -> bytes:
        """The answer of `run`, or the stored one when this request was answered before.

        An empty id just runs. What `run` raises is passed on and not stored.
        Raises MALFORMED_ID, and REQUEST_ID_REUSED for a known id with another body.
        """
        request_id = ids.parse_request_id(request_id)
        if not request_id:
            return run()
        digest = hashlib.sha256(body).hexdigest()
        with self._turn(method, request_id):
            stored = self._answer(method, request_id, digest)
            return self._keep(method, request_id, digest, run()) if stored is None else stored

    async def once_async(
        self, method: str, request_id: str, body: bytes, run: Callable[[], Awaitable[bytes]]
    ) -> bytes:
        """As `once`, for work that awaits; a repeat waits for the first without a thread.

        All calls for one method come from one event loop, and none of them through `once`.
        """
        request_id = ids.parse_request_id(request_id)
        if not request_id:
            return await run()
        digest = hashlib.sha256(body).hexdigest()
        async with self._async_turn(method, request_id):
            stored = await asyncio.to_thread(self._answer, method, request_id, digest)
            if stored is not None:
                return stored
            response = await run()
            return await asyncio.to_thread(self._keep, method, request_id, digest, response)

    def forget(self, before: float) -> int:
        """Drop the answers given before that time, in seconds since the epoch; how many."""
        return self._database.execute("DELETE FROM requests WHERE create_time < ?", (before,))

    def _answer(self, method: str, request_id: str, digest: str) -> bytes | None:
        stored = self._database.row(
            "SELECT body_sha256, response FROM requests WHERE method = ? AND request_id = ?",
            (method, request_id),
        )
        if stored is not None and stored["body_sha256"] != digest:
            raise fail(
                "REQUEST_ID_REUSED",
                f"request_id: {request_id} was used for another {method}; use a new id for a "
                "new request",
                field="request_id",
                request_id=request_id,
            )
        return None if stored is None else bytes(stored["response"])

    def _keep(self, method: str, request_id: str, digest: str, response: bytes) -> bytes:
        self._database.execute(
            "INSERT INTO requests VALUES (?, ?, ?, ?, ?)",
            (method, request_id, digest, response, time.time()),
        )
        return response

    @contextmanager
    def _turn(self, method: str, request_id: str) -> Iterator[None]:
        key = (method, request_id)
        with self._turns_lock:
            turn = self._turns.setdefault(key, _Turn())
            turn.waiting += 1
        try:
            with turn.lock:
                yield
        finally:
            with self._turns_lock:
                turn.waiting -= 1
                if not turn.waiting:
                    del self._turns[key]

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
