"""The composition: a data folder, a model and a configuration become a running service."""

import asyncio
import importlib.metadata
import sys
import time
from pathlib import Path

import structlog

from engine.embedding import Embedder
from engine.model import LanguageModel
from retrieval.heads import retrieval_heads
from retrieval.readers import Readers
from retrieval.window_index import FORMAT, WindowReader, WindowShelf
from service.admission import Admission
from service.answering import MemoryAnswerer
from service.artifacts import StoredArtifacts
from service.config import Layout, ServiceConfig
from service.cores import CoreShare
from service.library import Library, reopen_unindexed
from service.model_thread import ModelThread
from service.prompt_room import PromptRoom
from service.residents import Residents
from service.router import Router
from service.routes import Routes
from service.routing.quality import shipped
from service.rpc.access import guarded
from service.rpc.backend import Backend
from service.rpc.info_service import ServerInfo
from service.rpc.server import RunningServer, ServerConfig, serve
from service.staleness import Staleness
from service.state.cartridge_shelf import CartridgeShelf
from service.state.content import ContentStore
from service.state.corpora import Corpora
from service.state.database import Database, lock_data_folder
from service.state.index_catalog import Catalogs
from service.state.jobs import Jobs
from service.state.kept_timings import KeptTimings
from service.state.outcomes import tell_unmade
from service.state.outcomes_log import OutcomesLog
from service.state.requests import Requests
from service.state.uploads import Uploads
from service.supervisor import WorkerSupervisor
from service.text_answering import TextAnswerer
from service.timings import Timings
from service.tokens import TokenFile

REQUEST_SECONDS = 24 * 3600.0  # how long a repeated request gets its first answer
OUTCOME_SECONDS = 30 * 24 * 3600.0  # how long an answer that nobody judged is remembered
_log = structlog.stdlib.get_logger("longmemory")


class Service:
    """Everything of one running service; `close` gives it all back."""

    def __init__(self, config: ServiceConfig) -> None:
        layout = Layout(config.data)
        self._lock = lock_data_folder(config.data)
        self._database = Database(layout.database)
        content = ContentStore(config.data)
        corpora = Corpora(self._database, content, config.limits)
        shelf = CartridgeShelf(self._database, config.limits)
        jobs = Jobs(self._database, limits=config.limits, on_unmade=tell_unmade(corpora, shelf))
        requests = Requests(self._database)
        requests.forget(time.time() - REQUEST_SECONDS)
        model = LanguageModel.load(config.engine)
        embedder = Embedder.load(device=model.device.type)
        heads = retrieval_heads(model, layout.calibrations)
        if not heads.calibrated:
            _log.warning(
                "attention heads are not calibrated for this model: all heads of its middle layers "
                "are asked; run `longmemory calibrate`",
                model=model.name,
            )
        recipe = WindowReader(model, embedder, heads).recipe
        windows = WindowShelf(layout.windows, recipe)
        reopen_unindexed(corpora, Catalogs(layout.catalogs), recipe.digest)
        library = Library(
            layout, content, windows, recipe.digest, model, config.resident_corpora,
            config.resident_cartridge_bytes,
        )  # fmt: skip
        readers = Readers(model, heads, embedder, recipe.size)
        routes = Routes(model, embedder, readers, config.reading, config.crag)
        cores = CoreShare(layout.work, "server", "worker", config.threads)
        self._thread = ModelThread(model, before_work=cores.take)
        self._timings = Timings(KeptTimings(self._database), model.fingerprint, str(model.device))
        outcomes = OutcomesLog(self._database)
        outcomes.forget(time.time() - OUTCOME_SECONDS)
        router = Router(config.policy, shipped(), self._timings, outcomes)
        room = PromptRoom(routes.prompter, model.geometry.window, config.reading.evidence)
        admission = Admission(config.limits.max_queue)
        self.supervisor = WorkerSupervisor(config, jobs)
        artifacts = StoredArtifacts(layout, corpora, content)
        artifacts.tidy()
        self.backend = Backend(
            corpora=corpora,
            uploads=Uploads(self._database, content, corpora, config.limits, layout.uploads),
            jobs=jobs,
            shelf=shelf,
            requests=requests,
            outcomes=outcomes,
            limits=config.limits,
            answerer=MemoryAnswerer(
                config,
                corpora,
                shelf,
                library,
                routes,
                self._thread,
                room,
                admission,
                router,
            ),
            text_answerer=TextAnswerer(routes, self._thread, room, admission),
            count_tokens=lambda text: len(model.encode(text)),
            supervisor=self.supervisor,
            artifacts=artifacts,
            residents=Residents(library, self._thread, config.resident_cartridge_bytes),
            staleness=Staleness(layout, corpora, recipe.digest),
            info=_info(model, embedder),
        )

    def close(self) -> None:
        """Ends the worker and the model's thread, then lets the data folder go; blocks."""
        self.supervisor.stop()
        self._thread.close()
        self._timings.close()
        self._database.close()
        self._lock.release()


def run_server(config: ServiceConfig) -> None:
    """Serves until a signal; says on standard output where, once it does.

    Raises:
        ServiceError: DATA_FOLDER_LOCKED where another server has the data folder.
        ValueError: the address would open the service to other machines.
    """
    # Whoever starts a server reads one line of its output; a log there would fill the pipe and stop it.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    listening = ServerConfig(config.listen, config.insecure, tls=config.tls)
    config.data.mkdir(parents=True, exist_ok=True)
    service = Service(config)
    service.supervisor.start()
    access = guarded(service.backend, TokenFile(config.data), config.auth)
    asyncio.run(serve(listening, service, _announce, access))


def _announce(server: RunningServer) -> None:
    sys.stdout.write(f"longmemory serves at {server.address}\n")
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
