"""Whose things are whose: each tenant has records and folders of its own, and no way to another's.

Whoever works for a tenant is given its `Tenant` and builds all that it needs from that: a store whose
tables bear the tenant's name and a layout within the tenant's folder. The default tenant's are those of
the data folder itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.elsewhere import NOWHERE, Elsewhere
from engine.plain_folder import delete_tree
from service.config import Layout
from service.errors import fail
from service.ids import parse_id
from service.state.store import Store, scoped
from service.state.tables import CARTRIDGES, CORPORA, JOBS, TENANTS, delete_all
from service.tokens import DEFAULT_TENANT


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant's records and folders."""

    name: str
    store: Store
    layout: Layout


@dataclass(frozen=True, slots=True)
class Belongings:
    """How many corpora and cartridges a tenant has, and the bytes of its documents."""

    tenant: str
    corpora: int
    document_bytes: int
    cartridges: int


class Tenants:
    """The tenants of one state and data folder."""

    def __init__(self, store: Store, data: Path, elsewhere: Elsewhere = NOWHERE) -> None:
        self._store, self._data, self._elsewhere = store, data, elsewhere

    def all(self) -> list[Tenant]:
        """The default tenant and all who ever called; those whose jobs were taken longest ago, or never,
        come first.
        """
        known = {str(key[0]): float(record["taken"]) for key, record in TENANTS.each(self._store)}
        known.setdefault(DEFAULT_TENANT, 0.0)
        return [self.of(name) for name in sorted(known, key=lambda name: known[name])]

    def belongings(self, name: str) -> Belongings:
        """What a tenant has in numbers. Raises MALFORMED_ID."""
        store = self.of(name).store
        corpora = [record for _, record in CORPORA.each(store)]
        num_bytes = sum(int(record["byte_count"]) for record in corpora)
        cartridges = sum(1 for _ in CARTRIDGES.each(store))
        return Belongings(name, len(corpora), num_bytes, cartridges)

    def of(self, name: str) -> Tenant:
        """What a tenant has. Raises MALFORMED_ID."""
        if name == DEFAULT_TENANT:
            return Tenant(name, self._store, Layout(self._data, self._elsewhere))
        own = f"tenants/{parse_id(name, 'tenant')}"
        return Tenant(name, scoped(self._store, own), Layout(self._data / own, self._elsewhere))

    def enrol(self, name: str) -> Tenant:
        """The same, made known to those who work for all tenants. Raises MALFORMED_ID."""
        tenant = self.of(name)
        with self._store.transaction():
            if TENANTS.get(self._store, (name,)) is None:
                self._note(name, taken=0.0)
        tenant.layout.data.mkdir(parents=True, exist_ok=True)
        return tenant

    def removable(self, name: str) -> Belongings:
        """What a tenant has that `remove` would remove now.

        Raises:
            ServiceError: TENANT_NOT_FOUND, INVALID_VALUE for the default tenant, JOB_NOT_FINISHED where
                one of its jobs waits or runs.
        """
        if name == DEFAULT_TENANT:
            raise fail(
                "INVALID_VALUE",
                "tenant: the default tenant has the data folder itself and cannot be removed; delete "
                "its corpora",
                field="tenant",
            )
        store = self.of(name).store
        if TENANTS.get(self._store, (name,)) is None:
            raise fail(
                "TENANT_NOT_FOUND",
                f"there is no tenant {name!r}, or it never called; see `longmemory tenant ls`",
                field="tenant",
            )
        if job := JOBS.first(store, "waiting") or JOBS.first(store, "running"):
            raise fail(
                "JOB_NOT_FINISHED",
                f"the tenant's job {job[0][-1]} waits or runs; wait for it, or cancel it "
                "(`longmemory jobs cancel`) with a token of the tenant",
                field="tenant",
            )
        return self.belongings(name)

    def remove(self, name: str) -> None:
        """Removes all that a tenant has; what a kill cuts off is done by another call. Its name stays
        known, for servers that run may hold it. Its tokens must be gone before, so that it begins
        nothing anew. Raises what `removable` does, and FILE_NOT_PLAIN where a link lies in the way of
        its files.
        """
        with self._store.transaction():
            self.removable(name)
            delete_all(self.of(name).store)
        folder = self.of(name).layout.data
        self._elsewhere.remove(folder)
        delete_tree(folder, self._data)

    def note_taken(self, name: str) -> None:
        """One of the tenant's jobs was taken; the others are before it next time."""
        self._note(name, taken=self._store.now())

    def _note(self, name: str, taken: float) -> None:
        TENANTS.put(self._store, (name,), {"taken": taken})
