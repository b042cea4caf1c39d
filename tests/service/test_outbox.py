"""A reader that lags loses nothing and holds up nobody."""

import pytest

from engine.answer_row import FinishReason, Piece
from service.errors import ServiceError, fail
from service.outbox import Outbox, Portion


async def test_a_reader_that_lags_gets_all_as_one_portion() -> None:
    outbox = Outbox()
    for token in range(1000):
        outbox.put(Piece("a", token, f"{token} ", None))
    outbox.put(Piece("a", 2, ".", FinishReason.STOP))
    portion = await outbox.take()
    assert portion.tokens == (*range(1000), 2)
    assert portion.text == " ".join(map(str, range(1000))) + " ."
    assert portion.finish is FinishReason.STOP


async def test_a_reader_that_keeps_up_gets_each_step() -> None:
    outbox = Outbox()
    for token in range(3):
        outbox.put(Piece("a", token, str(token), None))
        assert await outbox.take() == Portion((token,), str(token), None)


async def test_what_came_before_an_error_is_told_before_it() -> None:
    outbox = Outbox()
    outbox.put(Piece("a", 1, "so far", None))
    outbox.put(fail("INTERNAL", "the model failed"))
    assert (await outbox.take()).text == "so far"
    for _ in range(2):
        with pytest.raises(ServiceError, match="the model failed"):
            await outbox.take()
