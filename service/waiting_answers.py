"""Which of the answers that wait is decoded next. Pure logic; one thread owns it.

Tenants share the places evenly. Of one tenant's, those come first that are soon read and long told, or
that continue a prefix which others are told from already (Zheng et al. 2024, arXiv 2412.03594): while a
long prompt is read, the batch is full. Nobody is passed by without end: what comes last is treated as if
it had arrived `PATIENCE` answers later than it did.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from engine.answer_row import GenerationRequest, Piece
from service.errors import ServiceError

PATIENCE = 16
_READ_A_TOLD = 8  # tokens of prompts that are read in the time that one of an answer takes


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """An answer to be decoded, where its pieces go, and for whom."""

    request: GenerationRequest
    deliver: Callable[[Piece | ServiceError], None]
    tenant: str


@dataclass(slots=True, eq=False)
class WaitingAnswers:
    """Answers in the order of their arrival."""

    _waiting: dict[int, Start] = field(default_factory=dict)
    _arrived: int = 0
    _taken: dict[str, int] = field(default_factory=dict)  # when each tenant had its turn last

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, start: Start) -> None:
        self._waiting[self._arrived] = start
        self._arrived += 1

    def drop(self, request_id: str) -> None:
        """Forgets an answer that nobody wants any more; nothing where it is not here."""
        for number, start in tuple(self._waiting.items()):
            if start.request.id == request_id:
                del self._waiting[number]

    def take(self, most: int, decoded: Iterable[Start]) -> list[Start]:
        """Removes and returns up to `most`, given those that are decoded now."""
        under_way, taken = list(decoded), list[Start]()
        while self._waiting and len(taken) < most:
            start = self._waiting.pop(self._next([*under_way, *taken]))
            self._taken[start.tenant] = max(self._taken.values(), default=0) + 1
            taken.append(start)
        return taken

    def take_all(self) -> list[Start]:
        return self.take(len(self), ())

    def _next(self, under_way: list[Start]) -> int:
        places = Counter(start.tenant for start in under_way)
        prefixes = {id(start.request.prefix) for start in under_way if start.request.prefix}

        def order(number: int) -> tuple[int, int, float]:
            start = self._waiting[number]
            is_shared = id(start.request.prefix) in prefixes
            late = 0.0 if is_shared else PATIENCE * share_of_reading(start.request)
            return places[start.tenant], self._taken.get(start.tenant, 0), number + late

        return min(self._waiting, key=order)


def share_of_reading(request: GenerationRequest) -> float:
    """Which part of an answer's time its prompt takes, 0..1, if it gets as long as it may."""
    read = len(request.prompt)
    return read / (read + _READ_A_TOLD * request.params.max_tokens)
