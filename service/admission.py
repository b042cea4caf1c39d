"""How many questions may be under way at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import fail


class Admission:
    """Counts the questions under way; used on the event loop alone."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.under_way = 0

    @contextmanager
    def admit(self) -> Iterator[None]:
        """A place for as long as the block lasts; raises ServiceError QUEUE_FULL where none is left."""
        if self.under_way >= self._most:
            raise fail(
                "QUEUE_FULL",
                f"{self.under_way} questions are under way, the most this server takes; "
                "ask again in a while",
                retry_after_seconds=1.0,
            )
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1
