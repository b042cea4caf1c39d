"""The gRPC server's life: refuse an open door, bind, serve, say goodbye, stop.

Knows the services, not what is behind them; the composition hands in a `Backend`.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import structlog
from google.longrunning import operations_pb2, operations_pb2_grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import reflection, reflection_pb2  # type: ignore[import-untyped]
from longmemory.v1 import (
    cartridge_pb2,
    cartridge_pb2_grpc,
    corpus_pb2,
    corpus_pb2_grpc,
    info_pb2,
    info_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    query_pb2,
    query_pb2_grpc,
)

from service.errors import fail
from service.limits import MIB
from service.listen_address import is_loopback
from service.rpc.access import Access, AccessInterceptor, open_to_all
from service.rpc.backend import Backend
from service.rpc.cartridge_service import CartridgeService
from service.rpc.corpus_service import CorpusService
from service.rpc.gate import Gate
from service.rpc.info_service import InfoService
from service.rpc.interceptors import CallInterceptor, Watch
from service.rpc.job_service import JobService
from service.rpc.operations_service import OperationsService
from service.rpc.query_service import QueryService
from service.rpc.running_server import RunningServer, serving
from service.rpc.shutter import Shutter
from service.rpc.state_health import following_state
from service.rpc.tls import TlsFiles, reloading_credentials

_MODULES = (corpus_pb2, cartridge_pb2, job_pb2, query_pb2, info_pb2, operations_pb2)
SERVICE_NAMES = tuple(
    service.full_name
    for module in _MODULES
    for service in module.DESCRIPTOR.services_by_name.values()
)
"""The services served, beside health and reflection."""

_ALWAYS = (health_pb2, reflection_pb2)
METHODS = frozenset(
    f"{service.full_name}/{method.name}"
    for module in (*_MODULES, *_ALWAYS)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
)
"""Every call served, by its full name."""

_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", 16 * MIB),
    ("grpc.max_send_message_length", 64 * MIB),
    # Without it a second server binds the same port and gets half of the calls.
    ("grpc.so_reuseport", 0),
    # A long answer sends no data for a while; a client's pings must not end its connection.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_concurrent_streams", 256),
)

_PULSE_SECONDS = 0.25
_LAST_WORDS_SECONDS = 2.0
"""How long a server whose model has died says so before it ends."""

_log = structlog.stdlib.get_logger("longmemory.server")


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where to listen and how to stop; raises ValueError for what does not make sense."""

    address: str = "127.0.0.1:50051"  # port 0: any free one
    insecure: bool = False  # listen beyond this machine although nothing is encrypted
    drain_seconds: float = 0.0  # between NOT_SERVING and the refusal of new calls
    grace_seconds: float = 10.0  # for calls that are under way
    answer_seconds: float = 90.0  # for answers that are; `deploy/` gives a server 120 to end
    tls: TlsFiles | None = None

    def __post_init__(self) -> None:
        for name in ("drain_seconds", "grace_seconds", "answer_seconds"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}; give seconds of at least 0")
        if not (self.tls or self.insecure or is_loopback(self.address)):
            raise ValueError(
                f"address is {self.address!r}, which other machines can reach, and the server "
                "does not encrypt; name a TLS certificate and its key, listen on 127.0.0.1 behind a "
                "proxy, or set insecure"
            )


class App(Protocol):
    """A composed service: its backend, and the end of everything it started."""

    @property
    def backend(self) -> Backend:
        """What the servicers work on."""
        ...

    def close(self) -> None:
        """End threads, workers and connections; may block, and is called from a thread."""
        ...


class Companion(Protocol):
    """Another door of the service, open as long as the gRPC server is."""

    async def start(self) -> str:
        """Bind and serve; where. Raises OSError when the address is taken."""
        ...

    async def stop(self, drain_seconds: float, grace_seconds: float) -> None:
        """Say so, let clients move on, then end what is still under way; nothing where not open."""
        ...


