"""What a transaction on Redis has written and nobody else sees yet."""

from __future__ import annotations

from dataclasses import dataclass, field

_FIRST_TABLE = 3
"""Of the script's keys, counted from 1; the lock and the note that it ran stand before."""


@dataclass(slots=True, eq=False)
class Writes:
    """By table and key the new value, None for what is removed. `began` is the server's time then, which
    this process heard at `told`; `kept` is when it last asked for the lock to last: both monotonic.
    """

    token: str
    began: float
    told: float
    kept: float
    tables: dict[str, dict[bytes, bytes | None]] = field(default_factory=dict)

    def of(self, table: str) -> dict[bytes, bytes | None]:
        """The writes to one table; what is put there is written."""
        return self.tables.setdefault(table, {})

    @property
    def has_puts(self) -> bool:
        return any(value is not None for own in self.tables.values() for value in own.values())

    def as_arguments(self) -> tuple[list[str], list[bytes | int | str]]:
        """The tables that are written to, and the commands for the script that commits."""
        names = [name for name, own in self.tables.items() if own]
        arguments: list[bytes | int | str] = []
        for number, name in enumerate(names):
            place = _FIRST_TABLE + 2 * number
            for key, value in self.tables[name].items():
                if value is None:
                    arguments += ("delete", place, key)
                else:
                    arguments += ("put", place, key, value)
        return names, arguments
