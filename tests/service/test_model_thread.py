"""One thread owns the model: calls and answers take turns, and nobody's trouble becomes another's."""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from engine.answer_row import GenerationRequest
from engine.generation import GenerationBatch, generate_text
from engine.model import LanguageModel
from engine.sampling import SamplingParams
from service.errors import ServiceError
from service.model_thread import ModelThread
from service.whose_call import works_for

PROMPTS = ("The lamp of the harbor", "A ferry", "Twelve boats went out before the storm, and")


@pytest.fixture
def thread(model: LanguageModel) -> Iterator[ModelThread]:
    thread = ModelThread(model)
    yield thread
    thread.close()
    assert not thread.is_alive


def request(model: LanguageModel, prompt: str, tokens: int = 12) -> GenerationRequest:
    params = SamplingParams(tokens, temperature=0.8, seed=len(prompt))
    return GenerationRequest(prompt, tuple(model.encode(prompt)), None, params)


async def text(thread: ModelThread, asked: GenerationRequest) -> str:
    async with aclosing(thread.generate(asked)) as pieces:
        return "".join([piece.text async for piece in pieces])


def alone(model: LanguageModel, asked: GenerationRequest) -> str:
    return generate_text(model, [asked])[0]


async def rows(thread: ModelThread) -> int:
    """How many answers are being decoded now."""
    return await thread.run(lambda: len(thread._batch))


async def test_answers_in_one_batch_are_what_each_would_be_alone(
    thread: ModelThread, model: LanguageModel
) -> None:
    asked = [request(model, prompt) for prompt in PROMPTS]
    together = await asyncio.gather(*(text(thread, one) for one in asked))
    assert together == [alone(model, one) for one in asked]
    assert all(together)


async def test_more_answers_than_places_wait_for_theirs(model: LanguageModel) -> None:
    thread = ModelThread(model, most=1)
    asked = [request(model, prompt) for prompt in PROMPTS]
    together = await asyncio.gather(*(text(thread, one) for one in asked))
    assert together == [alone(model, one) for one in asked]
    thread.close()


async def test_a_tenants_long_queue_keeps_no_other_tenant_waiting(model: LanguageModel) -> None:
    thread, ended = ModelThread(model, most=1), list[str]()

    async def ask(tenant: str, number: int) -> None:
        works_for(tenant)
        asked = request(model, PROMPTS[number % 3])
        await text(thread, replace(asked, id=f"{tenant}{number}"))
        ended.append(tenant)

    many = [asyncio.create_task(ask("a", number)) for number in range(6)]
    await asyncio.sleep(0)
    await asyncio.gather(*many, asyncio.create_task(ask("b", 0)))
    assert "b" in ended[:3]
    thread.close()


async def test_tenants_calls_take_turns(model: LanguageModel) -> None:
    thread, made, gate = ModelThread(model), list[str](), threading.Event()

    async def call(tenant: str) -> None:
        works_for(tenant)
        await thread.run(lambda: made.append(tenant))

    held = asyncio.create_task(thread.run(gate.wait))
    await asyncio.sleep(0.05)
    calls = [asyncio.create_task(call(tenant)) for tenant in "aaaab"]
    await asyncio.sleep(0.05)
    gate.set()
    await asyncio.gather(held, *calls)
    assert made == ["a", "b", "a", "a", "a"]
    thread.close()


async def test_a_call_runs_between_two_steps_of_an_answer(
    thread: ModelThread, model: LanguageModel
) -> None:
    asked = request(model, PROMPTS[0], 200)
    pieces = thread.generate(asked)
    first = await anext(pieces)
    assert first.finish is None
    assert await rows(thread) == 1  # a call was answered while the answer is under way
    rest = [piece async for piece in pieces]
    assert "".join(piece.text for piece in [first, *rest]) == alone(model, asked)


async def test_calls_run_on_the_models_thread_alone(thread: ModelThread) -> None:
    names = await asyncio.gather(
        *(thread.run(lambda: threading.current_thread().name) for _ in range(5))
    )
    assert set(names) == {"model"}


async def test_closing_an_answer_frees_its_row_and_leaves_the_others(
    thread: ModelThread, model: LanguageModel
) -> None:
    kept = request(model, PROMPTS[1], 60)
    closed = thread.generate(request(model, PROMPTS[0], 4000))
    await anext(closed)
    other = asyncio.create_task(text(thread, kept))
    await closed.aclose()
    assert await rows(thread) <= 1
    assert await other == alone(model, kept)
    assert await rows(thread) == 0


async def test_a_cancelled_answer_gives_its_memory_back_before_the_next_step(
    thread: ModelThread, model: LanguageModel
) -> None:
    kept, closed = (thread.generate(request(model, prompt, 4000)) for prompt in PROMPTS[:2])
    await anext(kept)
    alone_bytes = await thread.run(lambda: thread._batch.num_bytes)
    await anext(closed)
    both_bytes = await thread.run(lambda: thread._batch.num_bytes)
    await closed.aclose()
    # A call runs before the step that follows it, so no step lies between the cancel and this one.
    left = await thread.run(lambda: (len(thread._batch), thread._batch.num_bytes))
    assert left[0] == 1
    assert alone_bytes > 0
    assert left[1] <= both_bytes / 2
    await kept.aclose()
    assert await thread.run(lambda: thread._batch.num_bytes) == 0


