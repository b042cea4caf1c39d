"""Caches of several owners under one bound: each finds its own things alone, and who has the most gives
way first. So an owner who has no more than an equal part loses nothing to what others load, unless one
thing alone is larger than what the others leave. Knows nothing of what is kept.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakSet

K = TypeVar("K")
V = TypeVar("V")


class FairCaches(Generic[K, V]):
    """The bound: what all caches hold together weighs `most`, or is one thing, the newest.

    One thread changes the caches; what they hold may be read from any.
    """

    def __init__(self, most: float, weigh: Callable[[V], float] = lambda value: 1) -> None:
        self.most, self._weigh = most, weigh
        self._caches: WeakSet[Cache[K, V]] = WeakSet()  # gone with their owners
        self._lock = threading.Lock()
        self._clock = itertools.count()

    def new(self) -> Cache[K, V]:
        """An empty cache for one more owner."""
        cache = Cache(self)
        with self._lock:
            self._caches.add(cache)
        return cache

    def all(self) -> list[Cache[K, V]]:
        """The caches of those who are still there."""
        with self._lock:
            return list(self._caches)

    def values(self) -> list[V]:
        """What all of them hold."""
        return [value for cache in self.all() for value in cache.values()]

    def tick(self) -> int:
        """Grows with every call."""
        return next(self._clock)

    def make_room(self, newest: Cache[K, V]) -> None:
        """Drops until the bound is kept; what was put into `newest` last stays."""
        while self._weight(self.values()) > self.most:
            able = [cache for cache in self.all() if len(cache) > (cache is newest)]
            if not able:
                return
            # Of those who have equally much, who has used it longest ago.
            max(able, key=lambda cache: (self._weight(cache.values()), -cache.used)).drop_oldest()

    def _weight(self, values: list[V]) -> float:
        return sum(self._weigh(value) for value in values)


class Cache(Generic[K, V]):
    """What one owner keeps, by its keys, the least used first."""

    def __init__(self, bound: FairCaches[K, V]) -> None:
        self._bound = bound
        self._kept: OrderedDict[K, V] = OrderedDict()
        self.used = bound.tick()

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: K) -> bool:
        return key in self._kept

    def get(self, key: K) -> V | None:
        """What is kept under the key, which is the last used now."""
        if key in self._kept:
            self._kept.move_to_end(key)
            self.used = self._bound.tick()
        return self._kept.get(key)

    def put(self, key: K, value: V) -> V:
        """Keeps a value, for which others may go; the value."""
        self._kept[key] = value
        self.used = self._bound.tick()
        self._bound.make_room(self)
        return value

    def drop(self, wanted: Callable[[K], bool]) -> int:
        """Drops what lies under the keys that are wanted; how many."""
        keys = [key for key in self._kept if wanted(key)]
        for key in keys:
            del self._kept[key]
        return len(keys)

    def drop_oldest(self) -> None:
        """Drops what was used longest ago."""
        self._kept.popitem(last=False)

    def values(self) -> list[V]:
        """What is kept, the least used first."""
        return list(self._kept.values())
