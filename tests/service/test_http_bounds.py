"""What the HTTP door bounds: requests, slow bodies, deadlines, embeddings; over a real socket."""

import asyncio
import errno
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from grpc_room import LIMITS, GrpcRoom, open_room
from numpy.typing import NDArray

from service.admission import Admission
from service.errors import fail
from service.http.door import DoorAddress, beside
from service.limits import Limits

ASKED: Any = [{"role": "user", "content": "Who?"}]
BODY = json.dumps({"model": "memory/books", "messages": ASKED}).encode()


@dataclass
class Bounds:
    """A door with an admission of its own, an embedder that can be held up, and clients."""

    grpc: GrpcRoom
    admission: Admission
    url: str
    client: openai.AsyncOpenAI
    plain: httpx2.AsyncClient
    may_embed: asyncio.Event
    embedded: list[list[str]] = field(default_factory=list)

    async def post(self, body: bytes = BODY, **headers: str) -> httpx2.Response:
        url = f"{self.url}/v1/chat/completions"
        return await self.plain.post(url, content=body, headers=headers)

    async def raw(self, *parts: bytes, place: str = "chat/completions") -> "Raw":
        """A connection that has sent the head of a request with a long body, and some of the body."""
        host, port = self.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /v1/{place} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n"
        for part in (head.encode(), *parts):
            writer.write(part)
            await writer.drain()
        return Raw(reader, writer)


@dataclass
class Raw:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> tuple[int, dict[str, Any]]:
        """The status and body of an answer behind which the connection is closed."""
        said = await asyncio.wait_for(self.reader.read(), 30)
        head, _, body = said.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


Open = Callable[..., Any]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    @asynccontextmanager
    async def room(**changes: int) -> AsyncIterator[Bounds]:
        limits: Limits = replace(LIMITS, **changes)
        may_embed = asyncio.Event()
        may_embed.set()
        embedded: list[list[str]] = []

        async def embed(texts: Sequence[str]) -> NDArray[np.float32]:
            embedded.append(list(texts))
            await may_embed.wait()
            return np.ones((len(texts), 2), dtype=np.float32)

        async with open_room(tmp_path) as grpc:
            await grpc.filled()
            admission = Admission(limits, 1)
            door = beside(
                replace(grpc.backend, limits=limits), embed, DoorAddress("127.0.0.1:0"),
                admit=admission.admit_beside,
            )  # fmt: skip
            url = await door.start()
            async with (
                openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
                httpx2.AsyncClient(timeout=30) as plain,
            ):
                yield Bounds(grpc, admission, url, client, plain, may_embed, embedded)
            await door.stop(0.0, 0.0)

    return room


async def happens(look: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not look():
            await asyncio.sleep(0.01)


async def test_requests_beyond_the_bound_are_told_to_come_again_and_health_is_not(
    opened: Open,
) -> None:
    async with opened(max_http_requests=2) as room:
        room.grpc.answerer.hang = True
        waiting = [asyncio.create_task(room.post()) for _ in range(2)]
        await happens(lambda: len(room.grpc.answerer.asked) == 2)
        refused = await room.post()
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "QUEUE_FULL"
        assert int(refused.headers["retry-after"]) >= 1
        assert (await room.plain.get(f"{room.url}/v1/models")).status_code == 429
        assert (await room.plain.get(f"{room.url}/healthz")).status_code == 200
        with pytest.raises(openai.RateLimitError):
            await room.client.chat.completions.create(model="memory/books", messages=ASKED)
        for task in waiting:
            task.cancel()
        room.grpc.answerer.hang = False
        await happens_soon(room.post, 200)


async def happens_soon(post: Callable[[], Awaitable[httpx2.Response]], status: int) -> None:
    async with asyncio.timeout(20):
        while (await post()).status_code != status:
            await asyncio.sleep(0.01)


async def test_bodies_that_are_still_coming_count_as_requests(opened: Open) -> None:
    async with opened(max_http_requests=1) as room:
        sender = await room.raw(b"{")
        await happens_soon(room.post, 429)
        await sender.close()
        await happens_soon(room.post, 200)


@pytest.mark.parametrize("place", ["chat/completions", "embeddings"])
async def test_who_sends_a_body_slowly_is_dropped(opened: Open, place: str) -> None:
    async with opened(sender_seconds=1) as room:
        sender = await room.raw(b"{", place=place)

        async def trickle() -> None:
            while True:
                await asyncio.sleep(0.1)
                sender.writer.write(b" ")

        began = time.monotonic()
        trickling = asyncio.create_task(trickle())
        status, told = await sender.answer()
        trickling.cancel()
        assert time.monotonic() - began >= 0.9
        assert (status, told["error"]["code"]) == (408, "BODY_TOO_SLOW")
        assert "1 seconds" in told["error"]["message"]
        await sender.close()
        assert (await room.post()).status_code == 200


async def test_a_long_answer_is_no_slow_body(opened: Open) -> None:
    async with opened(sender_seconds=1) as room:
        room.grpc.answerer.hang = True
        asking = asyncio.create_task(room.post())
        await asyncio.sleep(1.5)
        assert not asking.done()
        asking.cancel()


async def test_the_timeout_of_openais_client_is_the_deadline(opened: Open) -> None:
    async with opened() as room:
        await room.client.chat.completions.create(
            model="memory/books", messages=ASKED, timeout=77.0
        )
        await room.client.chat.completions.create(
            model="memory", messages=[{"role": "user", "content": "A lamp.\n\nWho?"}], timeout=88.0
        )
        texts: Any = room.grpc.backend.text_answerer
        for question, seconds in ((room.grpc.answerer.asked[0], 77), (texts.asked[0], 88)):
            assert question.deadline - time.monotonic() == pytest.approx(seconds, abs=20)
            assert question.deadline - time.monotonic() <= seconds
        await room.post(**{"x-stainless-timeout": "99"})  # as the JavaScript client says it
        assert room.grpc.answerer.asked[1].deadline - time.monotonic() > 60
        await room.post()
        assert room.grpc.answerer.asked[2].deadline is None


@pytest.mark.parametrize("given", ["soon", "0", "-1", "nan", "inf"])
async def test_a_timeout_that_is_none_is_refused_by_its_header(opened: Open, given: str) -> None:
    async with opened() as room:
        answer = await room.post(**{"x-stainless-read-timeout": given})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, "INVALID_VALUE")
        assert error["param"] == "x-stainless-read-timeout"


