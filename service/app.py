"""The composition: a data folder, a model and a configuration become a running service."""

import asyncio
import importlib.metadata
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from engine.embedding import Embedder
from engine.model import LanguageModel
from retrieval.heads import retrieval_heads
from retrieval.readers import Readers
from retrieval.window_index import FORMAT, WindowReader
from service.admission import Admission
from service.artifacts import StoredArtifacts
from service.config import Layout, ServiceConfig
from service.cores import CoreShare
from service.lent_backends import LentBackends
from service.library import Memory
from service.model_thread import ModelThread
from service.prompt_room import PromptRoom
from service.queues import Queues
from service.routes import Routes
from service.routing.quality import shipped
from service.rpc.access import Access, guarded
from service.rpc.backend import Backend
from service.rpc.info_service import ServerInfo
from service.rpc.running_server import RunningServer
from service.rpc.server import METHODS, Companion, ServerConfig, serve
from service.state.artifact_store import open_artifacts
from service.state.data_folder import lock_data_folder
from service.state.kept_timings import KeptTimings
from service.state.open_store import agree_on_model, is_shared, open_store
from service.supervisor import WorkerSupervisor
from service.telemetry.faults import tell_fault
from service.telemetry.gauges import Build, Sources
from service.telemetry.logs import configure_logs
from service.telemetry.metrics import Metrics
from service.telemetry.page import MetricsPage, PageAddress
from service.telemetry.tracing import NoTracing, OpenTelemetry
from service.telemetry.watched_answers import WatchedTextAnswers
from service.tenant_backend import Shared, build, tend
from service.tenants import Tenant, Tenants
from service.text_answering import TextAnswerer
from service.timings import Timings
from service.tokens import DEFAULT_TENANT, TokenFile

_log = structlog.stdlib.get_logger("longmemory")

# The model's thread gives the interpreter's lock away at every tensor operation and waits so long for
# it where the event loop is busy; Python's own is 5 ms.
SWITCH_SECONDS = 0.0005


class Service:
    """Everything of one running service; `close` gives it all back."""

    def __init__(self, config: ServiceConfig) -> None:
        layout = Layout(config.data)
        is_alone = not is_shared(config.state)
        self._lock = lock_data_folder(config.data) if is_alone else None
        self._store = store = open_store(config.state, layout.database)
        elsewhere = open_artifacts(config.store, config.data)
        self._tenants = Tenants(store, config.data, elsewhere)
        model = LanguageModel.load(config.engine)
        if not is_alone:
            agree_on_model(store, model.fingerprint)
        self._embedder = embedder = Embedder.load(device=model.device.type)
        heads = retrieval_heads(model, layout.calibrations, layout.data)
        if not heads.calibrated:
            _log.warning(
                "attention heads are not calibrated for this model: all heads of its middle layers "
                "are asked; run `longmemory calibrate`",
                model=model.name,
            )
        recipe = WindowReader(model, embedder, heads).recipe
        readers = Readers(model, heads, embedder, recipe.size)
        routes = Routes(model, embedder, readers, config.reading, config.crag, config.verbatim)
        cores = CoreShare(layout.cores, "server", "worker", config.threads, config.data)
        self._thread = ModelThread(model, config.batch, cores.take, config.drafted)
        self._timings = Timings(KeptTimings(store), model.fingerprint, str(model.device))
        room = PromptRoom(routes.prompter, model.geometry.window, config.reading.evidence)
        self.admission = admission = Admission(config.limits, config.batch)
        queues = Queues(self._tenants)
        self.supervisor = WorkerSupervisor(config, queues)
        info = _info(model, embedder)
        memory = Memory(config.resident_corpora, config.resident_cartridge_bytes)
        self.metrics = Metrics(
            METHODS,
            Sources(
                build=Build(info.version, model.fingerprint[:16], info.device, info.dtype),
                questions=lambda: admission.under_way,
                model=lambda: self._thread.load,
                library=lambda: memory.load,
                jobs=queues.census,
                has_worker=lambda: self.supervisor.worker_pid is not None,
            ),
        )
        self._tracing = OpenTelemetry(info.version) if config.otel else NoTracing()
        texts = TextAnswerer(routes, self._thread, room, admission)
        self._shared = Shared(
            config,
            recipe,
            routes,
            self._thread,
            room,
            admission,
            shipped(),
            self._timings,
            WatchedTextAnswers(texts, self.metrics, config.logs.questions),
            self.supervisor,
            info,
            self.metrics,
            self._tracing,
            memory,
        )
        self._tended: set[str] = set()
        if is_alone:  # its worker is not there yet, so that nobody is writing
            for tenant in self._tenants.all():
                self._tend(tenant, StoredArtifacts.tidy)
        self.backend = self._backend_of(DEFAULT_TENANT)
        self.backends = LentBackends(self.backend, self._backend_of, config.resident_tenants)

    def _backend_of(self, name: str) -> Backend:
        tenant = self._tenants.enrol(name)
        if name not in self._tended:
            self._tend(tenant, StoredArtifacts.sweep)
        return build(self._shared, tenant)

    def _tend(self, tenant: Tenant, tidy: Callable[[StoredArtifacts], None]) -> None:
        tend(self._shared, tenant, tidy)
        self._tended.add(tenant.name)

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [len(texts), dimension], made by the model's thread, which owns the embedder."""
        return await self._thread.run(lambda: self._embedder.embed(texts))

    def close(self) -> None:
        """Ends the worker and the model's thread, then lets the data folder go; blocks."""
        self.supervisor.stop()
        self._thread.close()
        self._timings.close()
        self._tracing.close()
        self._store.close()
        if self._lock:
            self._lock.release()


