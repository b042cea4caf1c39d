"""OpenAI's API as OpenAI's own client sees it, over a real socket, and raw where no client would go."""

import asyncio
import base64
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import httpx2
import numpy as np
import openai
import pytest
from grpc_room import LIMITS, SPAN, GrpcRoom, open_room
from numpy.typing import NDArray
from process_room import PATIENCE, Server, serving, until

from service.answers import Route
from service.errors import fail
from service.http import chat_request
from service.http.door import DoorAddress, HttpDoor, beside
from service.rpc.access import guarded, only
from service.rpc.server import ServerConfig, serve
from service.tokens import Role, TokenFile

ASKED: Any = [{"role": "user", "content": "Who?"}]
VECTORS = np.array([[0.6, 0.8], [0.0, 1.0]], dtype=np.float32)


@dataclass
class HttpRoom:
    """A door with its backend, OpenAI's client and a plain one."""

    grpc: GrpcRoom
    door: HttpDoor
    url: str
    client: openai.AsyncOpenAI
    plain: httpx2.AsyncClient
    embedded: list[list[str]]

    async def post(self, body: bytes, place: str = "chat/completions") -> httpx2.Response:
        return await self.plain.post(f"{self.url}/v1/{place}", content=body)

    async def ask(self, model: str = "memory/books", **more: Any) -> Any:
        return await self.client.chat.completions.create(
            **({"model": model, "messages": ASKED} | more)
        )


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[HttpRoom]:
    embedded: list[list[str]] = []

    async def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        embedded.append(list(texts))
        return VECTORS[np.arange(len(texts)) % 2]

    async with open_room(tmp_path) as opened:
        await opened.filled()
        limits = replace(LIMITS, max_http_bytes=300_000, max_http_bytes_at_once=350_000)
        backend = replace(opened.backend, limits=limits, is_alive=lambda: opened.backend.is_alive())
        door = beside(backend, embed, DoorAddress("127.0.0.1:0"))
        url = await door.start()
        async with (
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
            httpx2.AsyncClient(timeout=30) as plain,
        ):
            yield HttpRoom(opened, door, url, client, plain, embedded)
        await door.stop(0.0, 0.0)


async def test_models_are_the_corpora_the_embedder_and_the_text_in_the_prompt(
    room: HttpRoom,
) -> None:
    names = [model.id async for model in room.client.models.list()]
    assert names == ["memory", "toy-embedder", "memory/books"]
    assert (await room.client.models.retrieve("memory/books")).id == "memory/books"
    for name in ("memory/none", "gpt-4"):
        with pytest.raises(openai.NotFoundError) as caught:
            await room.client.models.retrieve(name)
        assert caught.value.param == "model"


async def test_a_completion_carries_the_answer_and_how_it_was_found(room: HttpRoom) -> None:
    raw = await room.client.chat.completions.with_raw_response.create(
        model="memory/books", messages=[{"role": "system", "content": "Be brief."}, *ASKED],
        max_tokens=9, temperature=0.5, seed=3, stop=["END"],
        extra_body={"longmemory": {"route": "cartridge", "max_prompt_tokens": 512}},
    )  # fmt: skip
    assert raw.headers["x-longmemory-route"] == "cartridge"
    said = raw.parse()
    (choice,) = said.choices
    assert (choice.message.content, choice.finish_reason) == ("Once upon", "stop")
    assert said.usage is not None
    told = (said.usage.prompt_tokens, said.usage.completion_tokens, said.usage.total_tokens)
    assert told == (12, 2, 14)
    assert said.usage.prompt_tokens_details is not None
    assert said.usage.prompt_tokens_details.cached_tokens == 7
    memory = said.model_extra["longmemory"]
    assert (memory["route"], memory["reason"]) == ("cartridge", "CARTRIDGE_READY")
    assert memory["unread_messages"] == 1
    assert memory["evidence"][0] == {
        "document": SPAN.document, "start": 0, "end": 4, "score": 0.5, "text": "Once"
    }  # fmt: skip
    (question,) = room.grpc.answerer.asked
    assert (question.text, question.route) == ("Who?", Route.CARTRIDGE)
    assert question.max_prompt_tokens == 512
    sampling = question.sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.seed) == (9, 0.5, 3)
    assert sampling.stop == ("END",)


