"""What keeps the service's records: tables of JSON objects under ordered keys, and transactions.

The contract that `sqlite_store` and `redis_store` fulfil. Knows no record's meaning. A key is a tuple
of strings and numbers; keys are ordered part by part, and a number comes before a string.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

Key = tuple[str | float, ...]
Record = dict[str, Any]

BEHIND = b"\xff"
"""Stands behind every encoded part: no part begins with it, for it is not in UTF-8."""


class Store(Protocol):
    """Tables of records. Every method may raise STATE_UNAVAILABLE; those that write raise
    STATE_READ_ONLY, STATE_FULL and STATE_CONFLICT too, and then have written nothing.
    """

    def now(self) -> float:
        """The store's clock, in seconds since the epoch; one clock for all who share the store."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """All writes inside are kept, or none; nobody else writes meanwhile. A nested one joins."""
        ...

    def get(self, table: str, key: Key) -> Record | None:
        """The record, or None."""
        ...

    def get_many(self, table: str, keys: Sequence[Key]) -> list[Record | None]:
        """What `get` gives for each of the keys, in their order."""
        ...

    def put(self, table: str, key: Key, record: Record) -> None:
        """Writes a record, in the place of an earlier one."""
        ...

    def delete(self, table: str, key: Key) -> None:
        """Removes a record; nothing happens where there is none."""
        ...

    def range(
        self,
        table: str,
        prefix: Key = (),
        after: Key | None = None,
        limit: int | None = None,
        descending: bool = False,
    ) -> list[tuple[Key, Record]]:
        """Records whose keys begin with `prefix`, in order, behind `after`; numbers come as floats."""
        ...

    def check(self) -> None:
        """Raises what a write would raise now; writes nothing."""
        ...

    def close(self) -> None:
        """Ends the connection; safe to call twice."""
        ...


class ScopedStore:
    """A store whose tables have a name in front."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name

    def now(self) -> float:
        return self._store.now()

    def transaction(self) -> AbstractContextManager[None]:
        return self._store.transaction()

    def get(self, table: str, key: Key) -> Record | None:
        return self._store.get(self._of(table), key)

    def get_many(self, table: str, keys: Sequence[Key]) -> list[Record | None]:
        return self._store.get_many(self._of(table), keys)

    def put(self, table: str, key: Key, record: Record) -> None:
        self._store.put(self._of(table), key, record)

    def delete(self, table: str, key: Key) -> None:
        self._store.delete(self._of(table), key)

    def range(
        self,
        table: str,
        prefix: Key = (),
        after: Key | None = None,
        limit: int | None = None,
        descending: bool = False,
    ) -> list[tuple[Key, Record]]:
        return self._store.range(self._of(table), prefix, after, limit, descending)

    def check(self) -> None:
        self._store.check()

    def close(self) -> None:
        """Nothing: the connection belongs to the whole store."""

    def _of(self, table: str) -> str:
        return f"{self._name}/{table}"


def scoped(store: Store, name: str) -> Store:
    """A store of its own within another, with the same transactions; an empty name: the store itself."""
    return ScopedStore(store, name) if name else store


def encode_key(key: Key) -> bytes:
    """A key as bytes that sort as the key does, and begin with the bytes of its first parts."""
    return b"".join(_encode_part(part) + b"\x00" for part in key)


def decode_key(data: bytes) -> Key:
    """The key that `encode_key` made the bytes of."""
    return tuple(_decode_part(part) for part in data.split(b"\x00")[:-1])


def bounds(
    prefix: Key, after: Key | None, descending: bool
) -> tuple[tuple[bytes, bool], tuple[bytes, bool]]:
    """The ends of a range: bytes, and whether they belong to it."""
    low, high = (encode_key(prefix), True), (encode_key(prefix) + BEHIND, False)
    if after is None:
        return low, high
    edge = (encode_key(after), False)
    return (low, edge) if descending else (edge, high)


def _encode_part(part: str | float) -> bytes:
    if isinstance(part, str):
        # Zero ends a part, so inside one it is written with a one, and a one with a two.
        data = part.encode("utf-8")
        return b"s" + data.replace(b"\x01", b"\x01\x02").replace(b"\x00", b"\x01\x01")
    (bits,) = struct.unpack(">Q", struct.pack(">d", part))
    # IEEE 754 sorts as a whole number once negative ones are turned round.
    ordered = bits ^ (0xFFFF_FFFF_FFFF_FFFF if bits >> 63 else 1 << 63)
    return b"n%016x" % ordered


def _decode_part(data: bytes) -> str | float:
    if data[:1] == b"s":
        text = data[1:].replace(b"\x01\x01", b"\x00").replace(b"\x01\x02", b"\x01")
        return text.decode("utf-8")
    ordered = int(data[1:], 16)
    bits = ordered ^ (1 << 63 if ordered >> 63 else 0xFFFF_FFFF_FFFF_FFFF)
    (number,) = struct.unpack(">d", struct.pack(">Q", bits))
    return float(number)