async def start(
    config: ServerConfig, backend: Backend, access: Access | None = None
) -> RunningServer:
    """Bind and serve; without `access` everybody works on the backend.

    Raises OSError when the address is taken or cannot be bound, ValueError for unfit TLS files.
    """
    # Calls is told of what the entrance refuses; the gate tells of itself.
    limits, shutter = backend.limits, Shutter()
    patience = (limits.reader_seconds, limits.sender_seconds)
    calls = CallInterceptor(Watch(backend.observer, backend.tracing, *patience, shutter))
    entrance = AccessInterceptor(access or open_to_all(backend))
    gate = Gate(backend.require_open, backend.observer)
    server = grpc.aio.server(interceptors=(gate, calls, entrance), options=_OPTIONS)
    _add_services(server, backend)
    status: Any = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    names = (*SERVICE_NAMES, health.SERVICE_NAME)
    if is_loopback(config.address):
        reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)
    try:
        port = _bind(server, config)
    except RuntimeError:
        raise OSError(f"cannot listen at {config.address}; is another server there?") from None
    await server.start()
    for name in ("", *names):
        await status.set(name, serving(True))
    is_named = config.address.startswith("unix")
    address = config.address if is_named else f"{config.address.rpartition(':')[0]}:{port}"
    _log.info("serving", address=address)
    return RunningServer(server, status, address, port, shutter, lambda: backend.under_way() > 0)


async def serve(
    config: ServerConfig,
    app: App,
    on_ready: Callable[[RunningServer], None] | None = None,
    access: Access | None = None,
    companion: Companion | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then stop in order; `on_ready` learns the bound address.

    Raises:
        ServiceError: INTERNAL where the model's thread died; health has said NOT_SERVING by then.
        OSError: an address is taken; what was open before is closed.
    """
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, stopping.set)
    try:
        server = await start(config, app.backend, access)
        times = (0.0, 0.0, 0.0)  # of a server that never was whole
        try:
            if companion:
                server.beside = await companion.start()
            if on_ready:
                on_ready(server)
            async with following_state(server.set_serving, app.backend.check_state):
                is_told = await _is_told_to_stop(stopping, app.backend.is_alive)
            if is_told:
                times = (config.drain_seconds, config.grace_seconds, config.answer_seconds)
                _log.info("stopping", answers=app.backend.under_way(), longest=max(times))
            else:
                times = (max(config.drain_seconds, _LAST_WORDS_SECONDS), 0.0, 0.0)
                _log.error("stopping: the model's thread died", seconds=times[0])
        finally:
            await _stop(server, companion, *times)
        if not is_told:
            raise fail(
                "INTERNAL",
                "the model's thread died; the log says of what; start the server again",
            )
    finally:
        await asyncio.to_thread(app.close)
        for number in signals:
            loop.remove_signal_handler(number)


async def _stop(
    server: RunningServer,
    companion: Companion | None,
    drain_seconds: float,
    grace: float,
    answers: float,
) -> None:
    ends = [server.stop(drain_seconds, grace, answers)]
    if companion:  # where all calls are answers
        ends.append(companion.stop(drain_seconds, max(grace, answers)))
    await asyncio.gather(*ends)


async def _is_told_to_stop(stopping: asyncio.Event, is_alive: Callable[[], bool]) -> bool:
    """Waits for the event; False as soon as what is served can no longer answer."""
    waiting = asyncio.ensure_future(stopping.wait())
    try:
        while is_alive():
            done, _ = await asyncio.wait({waiting}, timeout=_PULSE_SECONDS)
            if done:
                return True
        return stopping.is_set()
    finally:
        waiting.cancel()


def _bind(server: grpc.aio.Server, config: ServerConfig) -> int:
    if config.tls is None:
        return server.add_insecure_port(config.address)
    return server.add_secure_port(config.address, reloading_credentials(config.tls))


def _add_services(server: grpc.aio.Server, backend: Backend) -> None:
    add: Any
    for add, servicer in (
        (corpus_pb2_grpc.add_CorpusServiceServicer_to_server, CorpusService()),
        (cartridge_pb2_grpc.add_CartridgeServiceServicer_to_server, CartridgeService()),
        (job_pb2_grpc.add_JobServiceServicer_to_server, JobService()),
        (query_pb2_grpc.add_QueryServiceServicer_to_server, QueryService()),
        (info_pb2_grpc.add_InfoServiceServicer_to_server, InfoService(backend.info)),
        (operations_pb2_grpc.add_OperationsServicer_to_server, OperationsService()),
    ):
        add(servicer, server)
