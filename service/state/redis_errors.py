"""What Redis refuses, in the service's words; and not asking a server that is away at every call."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from service.errors import ServiceError, fail

RETRY_SECONDS = 1.0
_THERE = -math.inf


class Absence:
    """Remembers that the server did not answer: for a second every call fails at once, then one asks
    while the others go on failing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = _THERE

    @contextmanager
    def noticed(self) -> Iterator[None]:
        """Around a call of the server. Raises ServiceError for what it refuses."""
        self._pass()
        until = _THERE
        try:
            yield
        except (redis.ConnectionError, redis.TimeoutError) as error:
            until = time.monotonic() + RETRY_SECONDS
            raise _away(error) from error
        except redis.ResponseError as error:
            refused = _refusal(error)
            if refused is None:
                raise
            raise refused from error
        finally:
            self._until = until

    def _pass(self) -> None:
        with self._lock:
            if self._until == _THERE:
                return
            if time.monotonic() < self._until:
                raise _away(None)
            self._until = math.inf  # until this call knows more


def conflict(why: str) -> ServiceError:
    """A transaction that was lost, with all it was to write."""
    return fail(
        "STATE_CONFLICT", f"{why}, and nothing was written; try again", retry_after_seconds=1.0
    )


def _away(error: redis.RedisError | None) -> ServiceError:
    said = f" ({error})" if error is not None else ""
    return fail(
        "STATE_UNAVAILABLE",
        f"the state store does not answer{said}; see that Redis runs and can be reached, then try "
        "again",
        retry_after_seconds=RETRY_SECONDS,
    )


def _refusal(error: redis.ResponseError) -> ServiceError | None:
    said = str(error)
    if isinstance(error, redis.OutOfMemoryError) or "OOM" in said.split("'")[0][:40]:
        return fail(
            "STATE_FULL",
            "the state store's memory is full; raise Redis' maxmemory, or delete corpora, then try "
            "again",
        )
    if isinstance(error, redis.ReadOnlyError):
        return fail(
            "STATE_READ_ONLY",
            "the state store is a read-only replica; name its primary with --state",
            retry_after_seconds=5.0,
        )
    if said.startswith(("MISCONF", "NOREPLICAS", "CLUSTERDOWN", "BUSY", "MASTERDOWN")):
        return _away(error)
    return None
