"""A store that still tells what it told last while the store behind it is away."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar, cast

from service.errors import ServiceError
from service.state.store import Key, Record, Store

REMEMBERED_SECONDS = 3600.0
_MOST_ANSWERS = 4096
_MOST_RECORDS = 64  # of a range that is remembered

T = TypeVar("T")


class RememberingStore:
    """For questions, which are answered from what is loaded: reads of the last hour are repeated where
    the store does not answer. While it answers, everything is read anew, and writes go to it alone.
    """

    def __init__(self, store: Store, seconds: float = REMEMBERED_SECONDS) -> None:
        self._store, self._seconds = store, seconds
        self._lock = threading.Lock()
        self._answers: OrderedDict[object, tuple[float, object]] = OrderedDict()

    def now(self) -> float:
        return self._store.now()

    def transaction(self) -> AbstractContextManager[None]:
        return self._store.transaction()

    def get(self, table: str, key: Key) -> Record | None:
        return self._remembered(("get", table, key), lambda: self._store.get(table, key))

    def get_many(self, table: str, keys: Sequence[Key]) -> list[Record | None]:
        asked = ("get_many", table, tuple(keys))
        return self._remembered(asked, lambda: self._store.get_many(table, keys))

    def put(self, table: str, key: Key, record: Record) -> None:
        self._store.put(table, key, record)

    def delete(self, table: str, key: Key) -> None:
        self._store.delete(table, key)

    def range(
        self,
        table: str,
        prefix: Key = (),
        after: Key | None = None,
        limit: int | None = None,
        descending: bool = False,
    ) -> list[tuple[Key, Record]]:
        asked = ("range", table, prefix, after, limit, descending)
        return self._remembered(
            asked, lambda: self._store.range(table, prefix, after, limit, descending)
        )

    def check(self) -> None:
        self._store.check()

    def close(self) -> None:
        self._store.close()

    def _remembered(self, asked: object, read: Callable[[], T]) -> T:
        try:
            answer = read()
        except ServiceError as error:
            last = self._last(asked)
            if error.reason != "STATE_UNAVAILABLE" or last is None:
                raise
            answer = cast("T", last[0])
        else:
            self._note(asked, answer)
        return answer

    def _last(self, asked: object) -> tuple[object] | None:
        with self._lock:
            told, answer = self._answers.get(asked, (float("-inf"), None))
        return (answer,) if time.monotonic() - told <= self._seconds else None

    def _note(self, asked: object, answer: object) -> None:
        is_long = isinstance(answer, list) and len(answer) > _MOST_RECORDS
        with self._lock:
            self._answers.pop(asked, None)
            if not is_long:
                self._answers[asked] = (time.monotonic(), answer)
            while len(self._answers) > _MOST_ANSWERS:
                self._answers.popitem(last=False)
