"""What the model has made of one answer and its reader has not taken yet."""

import asyncio
from dataclasses import dataclass

from engine.answer_row import FinishReason, Piece
from service.errors import ServiceError


@dataclass(frozen=True, slots=True)
class Portion:
    """One or more steps of an answer: their tokens, their text, and why it ended, if it did."""

    tokens: tuple[int, ...]
    text: str
    finish: FinishReason | None


class Outbox:
    """Holds what comes until it is taken, as one portion; used on the event loop alone.

    However far its reader lags, there is one portion and one wake-up: the answer's own length bounds
    what is held, nothing is lost, and the batch never waits.
    """

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._text: list[str] = []
        self._finish: FinishReason | None = None
        self._error: ServiceError | None = None
        self._filled = asyncio.Event()

    def put(self, piece: Piece | ServiceError) -> None:
        if isinstance(piece, ServiceError):
            self._error = piece
        else:
            self._tokens.append(piece.token)
            self._text.append(piece.text)
            self._finish = piece.finish
        self._filled.set()

    async def take(self) -> Portion:
        """All that has come since the last time; waits where there is nothing.

        Raises:
            ServiceError: what ended the answer, after all that came before it was taken.
        """
        await self._filled.wait()
        if not self._tokens and self._error:
            raise self._error
        portion = Portion(tuple(self._tokens), "".join(self._text), self._finish)
        self._tokens, self._text = [], []
        if not self._error:
            self._filled.clear()
        return portion
