"""Texts that are not registered: read as they come, then answered from; nothing of them is kept."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from engine.sampling import SamplingParams
from retrieval.corpus_index import Evidence
from retrieval.lines import Findings
from retrieval.text_stream import TextStream
from service.admission import Admission, tokens_asked
from service.answers import Delta, ReadSoFar, Summary
from service.errors import fail
from service.generating import Times, generate
from service.model_thread import ModelThread
from service.prompt_room import PromptRoom
from service.routes import Budget, Routes
from service.stepped_reading import SteppedReading
from service.telemetry.call import span

TextEvent = ReadSoFar | tuple[Evidence, ...] | Delta | Summary


@dataclass(frozen=True, slots=True)
class TextQuestion:
    """A validated question to a text that comes with it. `deadline` is in `time.monotonic()` seconds."""

    text: str
    max_prompt_tokens: int = 0
    sampling: SamplingParams = field(default_factory=SamplingParams)
    deadline: float | None = None


class TextAnswerer:
    """Answers questions about texts that come with them, by the streaming reader."""

    def __init__(
        self, routes: Routes, thread: ModelThread, room: PromptRoom, admission: Admission
    ) -> None:
        self._routes, self._thread = routes, thread
        self._room, self._admission = room, admission

    async def answer(
        self, question: TextQuestion, text: AsyncIterator[str]
    ) -> AsyncGenerator[TextEvent]:
        """How far the reading is, then evidence, text and summary; closing the iterator ends it all.

        Raises:
            ServiceError: QUEUE_FULL, DEADLINE_TOO_SHORT, DEADLINE_PASSED, QUESTION_TOO_LONG,
                TEXT_EMPTY.
        """
        arrived = time.monotonic()
        sampling = question.sampling
        asked = tokens_asked(
            question.text, self._room.evidence, question.max_prompt_tokens, sampling.max_tokens
        )
        with self._admission.admit(asked, question.deadline):
            _, budget = self._room.of(
                question.text, question.max_prompt_tokens, sampling.max_tokens
            )
            reader = self._routes.readers.streaming
            began = time.monotonic()
            reading = SteppedReading(self._thread, reader, question.text)
            tokens = 0
            with span("prepare") as told:
                async for step in self._read(reading, text):
                    tokens = step.tokens
                    _check_deadline(question, tokens)
                    yield step
                found = await self._finish(
                    reading, budget, lambda: _check_deadline(question, tokens)
                )
                told["text_tokens"] = tokens
            prepared = self._routes.from_text(found, question.text)
            yield prepared.evidence
            times = Times(arrived, began, time.monotonic())
            generating = generate(self._thread, prepared, sampling, times)
            with span("generate"):
                async with aclosing(generating) as events:
                    async for event in events:
                        yield event

    async def _read(
        self, reading: SteppedReading, text: AsyncIterator[str]
    ) -> AsyncGenerator[ReadSoFar]:
        stream = TextStream()
        async for piece in text:
            # Cutting a large piece takes a while, which is no work for the event loop.
            async for step in reading.add(await asyncio.to_thread(stream.add, piece)):
                yield step
        async for step in reading.add(await asyncio.to_thread(stream.finish)):
            yield step

    async def _finish(
        self, reading: SteppedReading, budget: Budget, check: Callable[[], None]
    ) -> Findings:
        found = await reading.finish(self._routes.reading_settings(budget), check)
        if not found.lines:
            raise fail("TEXT_EMPTY", "the text has no sentence; send some text behind the question")
        return found


def _check_deadline(question: TextQuestion, tokens: int) -> None:
    if question.deadline is not None and time.monotonic() >= question.deadline:
        raise fail(
            "DEADLINE_PASSED",
            f"the deadline passed after {tokens} tokens of the text were read; "
            "give more time, or register the text as a corpus",
        )
