"""A kind of record with the index tables that follow from it, kept in step by every write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from service.state.store import Key, Record, Store

_BATCH = 1000

Index = Callable[[Key, Record], Key | None]
"""Where a record stands in an index; None where it does not."""


@dataclass(frozen=True, slots=True)
class Table:
    """Records under a name. No two records have one place in an index: it holds their own keys."""

    name: str
    indexes: Mapping[str, Index] = field(default_factory=dict)

    def get(self, store: Store, key: Key) -> Record | None:
        """The record, or None."""
        return store.get(self.name, key)

    def put(self, store: Store, key: Key, record: Record) -> None:
        """Writes a record and its places in the indexes."""
        with store.transaction():
            before = store.get(self.name, key) if self.indexes else None
            store.put(self.name, key, record)
            for name, index in self.indexes.items():
                old, new = index(key, before) if before else None, index(key, record)
                if old is not None and old != new:
                    store.delete(self._index(name), old)
                if new is not None and old != new:
                    store.put(self._index(name), new, {"key": list(key)})

    def delete(self, store: Store, key: Key) -> Record | None:
        """Removes a record from the table and its indexes; what it was."""
        with store.transaction():
            before = store.get(self.name, key)
            if before is not None:
                store.delete(self.name, key)
                for name, index in self.indexes.items():
                    if old := index(key, before):
                        store.delete(self._index(name), old)
            return before

    def each(self, store: Store, prefix: Key = ()) -> Iterator[tuple[Key, Record]]:
        """Every record whose key begins with `prefix`, in order, read in batches."""
        after: Key | None = None
        while True:
            found = store.range(self.name, prefix, after, _BATCH)
            yield from found
            if len(found) < _BATCH:
                return
            after = found[-1][0]

    def find(
        self,
        store: Store,
        index: str,
        prefix: Key = (),
        after: Key | None = None,
        limit: int | None = None,
        descending: bool = False,
    ) -> list[tuple[Key, Record]]:
        """Records by an index, with their keys there; an empty name: by the table's own keys."""
        if not index:
            return store.range(self.name, prefix, after, limit, descending)
        while True:
            places = store.range(self._index(index), prefix, after, limit, descending)
            records = store.get_many(self.name, [tuple(place["key"]) for _, place in places])
            found = [
                (place, record)
                for (place, _), record in zip(places, records, strict=True)
                if record is not None
            ]
            if len(found) == len(places):  # else one went between the two reads
                return found

    def first(self, store: Store, index: str, prefix: Key = ()) -> tuple[Key, Record] | None:
        """The first record by an index."""
        found = self.find(store, index, prefix, limit=1)
        return found[0] if found else None

    def delete_until(self, store: Store, index: str, end: float) -> int:
        """Removes what an index whose keys begin with a number has before `end`; how many."""
        removed = 0
        with store.transaction():
            while True:
                places = store.range(self._index(index), limit=_BATCH)
                old = [entry for place, entry in places if float(place[0]) < end]
                for entry in old:
                    self.delete(store, tuple(entry["key"]))
                removed += len(old)
                if len(old) < _BATCH:
                    return removed

    def _index(self, name: str) -> str:
        return f"{self.name}.{name}"
