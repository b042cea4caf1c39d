"""What is kept in memory, asked for from outside the model's thread."""

from cartridges.manifest import CartridgeError
from service.errors import fail
from service.library import Library, Loaded
from service.model_thread import ModelThread
from service.state.cartridge_shelf import CartridgeRecord


class Residents:
    """Loads and drops cartridges ahead of their questions."""

    def __init__(self, library: Library, thread: ModelThread, limit_bytes: int) -> None:
        self._library, self._thread, self.limit_bytes = library, thread, limit_bytes

    async def warm(self, record: CartridgeRecord, part: int) -> Loaded:
        """Loads a part of a cartridge.

        Raises:
            ServiceError: CARTRIDGE_NOT_READY while there are no tensors to load, or why they are
                refused.
        """
        if not record.has_tensors:
            raise fail(
                "CARTRIDGE_NOT_READY",
                f"cartridge {record.id} is {record.state.value.lower()}; wait for its job, or train "
                "it again",
                field="name",
            )
        try:
            return await self._thread.run(
                lambda: self._library.part(record.corpus_id, record.id, record.tensor_digest, part)
            )
        except CartridgeError as error:
            raise fail(error.reason, str(error), field="name") from error

    async def evict(self, corpus_id: str, cartridge_id: str = "") -> int:
        """Drops a cartridge, or all of a corpus; how many parts were in memory."""
        return await self._thread.run(lambda: self._library.evict(corpus_id, cartridge_id))

    async def all(self) -> tuple[Loaded, ...]:
        """What is in memory, the least used first."""
        return await self._thread.run(self._library.resident)
