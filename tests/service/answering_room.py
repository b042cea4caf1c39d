"""An answerer over a real library, index and tiny model in one process, without a wire."""

from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from cartridges.store import BuiltPart, store_cartridge
from engine.embedding import Embedder
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.prompts import Prompter
from retrieval.heads import retrieval_heads
from retrieval.readers import Readers
from retrieval.window_index import WindowReader, WindowShelf
from service.admission import Admission
from service.answering import MemoryAnswerer
from service.answers import Question
from service.config import Layout, ServiceConfig
from service.errors import ServiceError
from service.indexing import Indexer, IndexProgress
from service.library import Library, Memory, ResidentCorpus
from service.model_thread import ModelThread
from service.prompt_room import PromptRoom
from service.router import Router
from service.routes import Routes
from service.routing.quality import QualityModel, shipped
from service.state.cartridge_shelf import CartridgeShelf
from service.state.catalog import Catalog
from service.state.catalogs import Catalogs
from service.state.content import ContentStore, examine
from service.state.corpora import Corpora
from service.state.kept_timings import KeptTimings
from service.state.outcomes_log import OutcomesLog
from service.state.sqlite_store import SqliteStore
from service.text_answering import TextAnswerer
from service.timings import Timings


@dataclass
class Room:
    """A service without a wire."""

    layout: Layout
    content: ContentStore
    corpora: Corpora
    shelf: CartridgeShelf
    library: Library
    thread: ModelThread
    indexer: Indexer
    catalogs: Catalogs
    answerer: MemoryAnswerer
    text_answerer: TextAnswerer

    def write(self, text: str, document_id: str = "a.txt") -> None:
        """Stores a document of the corpus `books`."""
        path = self.layout.data / "incoming"
        path.write_text(text, encoding="utf-8")
        self.corpora.add_document("books", document_id, examine(path))
        self.content.put_file(path)

    def index(self) -> IndexProgress:
        """What the worker does; returns the last progress."""
        *steps, catalog = self.indexer.index("books")
        assert isinstance(catalog, Catalog)
        self.corpora.mark_ready(
            "books", catalog.corpus_digest, catalog.token_count, catalog.sentence_count
        )
        self.catalogs.keep_only("books", catalog)
        last = steps[-1]
        assert isinstance(last, IndexProgress)
        return last

    def resident(self) -> ResidentCorpus:
        return self.library.corpus(self.corpora.get("books"))

    def store(self, cartridge_id: str, model: LanguageModel, recovered: float = 1.0) -> KVPrefix:
        """A cartridge that is the corpus' whole context, recorded as ready."""
        context = model.prefill(Prompter(model).context_ids(self.resident().sentences()))
        digest = self.corpora.get("books").content_digest
        folder = self.layout.cartridge("books", cartridge_id)
        measured = {"recovered": recovered}
        part = BuiltPart(context, windows=self.resident().windows)
        made = store_cartridge(folder, model, [part], digest, {}, measured)
        self.shelf.create(
            "books", cartridge_id, prefix_tokens=context.length, query_offset=context.length,
            model_fingerprint=model.fingerprint, corpus_digest=digest,
        )  # fmt: skip
        self.shelf.mark_ready(
            "books", cartridge_id, prefix_tokens=context.length, query_offset=context.length,
            size_bytes=1, corpus_digest=digest, tensor_digest=made.tensor_digest,
            metrics=made.metrics,
        )  # fmt: skip
        return context

    async def events(self, question: Question) -> list[Any]:
        async with aclosing(self.answerer.answer(question)) as events:
            return [event async for event in events]

    async def reason(self, question: Question) -> str:
        """Why a question is refused; before anything is generated, so the explanation is too."""
        with pytest.raises(ServiceError) as caught:
            await self.events(question)
        return caught.value.reason


def build(
    folder: Path,
    model: LanguageModel,
    embedder: Embedder,
    quality: QualityModel | None = None,
    **changes: Any,
) -> Room:
    config = replace(ServiceConfig(folder), **changes)
    layout = Layout(folder)
    store, content = SqliteStore(layout.database), ContentStore(folder)
    corpora, shelf = Corpora(store, content), CartridgeShelf(store)
    heads = retrieval_heads(model)
    reader = WindowReader(model, embedder, heads)
    windows = WindowShelf(layout.windows, reader.recipe, folder)
    catalogs = Catalogs(layout.catalogs, folder)
    memory = Memory(2, 1 << 24)
    library = Library(layout, content, windows, reader.recipe.digest, model, memory)
    readers = Readers(model, heads, embedder, reader.size)
    routes = Routes(model, embedder, readers, config.reading, config.crag)
    thread = ModelThread(model, config.batch)
    room = PromptRoom(routes.prompter, model.geometry.window, config.reading.evidence)
    admission = Admission(config.limits, config.batch)
    timings = Timings(KeptTimings(store), model.fingerprint, "cpu")
    router = Router(config.policy, quality or shipped(), timings, OutcomesLog(store))
    answerer = MemoryAnswerer(
        config, corpora, shelf, library, routes, thread, room, admission, router
    )
    condense = config.crag.condense
    indexer = Indexer(reader, windows, catalogs, corpora, content, condense=condense)
    texts = TextAnswerer(routes, thread, room, admission)
    return Room(
        layout, content, corpora, shelf, library, thread, indexer, catalogs, answerer, texts
    )
