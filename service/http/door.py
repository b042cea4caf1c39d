"""The HTTP door's life: refuse an open door, bind, serve beside gRPC, stop in order."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service.errors import ServiceError, fail
from service.file_errors import file_error
from service.http import chat, chat_request, errors, models
from service.http.body_room import BodyRoom
from service.http.deadline import deadline_of
from service.http.embeddings import Admit, Embed, Embeddings
from service.http.presence import until_gone
from service.http.request_room import HEALTH, RequestRoom
from service.http.wire import read_object
from service.limits import Limits
from service.listen_address import ListenAddress
from service.rpc.access import TOKEN_KEY, Access, open_to_all
from service.rpc.backend import Backend

Lend = Callable[[str, Mapping[str, str]], AbstractAsyncContextManager[Backend]]
"""By the gRPC method that a request stands for and its headers, what its caller may work on, until the
response is sent; raises ServiceError.
"""
Answer = Callable[[Request, Backend], Awaitable[Response]]
_ASK = "/longmemory.v1.QueryService/Query"
_LIST = "/longmemory.v1.CorpusService/ListCorpora"

_log = structlog.stdlib.get_logger("longmemory.http")


class DoorAddress(ListenAddress):
    """Where the door is."""

    NAME = "http"
    OPEN = "the door does not encrypt; listen on 127.0.0.1 behind a proxy, or set insecure"


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the process, which stops this server with the others."""
        yield


class HttpDoor:
    """The door of one service, started and stopped with its gRPC server."""

    def __init__(self, address: DoorAddress, app: Starlette) -> None:
        self._address, self._app = address, app
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        app.state.is_stopping = False

    async def start(self) -> str:
        """Binds and serves; the URL it answers at. Raises OSError where the address is taken."""
        address = self._address
        try:
            listener = socket.create_server((address.host, address.port), family=address.family)
        except OSError as error:
            raise OSError(
                f"cannot listen at {address.text} ({error.strerror}); choose another address"
            ) from error
        config = uvicorn.Config(
            self._app, lifespan="off", log_config=None, access_log=False, server_header=False
        )
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve([listener]))
        return address.url(listener.getsockname()[1])

    async def stop(self, drain_seconds: float, grace_seconds: float) -> None:
        """Says so at `/healthz`, lets answers end, and cuts what is left after the grace."""
        if self._server is None or self._serving is None:
            return
        self._app.state.is_stopping = True
        await asyncio.sleep(drain_seconds)
        self._server.config.timeout_graceful_shutdown = max(1, round(grace_seconds))
        self._server.should_exit = True
        await self._serving


class _Place:
    """Where one kind of request is answered: the caller's backend is held to the response's last byte,
    and errors have OpenAI's form and nothing of a traceback in them.
    """

    def __init__(self, lend: Lend, method: str, answer: Answer) -> None:
        self._lend, self._method, self._answer = lend, method, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        async with AsyncExitStack() as held:
            response = await self._respond(request, held)
            await response(scope, receive, send)

    async def _respond(self, request: Request, held: AsyncExitStack) -> Response:
        try:
            lent = self._lend(self._method, request.headers)
            return await self._answer(request, await held.enter_async_context(lent))
        except ServiceError as error:
            return errors.response(error)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as error:
            if known := file_error(error):
                return errors.response(known)
            _log.exception("request failed", path=request.url.path)
            return errors.response(fail("INTERNAL", "the server failed on this; its log tells why"))


def app(
    lend: Lend,
    embeddings: Embeddings,
    is_alive: Callable[[], bool],
    limits: Limits,
) -> Starlette:
    """The routes; `lend` sees every request but `/healthz`, `is_alive` tells of the model. `limits` say
    how many requests may be under way, and how large their bodies are together.
    """

    async def complete(request: Request, backend: Backend) -> Response:
        deadline = deadline_of(request.headers)
        backend.require_open(deadline)  # a long prompt is not read to be refused
        body = await read_object(request, backend.limits)
        asked = await asyncio.to_thread(chat_request.parse, body, backend.limits, deadline)
        return await chat.complete(backend, asked, request.receive)

    async def embed(request: Request, backend: Backend) -> Response:
        deadline = deadline_of(request.headers)
        body = await read_object(request, backend.limits)
        answer = embeddings.answer(body, backend.count_tokens, deadline)
        return JSONResponse(await until_gone(request.receive, answer))

    async def list_models(request: Request, backend: Backend) -> Response:
        return JSONResponse(await models.listing(backend))

    async def get_model(request: Request, backend: Backend) -> Response:
        return JSONResponse(await models.one(backend, request.path_params["model"]))

    async def healthz(request: Request) -> Response:
        if request.app.state.is_stopping or not is_alive():
            return JSONResponse({"status": "stopping"}, 503)
        return JSONResponse({"status": "ok"})

    def place(path: str, kind: str, method: str, answer: Answer) -> Route:
        return Route(path, _Place(lend, method, answer), methods=[kind])

    routes = [
        Route(HEALTH, healthz),
        place("/v1/models", "GET", _LIST, list_models),
        place("/v1/models/{model:path}", "GET", _LIST, get_model),
        place("/v1/chat/completions", "POST", _ASK, complete),
        place("/v1/embeddings", "POST", _ASK, embed),
    ]
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(RequestRoom, most_requests=limits.max_http_requests),
            Middleware(BodyRoom, most_bytes=limits.max_http_bytes_at_once),
        ],
        exception_handlers={HTTPException: _no_such_place},
    )


def beside(
    backend: Backend,
    embed: Embed,
    address: DoorAddress,
    access: Access | None = None,
    admit: Admit = lambda tokens, deadline: nullcontext(),
) -> HttpDoor:
    """The door of one server; it asks for the tokens that gRPC asks for, none without `access`, which
    opens the backend to all. What is to be embedded is let in by `admit`.
    """
    embeddings = Embeddings(embed, backend.info.embedder, backend.limits, admit)
    entrance = access or open_to_all(backend)

    @asynccontextmanager
    async def lend(method: str, headers: Mapping[str, str]) -> AsyncIterator[Backend]:
        given = headers.get(TOKEN_KEY)
        async with entrance.lend(method, [(TOKEN_KEY, given)] if given else []) as (_, backend):
            yield backend

    return HttpDoor(address, app(lend, embeddings, backend.is_alive, backend.limits))


async def _no_such_place(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    told = {"message": f"{request.method} {request.url.path}: {error.detail}", "param": None}
    told |= {"type": "invalid_request_error", "code": "NO_SUCH_PLACE"}
    return JSONResponse({"error": told}, error.status_code, error.headers)
