"""How long a caller waits, as OpenAI's clients say it in a header of every request."""

import math
import time
from collections.abc import Mapping

from service.http.wire import invalid

# Of the Python client and of the one for JavaScript; both in seconds.
_HEADERS = ("x-stainless-read-timeout", "x-stainless-timeout")


def deadline_of(headers: Mapping[str, str]) -> float | None:
    """By when the answer must have begun, in `time.monotonic()` seconds; None where nothing is said.

    Raises INVALID_VALUE, which names the header.
    """
    for name in _HEADERS:
        if given := headers.get(name):
            return time.monotonic() + _seconds(name, given)
    return None


def _seconds(name: str, given: str) -> float:
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise invalid(name, "it is not a number of seconds above 0; give one, or leave it out")
    return seconds
