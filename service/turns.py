"""A queue whose owners take turns, so that nobody's long one keeps others waiting."""

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """Each owner's things in the order of their arrival. One thread owns it, any may ask its length."""

    def __init__(self) -> None:
        self._owned: dict[str, deque[T]] = {}  # whose turn is next comes first
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, owner: str, thing: T) -> None:
        self._owned.setdefault(owner, deque()).append(thing)
        self._length += 1

    def next(self) -> T:
        """Removes and returns the first thing of the owner whose turn it is. Raises IndexError."""
        if not self._owned:
            raise IndexError("nothing waits")
        owner = next(iter(self._owned))
        things = self._owned.pop(owner)
        thing = things.popleft()
        if things:
            self._owned[owner] = things  # behind all others
        self._length -= 1
        return thing
