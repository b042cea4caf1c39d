"""Waiting for a store that is away."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import structlog

from service.errors import ServiceError

_PASSING = frozenset({"STATE_UNAVAILABLE", "STATE_READ_ONLY", "STATE_FULL", "STATE_CONFLICT"})
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0
_log = structlog.stdlib.get_logger("longmemory.state")

T = TypeVar("T")


def is_passing(error: Exception) -> bool:
    """Whether the same call may succeed later, and nothing of it was done."""
    return isinstance(error, ServiceError) and error.reason in _PASSING


def patiently(act: Callable[[], T], stopping: threading.Event) -> T:
    """What `act` gives once the store lets it; what it raises then, or while a stop is asked for."""
    pause = _FIRST_PAUSE
    while True:
        try:
            return act()
        except ServiceError as error:
            if not is_passing(error) or stopping.is_set():
                raise
            if pause == _FIRST_PAUSE:
                _log.warning("waiting for the state store", reason=error.reason, why=error.message)
        stopping.wait(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
