"""The HTTP door's life: refuse an open door, bind, serve beside gRPC, stop in order."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

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

Authorize = Callable[[str, Mapping[str, str]], Awaitable[Backend]]
"""The gRPC method that a request stands for and its headers, to what its caller may work on; raises
ServiceError.
"""
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


def app(
    authorize: Authorize,
    embeddings: Callable[[Backend], Embeddings],
    is_alive: Callable[[], bool],
    limits: Limits,
) -> Starlette:
    """The routes; `authorize` sees every request but `/healthz`, `is_alive` tells of the model. `limits`
    say how many requests may be under way, and how large their bodies are together.
    """

    async def complete(request: Request) -> Response:
        backend = await authorize(_ASK, request.headers)
        deadline = deadline_of(request.headers)
        backend.require_open(deadline)  # a long prompt is not read to be refused
        body = await read_object(request, backend.limits)
        asked = await asyncio.to_thread(chat_request.parse, body, backend.limits, deadline)
        return await chat.complete(backend, asked, request.receive)

    async def embed(request: Request) -> Response:
        backend = await authorize(_ASK, request.headers)
        deadline = deadline_of(request.headers)
        body = await read_object(request, backend.limits)
        answer = embeddings(backend).answer(body, backend.count_tokens, deadline)
        return JSONResponse(await until_gone(request.receive, answer))

    async def list_models(request: Request) -> Response:
        return JSONResponse(await models.listing(await authorize(_LIST, request.headers)))

    async def get_model(request: Request) -> Response:
        name = request.path_params["model"]
        return JSONResponse(await models.one(await authorize(_LIST, request.headers), name))

    async def healthz(request: Request) -> Response:
        if request.app.state.is_stopping or not is_alive():
            return JSONResponse({"status": "stopping"}, 503)
        return JSONResponse({"status": "ok"})

    routes = [
        Route(HEALTH, healthz),
        Route("/v1/models", _told(list_models)),
        Route("/v1/models/{model:path}", _told(get_model)),
        Route("/v1/chat/completions", _told(complete), methods=["POST"]),
        Route("/v1/embeddings", _told(embed), methods=["POST"]),
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
    """The door to one backend; it asks for the tokens that gRPC asks for, none without `access`. What is
    to be embedded is let in by `admit`.
    """
    embeddings = Embeddings(embed, backend.info.embedder, backend.limits, admit)
    entrance = access or open_to_all(backend)

    async def authorize(method: str, headers: Mapping[str, str]) -> Backend:
        given = headers.get(TOKEN_KEY)
        caller = entrance.caller(method, [(TOKEN_KEY, given)] if given else [])
        async with entrance.use(caller.tenant) as lent:
            return lent

    return HttpDoor(
        address,
        app(
            authorize,
            lambda backend: embeddings,
            backend.is_alive,
            backend.limits,
        ),
    )


def _told(
    handle: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """The handler, with its errors in OpenAI's form and nothing of a traceback in them."""

    async def handled(request: Request) -> Response:
        try:
            return await handle(request)
        except ServiceError as error:
            return errors.response(error)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as error:
            if known := file_error(error):
                return errors.response(known)
            _log.exception("request failed", path=request.url.path)
            return errors.response(fail("INTERNAL", "the server failed on this; its log tells why"))

    return handled


async def _no_such_place(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    told = {"message": f"{request.method} {request.url.path}: {error.detail}", "param": None}
    told |= {"type": "invalid_request_error", "code": "NO_SUCH_PLACE"}
    return JSONResponse({"error": told}, error.status_code, error.headers)
