"""A prepared prompt to the events of its answer."""

import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from engine.answer_row import FinishReason, GenerationRequest
from engine.sampling import SamplingParams
from service.answers import Delta, Summary, Usage
from service.model_thread import ModelThread
from service.routes import PreparedContext


@dataclass(frozen=True, slots=True)
class Times:
    """When a question arrived, when its turn came, and when its prompt was ready; monotonic seconds."""

    arrived: float
    began: float
    ready: float


async def generate(
    thread: ModelThread, prepared: PreparedContext, sampling: SamplingParams, times: Times
) -> AsyncGenerator[Delta | Summary]:
    """The text of an answer as it comes, and last what it cost; closing the iterator ends it."""
    if prepared.said:
        yield Delta(prepared.said, ())
        yield _summary(prepared, times, FinishReason.STOP, 0, time.monotonic() - times.arrived)
        return
    lead = prepared.lead.text
    sampling = replace(sampling, stop=(*sampling.stop, *prepared.lead.stop))
    request = GenerationRequest(
        uuid.uuid4().hex, prepared.prompt, prepared.prefix, sampling, prepared.quoted
    )
    first, tokens, finish = 0.0, 0, FinishReason.STOP
    told: tuple[int, ...] = ()  # tokens whose text has not come yet
    held = ""
    async with aclosing(thread.generate(request)) as portions:
        async for piece in portions:
            first = first or time.monotonic() - times.arrived
            tokens += len(piece.tokens)
            told += piece.tokens
            finish = piece.finish or finish
            text = held + piece.text
            held = text[len(text.rstrip()) :]  # no answer ends in white space
            if text := text.removesuffix(held):
                yield Delta(f"{lead} {text.lstrip()}" if lead else text, told)
                lead, told = "", ()
    yield _summary(prepared, times, finish, tokens, first)


def _summary(
    prepared: PreparedContext, times: Times, finish: FinishReason, tokens: int, first: float
) -> Summary:
    usage = Usage(
        prompt_tokens=len(prepared.prompt),
        prefix_tokens=prepared.prefix.length if prepared.prefix else 0,
        output_tokens=tokens,
        queue_seconds=times.began - times.arrived,
        prepare_seconds=times.ready - times.began,
        first_token_seconds=first,
        total_seconds=time.monotonic() - times.arrived,
    )
    return Summary(finish, usage)