async def test_a_deadline_that_is_too_short_is_a_504_with_a_time(opened: Open) -> None:
    async with opened() as room:
        refusal = fail("DEADLINE_TOO_SHORT", "allow more", retry_after_seconds=3.0)
        room.grpc.answerer.error = refusal
        answer = await room.post()
        assert answer.status_code == 504
        assert answer.headers["retry-after"] == "3"


async def test_embeddings_are_let_in_as_questions_are(opened: Open) -> None:
    async with opened(max_queue=1) as room:
        with room.admission.admit(100):
            with pytest.raises(openai.RateLimitError) as caught:
                await room.client.embeddings.create(model="toy-embedder", input="a")
            assert caught.value.code == "QUEUE_FULL"
            assert int(caught.value.response.headers["retry-after"]) >= 1
        assert room.embedded == []
        room.may_embed.clear()
        first = asyncio.ensure_future(
            room.client.embeddings.create(model="toy-embedder", input=["word " * 19] * 17)
        )
        await happens(lambda: room.embedded or first.done())
        assert (room.admission.load.questions, room.admission.load.tokens) == (1, 20)
        room.may_embed.set()
        await first
        assert room.admission.under_way == 0


async def test_embeddings_with_a_deadline_shorter_than_the_wait_are_refused(opened: Open) -> None:
    async with opened() as room:
        with room.admission.admit(5000):
            with pytest.raises(openai.InternalServerError) as caught:
                await room.client.embeddings.create(model="toy-embedder", input="a", timeout=2.0)
            assert caught.value.code == "DEADLINE_TOO_SHORT"  # type: ignore[comparison-overlap]
        assert room.embedded == []


async def test_embedding_stops_between_two_portions_once_the_deadline_has_passed(
    opened: Open,
) -> None:
    async with opened() as room:
        room.may_embed.clear()
        body = {"model": "toy-embedder", "input": ["a"] * 40}
        asking = asyncio.ensure_future(
            room.plain.post(
                f"{room.url}/v1/embeddings", json=body, headers={"x-stainless-timeout": "0.5"}
            )
        )
        await happens(lambda: room.embedded)
        await asyncio.sleep(0.6)
        room.may_embed.set()
        answer = await asking
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "DEADLINE_PASSED")
        assert "after 16 of 40 texts" in answer.json()["error"]["message"]
        assert len(room.embedded) == 1
        assert room.admission.under_way == 0


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_full_disk_is_a_507(opened: Open, is_streamed: bool) -> None:
    async with opened() as room:
        room.grpc.answerer.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        body = json.dumps({"model": "memory/books", "messages": ASKED, "stream": is_streamed})
        answer = await room.post(body.encode())
        assert answer.status_code == 507
        assert answer.json()["error"]["code"] == "DISK_FULL"
        assert "free some space" in answer.json()["error"]["message"]


async def test_a_disk_that_fills_up_amid_a_stream_is_told_in_it(opened: Open) -> None:
    async with opened() as room:
        room.grpc.answerer.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        room.grpc.answerer.error_at = 3
        stream = await room.client.chat.completions.create(
            model="memory/books", messages=ASKED, stream=True
        )
        with pytest.raises(openai.APIError) as caught:
            _ = [chunk async for chunk in stream]
        assert caught.value.code == "DISK_FULL"
