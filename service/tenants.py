"""Whose things are whose: each tenant has records and folders of its own, and no way to another's.

Whoever works for a tenant is given its `Tenant` and builds all that it needs from that: a store whose
tables bear the tenant's name and a layout within the tenant's folder. The default tenant's are those of
the data folder itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from service.config import Layout
from service.ids import parse_id
from service.state.store import Store, scoped
from service.state.tables import TENANTS
from service.tokens import DEFAULT_TENANT


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant's records and folders."""

    name: str
    store: Store
    layout: Layout


class Tenants:
    """The tenants of one state and data folder."""

    def __init__(self, store: Store, data: Path) -> None:
        self._store, self._data = store, data

    def all(self) -> list[Tenant]:
        """The default tenant and all who ever called; those whose jobs were taken longest ago, or never,
        come first.
        """
        known = {str(key[0]): float(record["taken"]) for key, record in TENANTS.each(self._store)}
        known.setdefault(DEFAULT_TENANT, 0.0)
        return [self.of(name) for name in sorted(known, key=lambda name: known[name])]

    def of(self, name: str) -> Tenant:
        """What a tenant has. Raises MALFORMED_ID."""
        if name == DEFAULT_TENANT:
            return Tenant(name, self._store, Layout(self._data))
        own = f"tenants/{parse_id(name, 'tenant')}"
        return Tenant(name, scoped(self._store, own), Layout(self._data / own))

    def enrol(self, name: str) -> Tenant:
        """The same, made known to those who work for all tenants. Raises MALFORMED_ID."""
        tenant = self.of(name)
        with self._store.transaction():
            if TENANTS.get(self._store, (name,)) is None:
                self._note(name, taken=0.0)
        tenant.layout.data.mkdir(parents=True, exist_ok=True)
        return tenant

    def note_taken(self, name: str) -> None:
        """One of the tenant's jobs was taken; the others are before it next time."""
        self._note(name, taken=self._store.now())

    def _note(self, name: str, taken: float) -> None:
        TENANTS.put(self._store, (name,), {"taken": taken})
