"""Waiting for a store that is away."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import structlog

from service.errors import ServiceError

_PASSING = frozenset(
    {"STATE_UNAVAILABLE", "STATE_READ_ONLY", "STATE_FULL", "STATE_CONFLICT", "STORE_UNAVAILABLE"}
)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0
_log = structlog.stdlib.get_logger("longmemory.state")

T = TypeVar("T")


def is_passing(error: Exception) -> bool:
    """Whether the same call may succeed later, and nothing of it was done."""
    return isinstance(error, ServiceError) and error.reason in _PASSING


def patiently(act: Callable[[], T], pause_for: Callable[[float], bool]) -> T:
    """What `act` gives once the store lets it, or what it raises then. `pause_for` waits so many seconds
    and says whether to go on; if not, what the store refused is raised.
    """
    pause = _FIRST_PAUSE
    while True:
        try:
            return act()
        except ServiceError as error:
            if not is_passing(error):
                raise
            if pause == _FIRST_PAUSE:
                _log.warning("waiting for the state store", reason=error.reason, why=error.message)
            if not pause_for(pause):
                raise
        pause = min(2 * pause, _LONGEST_PAUSE)
