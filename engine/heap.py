"""Memory that was freed and is kept by the C library all the same."""

import ctypes
from collections.abc import Callable
from functools import cache


def give_back() -> bool:
    """Gives freed memory back to the system; False where the C library cannot (it is not glibc).

    Tensors of ever other sizes leave gaps in glibc's heap that it keeps: without this, a process that
    reads a million tokens grows by two gigabytes. Takes milliseconds.
    """
    trim = _trim()
    return trim is not None and bool(trim(0) >= 0)


@cache
def _trim() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    return found