async def test_an_answer_that_nobody_reads_holds_up_no_other(model: LanguageModel) -> None:
    thread = ModelThread(model, most=2)
    unread = thread.generate(request(model, PROMPTS[0], 40))
    await anext(unread)
    for _ in range(3):
        asked = request(model, PROMPTS[1], 60)
        assert await text(thread, asked) == alone(model, asked)
    rest = [portion async for portion in unread]
    assert len(rest) == 1  # all that came meanwhile, as one
    assert rest[0].finish is not None
    thread.close()


async def test_many_calls_do_not_stall_an_answer(thread: ModelThread, model: LanguageModel) -> None:
    stream = thread.generate(request(model, PROMPTS[0], 4000))
    await anext(stream)
    seen: list[int] = []

    def look() -> None:
        seen.append(len(thread._batch._rows[0].lookup))

    await asyncio.gather(*(thread.run(look) for _ in range(6)))
    assert all(later > earlier for earlier, later in itertools.pairwise(seen))
    await stream.aclose()
    assert await rows(thread) == 0


async def test_an_answer_closed_before_it_began_is_never_decoded(model: LanguageModel) -> None:
    thread = ModelThread(model, most=1)
    first = thread.generate(request(model, PROMPTS[0], 4000))
    await anext(first)
    waiting = asyncio.create_task(text(thread, request(model, PROMPTS[1], 4000)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await first.aclose()
    assert await rows(thread) == 0
    assert await thread.run(lambda: len(thread._waiting)) == 0
    thread.close()


async def test_what_a_call_raises_reaches_its_caller_and_nobody_else(
    thread: ModelThread, model: LanguageModel
) -> None:
    def fall() -> None:
        raise KeyError("lost")

    asked = request(model, PROMPTS[0], 60)
    answer = asyncio.create_task(text(thread, asked))
    good, bad, other = await asyncio.gather(
        thread.run(lambda: 1), thread.run(fall), thread.run(lambda: 2), return_exceptions=True
    )
    assert (good, other) == (1, 2)
    assert isinstance(bad, KeyError)
    assert await answer == alone(model, asked)


async def test_a_call_that_nobody_awaits_any_more_harms_nobody(thread: ModelThread) -> None:
    gate = threading.Event()
    blocked = asyncio.create_task(thread.run(gate.wait))
    await asyncio.sleep(0)
    blocked.cancel()
    gate.set()
    assert await thread.run(lambda: "on") == "on"


async def test_a_broken_batch_fails_its_answers_and_the_thread_lives_on(
    thread: ModelThread, model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [request(model, prompt, 4000) for prompt in PROMPTS]
    streams = [thread.generate(one) for one in asked]
    for stream in streams:
        await anext(stream)
    monkeypatch.setattr(GenerationBatch, "_decode", broken)
    for stream in streams:
        assert await reason(stream) == "INTERNAL"
    monkeypatch.undo()
    assert await rows(thread) == 0
    again = request(model, PROMPTS[0])
    assert await text(thread, again) == alone(model, again)


async def test_a_prompt_that_breaks_its_batch_is_told_too(
    thread: ModelThread, model: LanguageModel
) -> None:
    bad = GenerationRequest("bad", (10**9,), None, SamplingParams(4))
    assert await reason(thread.generate(bad)) == "INTERNAL"
    good = request(model, PROMPTS[0])
    assert await text(thread, good) == alone(model, good)


async def test_trouble_before_work_is_the_callers_and_the_thread_lives_on(
    model: LanguageModel,
) -> None:
    troubles: list[Exception] = [OSError("the disk is gone")]

    def before_work() -> None:
        if troubles:
            raise troubles.pop()

    thread = ModelThread(model, before_work=before_work)
    with pytest.raises(OSError, match="the disk is gone"):
        await thread.run(lambda: 1)
    assert await thread.run(lambda: 2) == 2
    thread.close()


async def test_what_still_waits_when_the_thread_ends_is_refused_and_not_left_waiting(
    model: LanguageModel,
) -> None:
    began, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        began.set()
        may_end.wait()

    thread = ModelThread(model)
    first = asyncio.create_task(thread.run(hold))
    await asyncio.to_thread(began.wait)
    closing = asyncio.create_task(asyncio.to_thread(thread.close))
    await asyncio.sleep(0.05)
    late_call = asyncio.create_task(thread.run(lambda: 1))
    late_answer = asyncio.create_task(reason(thread.generate(request(model, PROMPTS[0]))))
    await asyncio.sleep(0.05)
    may_end.set()
    with pytest.raises(ServiceError, match="stops"):
        await late_call
    assert await late_answer == "SERVER_STOPPING"
    await asyncio.gather(first, closing)


async def test_a_call_that_was_taken_in_and_put_aside_still_counts_as_waiting(
    model: LanguageModel,
) -> None:
    thread, began, may_end = ModelThread(model), threading.Event(), threading.Event()

    def hold() -> None:
        began.set()
        may_end.wait()

    first = asyncio.create_task(thread.run(hold))
    await asyncio.to_thread(began.wait)
    second = asyncio.create_task(thread.run(lambda: thread.load.waiting))
    third = asyncio.create_task(thread.run(lambda: thread.load.waiting))
    await asyncio.sleep(0)  # until both are in the inbox
    may_end.set()
    assert await asyncio.gather(first, second, third) == [None, 1, 0]
    thread.close()


def broken(*_: Any) -> None:
    raise RuntimeError("out of memory")


async def reason(stream: AsyncIterator[Any]) -> str:
    """The reason of the service's error that ends a stream."""
    with pytest.raises(ServiceError) as caught:
        _ = [piece async for piece in stream]
    return caught.value.reason