def run_server(config: ServiceConfig) -> None:
    """Serves until a signal; says on standard output where, once it does.

    Raises:
        ServiceError: DATA_FOLDER_LOCKED where another server has the data folder, what is wrong with
            the state, or INTERNAL where the model's thread died.
        ValueError: an address would open the service to other machines, or tracing is asked for and
            not installed.
        OSError: an address is taken.
    """
    # Whoever starts a server reads one line of its output; a log there would fill the pipe and stop it.
    configure_logs(config.logs)
    tell_fault()
    listening = ServerConfig(config.listen, config.insecure, tls=config.tls)
    page_address = PageAddress(config.metrics, config.insecure) if config.metrics else None
    open_door = _door(config) if config.http else None
    config.data.mkdir(parents=True, exist_ok=True)
    service = Service(config)
    access = guarded(service.backends.use, TokenFile(config.data), config.auth)
    with ExitStack() as stack:
        page = MetricsPage(page_address, service.metrics.registry) if page_address else None
        if page:
            stack.callback(page.close)
        service.supervisor.start()
        door = open_door(service, access) if open_door else None
        announce = partial(_announce, page=page)
        sys.setswitchinterval(SWITCH_SECONDS)
        asyncio.run(serve(listening, service, announce, access, door))


def _door(config: ServiceConfig) -> Callable[[Service, Access], Companion]:
    """Checked before the model is loaded; the web libraries are an extra."""
    try:
        from service.http.door import DoorAddress, beside
    except ImportError as error:
        raise ValueError(
            f"http: the package {error.name} is missing; pip install 'longmemory[http]'"
        ) from error
    address = DoorAddress(config.http, config.insecure)
    return lambda service, access: beside(
        service.backend, service.embed, address, access, service.admission.admit_beside
    )


def _announce(server: RunningServer, page: MetricsPage | None) -> None:
    sys.stdout.write(f"longmemory serves at {server.address}\n")
    if page:
        sys.stdout.write(f"metrics at {page.url}\n")
    if server.beside:
        sys.stdout.write(f"OpenAI's API at {server.beside}/v1\n")
    sys.stdout.flush()


def _info(model: LanguageModel, embedder: Embedder) -> ServerInfo:
    return ServerInfo(
        version=_version(),
        model_name=model.name,
        model_fingerprint=model.fingerprint,
        device=str(model.device),
        dtype=str(model.dtype).removeprefix("torch."),
        window_tokens=model.geometry.window,
        embedder=embedder.name,
        data_format=FORMAT,
    )


def _version() -> str:
    try:
        return importlib.metadata.version("longmemory")
    except importlib.metadata.PackageNotFoundError:
        return Path(__file__).parents[1].name
