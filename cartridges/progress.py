"""Long work as a generator: it yields how far it is, and returns its result."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TypeVar

Share = TypeVar("Share")
Told = TypeVar("Told")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class StageReport:
    """What one stage of a build is doing. `share` is of the stage, 0..1; metrics are the latest."""

    stage: str
    share: float
    message: str
    metrics: dict[str, float] = field(default_factory=dict)


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
