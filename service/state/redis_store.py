"""The store in a Redis server, for any number of servers and workers on any number of machines.

A table is a sorted set of its keys, all with one score and so in the order of their bytes, and a hash
of its records. A transaction holds a lock on the whole store, keeps its writes to itself until its
end, and has them applied by one script which first sees that the lock is still its own: a process
that was stopped for longer than the lock lasts has written nothing.
"""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from heapq import merge
from itertools import islice
from typing import Any

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from service.errors import ServiceError
from service.state import redis_scripts
from service.state.redis_errors import Absence, conflict
from service.state.redis_writes import Writes
from service.state.store import Key, Record, bounds, decode_key, encode_key

PREFIX = "{longmemory}"  # in braces, so that all keys lie in one slot of a cluster
LOCK_SECONDS = 10.0
ANSWER_SECONDS = 3.0
_WAIT_SECONDS = 30.0
_TRIES = 2
_BATCH = 1000  # Lua unpacks some thousands of values at most


class RedisStore:
    """Threads share it; each has its own transaction."""

    def __init__(self, url: str, lock_seconds: float = LOCK_SECONDS) -> None:
        """Raises ValueError for a URL that is none; connects with the first call."""
        self._client = redis.Redis.from_url(
            url,
            protocol=2,
            retry=Retry(ConstantBackoff(0.05), _TRIES - 1),
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            health_check_interval=0,
        )
        self._absence = Absence()
        self._lock_seconds = lock_seconds
        self._turn = threading.Lock()  # one thread of a process asks for the lock at a time
        self._local = threading.local()
        script = self._client.register_script
        self._acquire, self._extend = script(redis_scripts.ACQUIRE), script(redis_scripts.EXTEND)
        self._release, self._check = script(redis_scripts.RELEASE), script(redis_scripts.CHECK)
        self._commit = script(redis_scripts.COMMIT)
        self._commit_deletions = script(redis_scripts.COMMIT_DELETIONS)
        self._range = script(redis_scripts.RANGE)

    def server_facts(self) -> dict[str, Any]:
        """What the server says of itself: version, settings, role."""
        with self._absence.noticed():
            facts: dict[str, Any] = self._client.info()
        return facts

    def now(self) -> float:
        """In a transaction the time is counted on from its begin, which saves asking; never ahead."""
        writes = self._writes
        if writes is not None:
            return writes.began + (time.monotonic() - writes.told)
        with self._absence.noticed():
            seconds, micros = self._client.time()
        return float(seconds) + micros / 1e6

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if self._writes is not None:
            yield
            return
        with self._turn:
            writes = self._lock()
            self._local.writes = writes
            try:
                yield
            except BaseException:
                self._let_go(writes)
                raise
            finally:
                self._local.writes = None
            self._write(writes)

    def get(self, table: str, key: Key) -> Record | None:
        return self.get_many(table, [key])[0]

    def get_many(self, table: str, keys: Sequence[Key]) -> list[Record | None]:
        encoded = [encode_key(key) for key in keys]
        own = self._own(table)
        missing = [key for key in encoded if key not in own]
        stored: dict[bytes, Any] = {}
        for start in range(0, len(missing), _BATCH):
            some = missing[start : start + _BATCH]
            self._keep()
            with self._absence.noticed():
                stored |= zip(some, self._client.hmget(_values(table), some), strict=True)
        known = stored | own
        return [_parsed(known[key]) for key in encoded]

    def put(self, table: str, key: Key, record: Record) -> None:
        self._set(table, key, json.dumps(record).encode())

    def delete(self, table: str, key: Key) -> None:
        self._set(table, key, None)

    def range(
        self,
        table: str,
        prefix: Key = (),
        after: Key | None = None,
        limit: int | None = None,
        descending: bool = False,
    ) -> list[tuple[Key, Record]]:
        (low, with_low), (high, _) = bounds(prefix, after, descending)
        own = self._own(table)
        written = sorted(
            (
                (key, value, 0)
                for key, value in own.items()
                if (low < key < high) or (with_low and key == low)
            ),
            reverse=descending,
        )
        batch = _BATCH if limit is None else min(_BATCH, limit + len(written))
        stored = (
            (key, value, 1)
            for key, value in self._stored(table, low, with_low, high, descending, batch)
            if key not in own
        )
        found = merge(written, stored, key=lambda entry: entry[0], reverse=descending)
        there = ((decode_key(key), json.loads(value)) for key, value, _ in found if value)
        return list(islice(there, limit))

    def check(self) -> None:
        with self._absence.noticed():
            self._check()

    def close(self) -> None:
        self._client.close()

    @property
    def _writes(self) -> Writes | None:
        return getattr(self._local, "writes", None)

    def _own(self, table: str) -> dict[bytes, bytes | None]:
        writes = self._writes
        return writes.of(table) if writes is not None else {}

    def _set(self, table: str, key: Key, value: bytes | None) -> None:
        with self.transaction():
            writes = self._writes
            assert writes is not None, "inside a transaction there are writes"
            writes.of(table)[encode_key(key)] = value

    def _stored(
        self, table: str, low: bytes, with_low: bool, high: bytes, descending: bool, batch: int
    ) -> Iterator[tuple[bytes, bytes | None]]:
        """What the server holds between two keys, in order, a batch at a time."""
        lowest, highest = (b"[" if with_low else b"(") + low, b"(" + high
        command = "ZREVRANGEBYLEX" if descending else "ZRANGEBYLEX"
        while True:
            ends = (highest, lowest) if descending else (lowest, highest)
            self._keep()
            with self._absence.noticed():
                keys, values = self._range(
                    keys=[_keys(table), _values(table)], args=[command, *ends, batch]
                )
            yield from zip(keys, values, strict=True)
            if len(keys) < batch:
                return
            if descending:
                highest = b"(" + keys[-1]
            else:
                lowest = b"(" + keys[-1]

    def _lock(self) -> Writes:
        token = uuid.uuid4().hex
        end, pause = time.monotonic() + _WAIT_SECONDS, 0.001
        while True:
            locked = time.monotonic()
            with self._absence.noticed():
                found = self._acquire(keys=[_LOCK], args=[token, self._lock_milliseconds])
            if found:
                began = int(found[0]) + int(found[1]) / 1e6
                return Writes(token, began, time.monotonic(), kept=locked)
            if locked > end:
                raise conflict("other processes kept the state store busy")
            time.sleep(random.uniform(0, pause))
            pause = min(2 * pause, 0.05)

    def _keep(self) -> None:
        """A transaction that reads for long keeps its lock, as long as it is alive."""
        writes = self._writes
        if writes is None or time.monotonic() - writes.kept < self._lock_seconds / 3:
            return
        with self._absence.noticed():
            is_ours = self._extend(keys=[_LOCK], args=[writes.token, self._lock_milliseconds])
        if not is_ours:
            raise conflict("this process was stopped for longer than its turn lasted")
        writes.kept = time.monotonic()

    def _write(self, writes: Writes) -> None:
        names, arguments = writes.as_arguments()
        if not names:
            self._let_go(writes)
            return
        commit = self._commit if writes.has_puts else self._commit_deletions
        tables = [key for name in names for key in (_keys(name), _values(name))]
        try:
            with self._absence.noticed():
                done = commit(
                    keys=[_LOCK, f"{PREFIX}:done:{writes.token}", *tables],
                    args=[writes.token, *arguments],
                )
        except BaseException:
            self._let_go(writes)
            raise
        if not done:
            raise conflict("this process was stopped for longer than its turn lasted")

    def _let_go(self, writes: Writes) -> None:
        try:
            with self._absence.noticed():
                self._release(keys=[_LOCK], args=[writes.token])
        except ServiceError:
            return  # it ends by itself

    @property
    def _lock_milliseconds(self) -> int:
        return int(self._lock_seconds * 1000)


_LOCK = f"{PREFIX}:lock"


def _keys(table: str) -> str:
    return f"{PREFIX}:keys:{table}"


def _values(table: str) -> str:
    return f"{PREFIX}:values:{table}"


def _parsed(value: bytes | None) -> Record | None:
    if value is None:
        return None
    record: Record = json.loads(value)
    return record
