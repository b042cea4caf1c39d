"""What is told to whoever watches the service, in plain values. Knows no metrics library."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Hears of what happens; every method returns at once and may be called from any thread."""

    def call_ended(self, method: str, code: str, seconds: float) -> None:
        """A call by its full gRPC name, the name of its status code, and how long it took."""
        ...

    def rejected(self, reason: str) -> None:
        """A call was refused with one of `service.errors.REASONS`."""
        ...

    def began(self, route: str, seconds: float) -> None:
        """The first text of an answer came so many seconds after its question."""
        ...

    def answered(self, route: str, reason: str) -> None:
        """An answer came to its end, by that route, taken for that reason."""
        ...


class Nobody:
    """Watches nothing."""

    def call_ended(self, method: str, code: str, seconds: float) -> None:
        """Nothing."""

    def rejected(self, reason: str) -> None:
        """Nothing."""

    def began(self, route: str, seconds: float) -> None:
        """Nothing."""

    def answered(self, route: str, reason: str) -> None:
        """Nothing."""
