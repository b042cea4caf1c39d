"""The one thread that touches the model: short calls and a batch of answers, taken in turns.

Torch work never runs on the event loop. Calls (preparing a prompt) run between two decode steps;
answers that are being decoded share one batch.
"""

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from engine.answer_row import GenerationRequest, Piece
from engine.drafting import MOST_DRAFTED
from engine.generation import GenerationBatch
from engine.model import LanguageModel
from service.errors import ServiceError, fail
from service.outbox import Outbox, Portion
from service.turns import Turns
from service.waiting_answers import Start, WaitingAnswers
from service.whose_call import tenant_under_way

T = TypeVar("T")
_log = structlog.stdlib.get_logger("longmemory.model")


@dataclass(frozen=True, slots=True)
class _Call:
    run: Callable[[], Any]
    resolve: Callable[[Any, BaseException | None], None]
    is_wanted: Callable[[], bool]
    tenant: str


@dataclass(frozen=True, slots=True)
class _Cancel:
    request_id: str


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """How busy a model's thread is: calls and answers that wait for it, answers that are decoded
    together with the bytes of their keys and values, all tokens it ever decoded, and how many were
    guessed ahead and how many of these rightly.
    """

    is_alive: bool
    waiting: int
    decoding: int
    kv_bytes: int
    tokens: int
    guessed: int
    guessed_right: int


class ModelThread:
    """Owns a model. `run` and `generate` are awaited on the event loop; the work happens here."""

    def __init__(
        self,
        model: LanguageModel,
        most: int = 16,
        before_work: Callable[[], object] | None = None,
        most_drafted: int = MOST_DRAFTED,
    ) -> None:
        self.model = model
        self._before_work = before_work or (lambda: None)
        self._most = most  # answers decoded at once
        self._inbox: queue.SimpleQueue[_Call | Start | _Cancel | None] = queue.SimpleQueue()
        self._batch = GenerationBatch(model, most_drafted)
        self._calls = Turns[_Call]()
        self._waiting = WaitingAnswers()
        self._decoded: dict[str, Start] = {}
        self._tokens = 0  # decoded so far
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def load(self) -> ModelLoad:
        """How it stands now; may be read from any thread."""
        batch = self._batch
        return ModelLoad(
            self.is_alive,
            self._inbox.qsize() + len(self._calls) + len(self._waiting),
            len(batch),
            batch.num_bytes,
            self._tokens,
            batch.guessed,
            batch.right,
        )

    async def run(self, call: Callable[[], T]) -> T:
        """The result of a call made on the model's thread; its exception is raised here.

        Raises:
            ServiceError: SERVER_STOPPING where the thread has ended.
        """
        self._require_alive()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(result: T, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        def resolve(result: Any, error: BaseException | None) -> None:
            loop.call_soon_threadsafe(settle, result, error)

        self._inbox.put(_Call(call, resolve, lambda: not future.cancelled(), tenant_under_way()))
        return await future

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Portion]:
        """One answer as it comes; closing the iterator drops it from the batch.

        A reader that lags gets several steps as one portion and holds up nobody.

        Raises:
            ServiceError: INTERNAL where the batch broke, SERVER_STOPPING where the thread has ended.
        """
        self._require_alive()
        loop = asyncio.get_running_loop()
        outbox = Outbox()

        def deliver(piece: Piece | ServiceError) -> None:
            loop.call_soon_threadsafe(outbox.put, piece)

        self._inbox.put(Start(request, deliver, tenant_under_way()))
        finished = False
        try:
            while not finished:
                portion = await outbox.take()
                finished = portion.finish is not None
                yield portion
        finally:
            if not finished:
                self._inbox.put(_Cancel(request.id))

    def close(self) -> None:
        """Ends the thread after the step it is in; what waits or is under way is refused."""
        self._inbox.put(None)
        self._thread.join()

    def _require_alive(self) -> None:
        if not self.is_alive:
            raise _stopping()

    def _work(self) -> None:
        try:
            self._work_until_the_end()
        except BaseException:  # nobody awaits a thread: whoever asks `is_alive` hears of it
            _log.exception("the model's thread died")
        finally:
            self._refuse_rest()

    def _work_until_the_end(self) -> None:
        while self._take_messages():
            try:
                if self._calls:
                    _make(self._calls.next(), self._before_work)
                self._decode()
            except Exception:
                _log.exception("the batch broke")
                self._break(fail("INTERNAL", "the model failed while it answered; ask again"))

    def _take_messages(self) -> bool:
        """Takes what has come; waits only where there is nothing to do. False: the end.

        Calls are put aside: one is made before each step, so that many of them stall no answer.
        """
        idle = not len(self._batch) and not self._waiting and not self._calls
        while idle or not self._inbox.empty():
            message = self._inbox.get()
            idle = False
            match message:
                case None:
                    return False
                case _Call():
                    self._calls.add(message.tenant, message)
                case Start():
                    self._waiting.add(message)
                case _Cancel():
                    self._drop(message.request_id)
        return True

    def _decode(self) -> None:
        if not len(self._batch) and not self._waiting:
            return
        self._before_work()
        joining = self._waiting.take(self._most - len(self._batch), self._decoded.values())
        self._decoded |= {start.request.id: start for start in joining}
        self._batch.add([start.request for start in joining])
        for piece in self._batch.step():
            self._tokens += 1
            self._decoded[piece.request_id].deliver(piece)
            if piece.finish is not None:
                del self._decoded[piece.request_id]

    def _drop(self, request_id: str) -> None:
        self._waiting.drop(request_id)
        self._batch.cancel(request_id)
        self._decoded.pop(request_id, None)

    def _break(self, error: ServiceError) -> None:
        for start in self._decoded.values():
            start.deliver(error)
        self._decoded.clear()
        self._batch = GenerationBatch(self.model, self._batch.most_drafted)

    def _refuse_rest(self) -> None:
        """Nobody is left waiting for a thread that has ended."""
        stopping = _stopping()
        self._break(stopping)
        for start in self._waiting.take_all():
            start.deliver(stopping)
        while self._calls:
            self._calls.next().resolve(None, stopping)
        while not self._inbox.empty():
            match self._inbox.get():
                case _Call(resolve=resolve):
                    resolve(None, stopping)
                case Start(deliver=deliver):
                    deliver(stopping)


def _stopping() -> ServiceError:
    return fail("SERVER_STOPPING", "the server stops; ask again once it is back")


def _make(call: _Call, before_work: Callable[[], object]) -> None:
    if not call.is_wanted():
        return
    try:
        before_work()
        result = call.run()
    except BaseException as error:  # whoever awaits the call gets it
        call.resolve(None, error)
    else:
        call.resolve(result, None)
