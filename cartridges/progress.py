"""Long work as a generator: it yields the share done, 0..1, and returns its result."""

from collections.abc import Callable, Generator
from typing import TypeVar

Share = TypeVar("Share")
Told = TypeVar("Told")
Result = TypeVar("Result")


def relay(
    work: Generator[Share, None, Result], tell: Callable[[Share], Told]
) -> Generator[Told, None, Result]:
    """The same work, with each thing that it yields told in another form."""
    try:
        while True:
            yield tell(next(work))
    except StopIteration as end:
        result: Result = end.value
        return result
