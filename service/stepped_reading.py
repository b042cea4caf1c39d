"""Readings on the model's thread, a bounded piece a call: others have their turns between."""

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator

from retrieval.infini_retri import ReadingSettings, Steps
from retrieval.lines import Findings, Line
from retrieval.streaming import Reading, StreamingReader
from service.answers import ReadSoFar
from service.model_thread import ModelThread


async def take_steps(thread: ModelThread, steps: Steps, check: Callable[[], None]) -> Findings:
    """What comes of all the steps; `check` is called between them and may raise."""
    found = None
    while found is None:
        check()
        found = await thread.run(lambda: _step(steps))
    return found


class SteppedReading:
    """One question's way through one text."""

    def __init__(self, thread: ModelThread, reader: StreamingReader, question: str) -> None:
        self._thread, self._reader, self._question = thread, reader, question
        self._reading: Reading | None = None

    async def add(self, lines: Iterable[Line]) -> AsyncGenerator[ReadSoFar]:
        """Takes lines; says after every batch that was read how far it is."""
        reading, rest, full = await self._begun(), iter(lines), True
        while full:
            full = await self._thread.run(lambda: _add_batch(reading, rest))
            yield ReadSoFar(reading.num_lines, reading.num_tokens)

    async def finish(self, settings: ReadingSettings, check: Callable[[], None]) -> Findings:
        """Reads what waits, and the best lines again; `check` is called between the steps."""
        reading = await self._begun()
        return await take_steps(self._thread, reading.steps(0, settings), check)

    async def _begun(self) -> Reading:
        if self._reading is None:
            self._reading = await self._thread.run(lambda: self._reader.begin(self._question))
        return self._reading


def _add_batch(reading: Reading, lines: Iterator[Line]) -> bool:
    """Adds lines until a batch was read; False where they ended before."""
    return any(reading.add(line) for line in lines)


def _step(steps: Steps) -> Findings | None:
    """Takes one step; what came of all of them once there is none."""
    try:
        next(steps)
    except StopIteration as end:  # which no future may carry
        found: Findings = end.value
        return found
    return None