async def test_a_stream_tells_the_route_first_and_what_it_took_last(room: HttpRoom) -> None:
    asked = {"stream": True, "stream_options": {"include_usage": True}, "messages": ASKED}
    async with room.client.chat.completions.with_streaming_response.create(
        model="memory/books", **asked
    ) as raw:
        assert raw.headers["x-longmemory-route"] == "cartridge"
        assert "content-length" not in raw.headers
        lines = [line async for line in raw.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    chunks = [chunk async for chunk in await room.ask(**asked)]
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert texts == ["", "Once ", "upon", None]
    ended, used = chunks[-2:]
    assert ended.choices[0].finish_reason == "stop"
    assert ended.model_extra["longmemory"]["evidence"][0]["text"] == "Once"
    assert used.usage.total_tokens == 14
    without = [chunk async for chunk in await room.ask(stream=True)]
    assert [chunk.usage for chunk in without] == [None] * 4


async def test_a_text_in_the_prompt_is_read_and_what_follows_its_last_blank_line_asked(
    room: HttpRoom,
) -> None:
    text = "A lamp.\n\nA ferry. " + "é" * 100_000
    said = await room.ask("memory", messages=[{"role": "user", "content": f"{text}\n \nWho?\n"}])
    assert said.choices[0].message.content == "Once"
    assert said.model_extra["longmemory"]["read"]
    answerer: Any = room.grpc.backend.text_answerer
    assert "".join(answerer.read) == text
    assert len(answerer.read) == 2
    assert answerer.asked[0].text == "Who?"
    with pytest.raises(openai.BadRequestError) as caught:
        await room.ask("memory")
    assert (caught.value.code, caught.value.param) == ("TEXT_EMPTY", "messages")


async def test_embeddings_come_as_numbers_and_as_base64(room: HttpRoom) -> None:
    told = await room.client.embeddings.create(
        model="toy-embedder", input=["a b", "c"], encoding_format="float"
    )
    assert [one.embedding for one in told.data] == [pytest.approx([0.6, 0.8]), [0.0, 1.0]]
    assert told.usage.prompt_tokens == 3
    # Unasked, OpenAI's client wants base64 and unpacks it.
    assert (await room.client.embeddings.create(model="toy-embedder", input="a")).data[
        0
    ].embedding == pytest.approx([0.6, 0.8])
    body = b'{"model": "toy-embedder", "input": "a", "encoding_format": "base64"}'
    (one,) = (await room.post(body, "embeddings")).json()["data"]
    assert base64.b64decode(one["embedding"]) == VECTORS[0].tobytes()


async def test_many_texts_are_embedded_in_portions_and_in_their_order(room: HttpRoom) -> None:
    texts = [str(number) for number in range(35)]
    told = await room.client.embeddings.create(model="toy-embedder", input=texts)
    assert [len(one) for one in room.embedded] == [16, 16, 3]
    assert [text for batch in room.embedded for text in batch] == texts
    assert [one.index for one in told.data] == list(range(35))
    with pytest.raises(openai.BadRequestError) as caught:
        await room.client.embeddings.create(model="toy-embedder", input=texts * 10)
    assert caught.value.param == "input"
    with pytest.raises(openai.NotFoundError):
        await room.client.embeddings.create(model="memory/books", input="a")


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_corpus_that_is_not_there_is_a_404_for_its_model(
    room: HttpRoom, is_streamed: bool
) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await room.ask("memory/none", stream=is_streamed)
    assert (caught.value.code, caught.value.param) == ("CORPUS_NOT_FOUND", "model")
    assert room.grpc.answerer.asked == []


async def test_a_cartridge_that_is_not_there_is_named(room: HttpRoom) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await room.ask(extra_body={"longmemory": {"cartridge": "cart-one"}})
    assert caught.value.code == "CARTRIDGE_NOT_FOUND"
    assert caught.value.param == "longmemory.cartridge"


FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"colour": "red"}, "colour"),
    ({"tools": [{"type": "function"}]}, "tools"),
    ({"n": 2}, "n"),
    ({"max_tokens": 10**6}, "max_tokens"),
    ({"temperature": "warm"}, "temperature"),
    ({"stream": 1}, "stream"),
    ({"messages": []}, "messages"),
    ({"messages": [*ASKED, {"role": "assistant", "content": "I."}]}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
    ({"longmemory": {"route": "bus"}}, "longmemory.route"),
    ({"longmemory": {"route": "decline"}}, "longmemory.route"),
    ({"longmemory": {"colour": "red"}}, "longmemory.colour"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "param"), FIELDS)
