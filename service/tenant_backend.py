"""From what a server has once (model, its thread, queues) to what one tenant's calls work on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from retrieval.window_index import IndexRecipe, WindowShelf
from service.admission import Admission
from service.answering import MemoryAnswerer
from service.artifacts import StoredArtifacts
from service.config import ServiceConfig
from service.library import Library, Memory, reopen_unindexed
from service.model_thread import ModelThread
from service.prompt_room import PromptRoom
from service.queues import Queue
from service.residents import Residents
from service.router import Router
from service.routes import Routes
from service.routing.quality import QualityModel
from service.rpc.backend import Backend, Supervisor, TextAnswers
from service.rpc.info_service import ServerInfo
from service.staleness import Staleness
from service.state.cartridge_shelf import CartridgeShelf
from service.state.catalogs import Catalogs
from service.state.content import ContentStore
from service.state.corpora import Corpora
from service.state.outcomes_log import OutcomesLog
from service.state.remembering_store import RememberingStore
from service.state.requests import Requests
from service.state.uploads import Uploads
from service.stored_indexes import StoredIndexes
from service.telemetry.observer import Observer
from service.telemetry.tracing import Tracing
from service.telemetry.watched_answers import WatchedAnswers
from service.tenants import Tenant
from service.timings import Timings

REQUEST_SECONDS = 24 * 3600.0  # how long a repeated request gets its first answer
OUTCOME_SECONDS = 30 * 24 * 3600.0  # how long an answer that nobody judged is remembered


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """What all tenants' calls share: nothing that one of them told can be asked of it by another."""

    config: ServiceConfig
    recipe: IndexRecipe
    routes: Routes
    thread: ModelThread
    room: PromptRoom
    admission: Admission
    quality: QualityModel
    timings: Timings
    text_answerer: TextAnswers
    supervisor: Supervisor
    info: ServerInfo
    observer: Observer
    tracing: Tracing
    memory: Memory


def tend(shared: Shared, tenant: Tenant, tidy: Callable[[StoredArtifacts], None]) -> None:
    """What is done once, before a tenant's first call: what is too old is forgotten, indexes of another
    model are taken back, and `tidy` removes what nobody needs. Blocks.

    Raises ServiceError where the state cannot be used.
    """
    store, layout = tenant.store, tenant.layout
    Requests(store).forget(store.now() - REQUEST_SECONDS)
    OutcomesLog(store).forget(store.now() - OUTCOME_SECONDS)
    content = ContentStore(layout.data, layout.elsewhere)
    corpora = Corpora(store, content, shared.config.limits)
    reopen_unindexed(
        corpora,
        Catalogs.of(layout),
        shared.recipe.digest,
    )
    artifacts = StoredArtifacts(store, layout, corpora, content)
    artifacts.finish_deletions()
    tidy(artifacts)


def build(shared: Shared, tenant: Tenant) -> Backend:
    """The backend of one tenant, from its records and folders alone."""
    config, store, layout = shared.config, tenant.store, tenant.layout
    queue = Queue.of(tenant, limits=config.limits)
    content, recipe = ContentStore(layout.data, layout.elsewhere), shared.recipe.digest
    windows = WindowShelf(layout.windows, shared.recipe, layout.data, elsewhere=layout.elsewhere)
    model = shared.thread.model
    library = Library(layout, content, windows, recipe, model, shared.memory)
    return Backend(
        corpora=queue.corpora,
        uploads=Uploads(store, content, queue.corpora, config.limits, layout.uploads),
        jobs=queue.jobs,
        shelf=queue.shelf,
        requests=Requests(store),
        outcomes=OutcomesLog(store),
        limits=config.limits,
        answerer=_answerer(shared, tenant, library, content),
        text_answerer=shared.text_answerer,
        count_tokens=lambda text: len(shared.thread.model.encode(text)),
        supervisor=shared.supervisor,
        artifacts=StoredArtifacts.of(queue),
        residents=Residents(library, shared.thread, config.resident_cartridge_bytes),
        staleness=Staleness(layout, queue.corpora, recipe),
        info=shared.info,
        indexes=StoredIndexes(layout, recipe),
        observer=shared.observer,
        tracing=shared.tracing,
        is_alive=lambda: shared.thread.is_alive,
        check_state=store.check,
        require_open=shared.admission.require_open,
        under_way=lambda: shared.admission.under_way,
    )


def _answerer(
    shared: Shared, tenant: Tenant, library: Library, content: ContentStore
) -> WatchedAnswers:
    config = shared.config
    asked = RememberingStore(tenant.store)  # what questions read, also while the store is away
    answerer = MemoryAnswerer(
        config,
        Corpora(asked, content, config.limits),
        CartridgeShelf(asked, config.limits),
        library,
        shared.routes,
        shared.thread,
        shared.room,
        shared.admission,
        Router(config.policy, shared.quality, shared.timings, OutcomesLog(asked)),
    )
    return WatchedAnswers(answerer, shared.observer, config.logs.questions)
