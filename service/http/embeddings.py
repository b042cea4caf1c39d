"""`/v1/embeddings`: texts to the vectors that the service itself searches with."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import fail, quoted
from service.http.wire import invalid, text
from service.limits import Limits

Embed = Callable[[Sequence[str]], Awaitable[NDArray[np.float32]]]
"""Texts to unit vectors [len(texts), dimension]."""

Admit = Callable[[int, float | None], AbstractContextManager[object]]
"""A place for work on so many tokens by a deadline, as `Admission.admit_beside` gives it."""

_OF_A_QUESTION = (
    16  # embedded tokens that take as long as one of a question (measured: 18 on a CPU)
)
_AT_ONCE = 16  # texts embedded between two steps of the answers under way


class Embeddings:
    """Embeds what a request asks for, in portions that let answers go on between them."""

    def __init__(self, embed: Embed, name: str, limits: Limits, admit: Admit) -> None:
        self._embed, self._name, self._limits, self._admit = embed, name, limits, admit

    async def answer(
        self,
        body: dict[str, Any],
        count_tokens: Callable[[str], int],
        deadline: float | None = None,
    ) -> dict[str, Any]:
        """The vectors of a request; `deadline` is in `time.monotonic()` seconds.

        Raises INVALID_VALUE, MODEL_NOT_FOUND, QUEUE_FULL, DEADLINE_TOO_SHORT, DEADLINE_PASSED.
        """
        texts = self._texts(body.get("input"))
        form = body.get("encoding_format") or "float"
        if form not in ("float", "base64"):
            raise invalid("encoding_format", "it is neither float nor base64; use one of them")
        if (name := text(body, "model")) != self._name:
            raise fail(
                "MODEL_NOT_FOUND",
                f"model: {quoted(name)} makes no embeddings here; name '{self._name}'",
                field="model",
            )
        tokens = await asyncio.to_thread(lambda: sum(map(count_tokens, texts)))
        with self._admit(max(1, tokens // _OF_A_QUESTION), deadline):
            vectors = np.concatenate([one async for one in self._portions(texts, deadline)])
        if body.get("dimensions") not in (None, vectors.shape[1]):
            raise invalid("dimensions", f"the vectors have {vectors.shape[1]}; leave it out")
        return {
            "object": "list",
            "model": name,
            "data": [
                {"object": "embedding", "index": place, "embedding": _encoded(vector, form)}
                for place, vector in enumerate(vectors)
            ],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }

    async def _portions(
        self, texts: Sequence[str], deadline: float | None
    ) -> AsyncIterator[NDArray[np.float32]]:
        for at in range(0, len(texts), _AT_ONCE):
            if deadline is not None and time.monotonic() >= deadline:
                raise fail(
                    "DEADLINE_PASSED",
                    f"the deadline passed after {at} of {len(texts)} texts; allow more time, or send "
                    "fewer texts at once",
                )
            yield await self._embed(texts[at : at + _AT_ONCE])

    def _texts(self, value: object) -> list[str]:
        texts = [value] if isinstance(value, str) else value
        most, longest = self._limits.max_embedding_texts, self._limits.max_question_chars
        if not isinstance(texts, list) or not texts:
            raise invalid("input", "it is neither a text nor a list of texts; give one")
        if len(texts) > most:
            raise invalid("input", f"there are {len(texts)} texts; give at most {most} at once")
        for place, one in enumerate(texts):
            if not isinstance(one, str) or not 0 < len(one) <= longest:
                raise invalid(f"input[{place}]", f"give a text of 1 to {longest} characters")
        return texts


def _encoded(vector: NDArray[np.float32], form: object) -> list[float] | str:
    if form == "float":
        return [float(value) for value in vector]
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