async def test_a_field_with_a_wrong_value_is_named(
    room: HttpRoom, change: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await room.ask(extra_body=change)
    assert (caught.value.code, caught.value.param) == ("INVALID_VALUE", param)
    assert caught.value.type == "invalid_request_error"


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b'{"model": "\xff"}', 400, "UTF-8 at byte 11"),
        (b"[" * 100_000, 400, "nested"),
        (b'{"a": ' * 20_000 + b"1" + b"}" * 20_000, 400, "nested"),
        (rb'{"model": "memory/books", "user": "\ud800"}', 400, "surrogate"),
        (b'{"model": NaN}', 400, "JSON"),
        (b"", 400, "JSON"),
        (b"[]", 400, "object"),
        (b" " * 300_001, 413, "register"),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused_in_openais_form(
    room: HttpRoom, body: bytes, status: int, told: str
) -> None:
    answer = await room.post(body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (status, None)
    assert told in error["message"]
    assert error["type"] == "invalid_request_error"
    assert error["code"] == ("INVALID_VALUE" if status == 400 else "REQUEST_TOO_LARGE")


async def test_a_place_that_is_not_there_is_told_in_openais_form(room: HttpRoom) -> None:
    assert (await room.post(b"{}", "completions")).json()["error"]["code"] == "NO_SUCH_PLACE"
    assert (await room.plain.get(f"{room.url}/v1/embeddings")).status_code == 405


def test_a_text_of_blank_lines_alone_costs_no_memory_for_each() -> None:
    body = {
        "model": "memory",
        "messages": [{"role": "user", "content": "a" + "\n \n" * 10**6 + "b"}],
    }
    asked = chat_request.parse(body, LIMITS)
    assert (asked.text[:2], asked.question.text) == ("a\n", "b")


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_full_queue_is_a_429_that_says_when_to_come_back(
    room: HttpRoom, is_streamed: bool
) -> None:
    room.grpc.answerer.error = fail("QUEUE_FULL", "full; wait", retry_after_seconds=7.0)
    with pytest.raises(openai.RateLimitError) as caught:
        await room.ask(stream=is_streamed)
    assert caught.value.code == "QUEUE_FULL"
    assert caught.value.response.headers["retry-after"] == "7"


async def test_bodies_that_are_too_large_together_are_told_to_come_again(room: HttpRoom) -> None:
    body = b'{"model":"memory/books","messages":[{"role":"user","content":"Who?"}],"user":"'
    body += b"x" * 200_000 + b'"}'
    room.grpc.answerer.hang = True
    first = asyncio.create_task(room.post(body))
    while not room.grpc.answerer.asked:
        await asyncio.sleep(0.01)
    refused = await room.post(body)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "QUEUE_FULL"
    assert int(refused.headers["retry-after"]) >= 1
    first.cancel()
    await asyncio.wait_for(room.grpc.answerer.closed.wait(), 5)
    room.grpc.answerer.hang = False
    while (again := await room.post(body)).status_code == 429:
        await asyncio.sleep(0.01)
    assert again.status_code == 200


async def test_an_error_within_a_stream_reaches_the_client_as_one(room: HttpRoom) -> None:
    for error, code in ((fail("SERVER_STOPPING", "it stops"), "SERVER_STOPPING"),
                        (RuntimeError("a secret"), "INTERNAL")):  # fmt: skip
        room.grpc.answerer.error, room.grpc.answerer.error_at = error, 3
        with pytest.raises(openai.APIError) as caught:
            _ = [chunk async for chunk in await room.ask(stream=True)]
        assert caught.value.code == code
        assert "secret" not in caught.value.message
    room.grpc.answerer.error_at = 0
    with pytest.raises(openai.InternalServerError) as whole:
        await room.ask()
    assert (whole.value.code, "secret" in whole.value.message) == ("INTERNAL", False)


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_client_that_leaves_stops_the_generation(
    room: HttpRoom, is_streamed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    answerer = room.grpc.answerer
    answerer.hang = True
    asking = asyncio.ensure_future(room.ask(stream=is_streamed))
    if is_streamed:
        stream = await asking
        assert (await anext(stream)).choices[0].delta.role == "assistant"
        assert not answerer.closed.is_set()
        await stream.close()
    else:
        await asyncio.to_thread(until, lambda: answerer.asked, "the question")
        assert not answerer.closed.is_set()
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
    await asyncio.wait_for(answerer.closed.wait(), 10)
    answerer.hang = False
    assert (await room.ask()).choices[0].message.content == "Once upon"
    assert "Traceback" not in caplog.text  # a client that leaves is no news


async def test_health_tells_of_the_model_and_of_the_end(room: HttpRoom) -> None:
    async def status() -> int:
        return (await room.plain.get(f"{room.url}/healthz")).status_code

    assert await status() == 200
    object.__setattr__(room.grpc.backend, "is_alive", lambda: False)
    assert await status() == 503
    object.__setattr__(room.grpc.backend, "is_alive", lambda: True)
    stopping = asyncio.ensure_future(room.door.stop(1.0, 0.0))
    await asyncio.sleep(0)  # until it drains
    assert await status() == 503
    await stopping
    with pytest.raises(httpx2.ConnectError):
        await status()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:x", "0.0.0.0:80", ":80", "a:99999"])
def test_an_address_that_is_none_or_open_to_all_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="http is"):
        DoorAddress(address)


async def test_a_taken_address_ends_the_server_in_order(room: HttpRoom) -> None:
    taken = DoorAddress(room.url.removeprefix("http://"))
    door = beside(room.grpc.backend, None, taken)  # type: ignore[arg-type]
    app = _App(room.grpc.backend)
    unix = f"unix:{room.grpc.backend.uploads._folder}.socket"
    with pytest.raises(OSError, match="choose another"):
        await serve(ServerConfig(unix), app, companion=door)
    assert app.closed == 1
    async with grpc.aio.insecure_channel(unix) as channel:
        assert channel.get_state(try_to_connect=True) is not grpc.ChannelConnectivity.READY
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary("/grpc.health.v1.Health/Check")(b"")


@pytest.mark.parametrize("is_told", [True, False])
async def test_the_door_closes_with_the_server(room: HttpRoom, is_told: bool) -> None:
    is_alive = True
    backend = replace(room.grpc.backend, is_alive=lambda: is_alive)
    door, app = beside(backend, None, DoorAddress("127.0.0.1:0")), _App(backend)  # type: ignore[arg-type]
    ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    ends = asyncio.ensure_future(
        serve(ServerConfig("127.0.0.1:0", grace_seconds=1.0), app, ready.set_result, companion=door)
    )
    url = (await ready).beside
    assert (await room.plain.get(f"{url}/healthz")).status_code == 200
    if is_told:
        os.kill(os.getpid(), signal.SIGTERM)
        await ends
    else:
        is_alive = False
        assert (await room.plain.get(f"{url}/healthz")).status_code == 503
        with pytest.raises(Exception, match="thread died"):
            await ends
    with pytest.raises(httpx2.ConnectError):
        await room.plain.get(f"{url}/healthz")
    assert app.closed == 1


@dataclass
class _App:
    backend: Any
    closed: int = 0

    def close(self) -> None:
        self.closed += 1


@pytest.mark.process
def test_a_process_answers_openais_client_and_ends_well(
    tmp_path: Path, model_folder: Path, sources: dict[str, str]
) -> None:
    data = tmp_path / "data"
    with serving(data, model_folder, more=("--http", "127.0.0.1:0")) as server:
        server.succeed(server.register("notes", sources))
        url = until(lambda: _door_of(server), "the door")
        with openai.OpenAI(base_url=url, api_key="none") as client:
            said = client.chat.completions.create(
                model="memory/notes", messages=ASKED, max_tokens=6,
                extra_body={"longmemory": {"route": "infini_retri"}},
            )  # fmt: skip
            assert said.usage is not None
            assert said.usage.completion_tokens > 0
            assert said.model_extra is not None
            assert said.model_extra["longmemory"]["route"] == "infini_retri"
            vectors = client.embeddings.create(model="all-minilm-l6-v2", input=["a lamp", "a tide"])
            lengths = [np.linalg.norm(one.embedding) for one in vectors.data]
            assert lengths == pytest.approx([1.0, 1.0], abs=1e-4)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
    assert "Traceback" not in data.with_suffix(".server.out").read_text()


def _door_of(server: Server) -> str:
    said = server.data.with_suffix(".server.out").read_text()
    found = re.search(r"^OpenAI's API at (\S+)$", said, re.MULTILINE)
    return found[1] if found else ""


async def test_the_door_asks_for_the_tokens_that_grpc_asks_for(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path)
    _, secret = tokens.add("default", Role.READ, "reader")
    async with open_room(tmp_path) as opened:
        await opened.filled()
        access = guarded(only(opened.backend), tokens, None)
        door = beside(opened.backend, None, DoorAddress("127.0.0.1:0"), access)  # type: ignore[arg-type]
        url = await door.start()
        for key, refusal in (("none", openai.AuthenticationError), (secret, None)):
            async with openai.AsyncOpenAI(
                base_url=f"{url}/v1", api_key=key, max_retries=0
            ) as client:
                asked = client.chat.completions.create(model="memory/books", messages=ASKED)
                if refusal is None:
                    assert (await asked).choices[0].message.content
                    assert (await client.models.list()).data
                else:
                    with pytest.raises(refusal) as caught:
                        await asked
                    assert caught.value.body["code"] == "TOKEN_INVALID"  # type: ignore[index]
        await door.stop(0.0, 0.0)
