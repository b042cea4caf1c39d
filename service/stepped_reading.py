"""A streaming reading on the model's thread, one batch of windows a call: others have their turns."""

from collections.abc import AsyncGenerator, Iterable, Iterator

from retrieval.infini_retri import ReadingSettings
from retrieval.lines import Findings, Line
from retrieval.streaming import Reading, StreamingReader
from service.answers import ReadSoFar
from service.model_thread import ModelThread


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

    async def finish(self, settings: ReadingSettings) -> Findings:
        """Reads what waits, and the best lines again."""
        reading = await self._begun()
        return await self._thread.run(lambda: reading.finish(settings))

    async def _begun(self) -> Reading:
        if self._reading is None:
            self._reading = await self._thread.run(lambda: self._reader.begin(self._question))
        return self._reading


def _add_batch(reading: Reading, lines: Iterator[Line]) -> bool:
    """Adds lines until a batch was read; False where they ended before."""
    return any(reading.add(line) for line in lines)
