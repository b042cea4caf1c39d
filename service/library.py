"""Corpora and cartridges held in memory, loaded when asked for, the least used dropped first."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from cartridges.store import Cartridge, load_cartridge
from engine.model import LanguageModel
from engine.prompts import Prompter
from retrieval.corpus_index import CorpusIndex, Document, Placement
from retrieval.window_index import WindowShelf
from service.config import Layout
from service.errors import fail
from service.state.content import ContentStore
from service.state.corpora import Corpora
from service.state.corpus import Corpus
from service.state.index_catalog import Catalog, Catalogs


@dataclass(frozen=True, slots=True, eq=False)
class ResidentCorpus:
    """An index in memory, and how many tokens its whole text has as a context."""

    index: CorpusIndex
    catalog: Catalog
    context_tokens: int

    def sentences(self) -> Sequence[str]:
        """All sentences in order."""
        return [self.index.text(i) for i in range(len(self.index))]


def reopen_unindexed(corpora: Corpora, catalogs: Catalogs, recipe: str) -> None:
    """Takes back what another model's index promised, so that indexing the corpora anew can start."""
    token = ""
    while True:
        page, token = corpora.list(1000, token)
        for corpus in page:
            digest = corpus.indexed_digest
            if digest and not catalogs.path(corpus.id, recipe, digest).exists():
                corpora.mark_unindexed(corpus.id)
        if not token:
            return


class Library:
    """Loads and keeps what answering needs. One thread uses it."""

    def __init__(
        self,
        layout: Layout,
        content: ContentStore,
        windows: WindowShelf,
        recipe: str,
        model: LanguageModel,
        most_corpora: int,
        most_cartridge_bytes: int,
    ) -> None:
        self._layout, self._content, self._windows = layout, content, windows
        self._recipe, self._model = recipe, model
        self._catalogs = Catalogs(layout.catalogs)
        self._most_corpora, self._most_bytes = most_corpora, most_cartridge_bytes
        self._corpora: OrderedDict[tuple[str, str], ResidentCorpus] = OrderedDict()
        self._cartridges: OrderedDict[tuple[str, str, str], Cartridge] = OrderedDict()

    def corpus(self, corpus: Corpus) -> ResidentCorpus:
        """The index of a corpus as last indexed.

        Raises:
            ServiceError: CORPUS_NOT_READY where there is none under the served model.
        """
        digest = corpus.indexed_digest or ""
        key = (corpus.id, digest)
        if key not in self._corpora:
            catalog = self._catalogs.get(corpus.id, self._recipe, digest) if digest else None
            if catalog is None:
                raise fail(
                    "CORPUS_NOT_READY",
                    f"corpus {corpus.id} has no index for the served model yet; index it and wait "
                    "for its job (`longmemory jobs ls`)",
                    field="corpus",
                )
            self._corpora[key] = self._load(catalog)
            while len(self._corpora) > self._most_corpora:
                self._corpora.popitem(last=False)
        self._corpora.move_to_end(key)
        return self._corpora[key]

    def cartridge(self, corpus_id: str, cartridge_id: str, tensor_digest: str) -> Cartridge:
        """A checked cartridge; raises CartridgeError where its files do not fit."""
        key = (corpus_id, cartridge_id, tensor_digest)
        if key not in self._cartridges:
            folder = self._layout.cartridge(corpus_id, cartridge_id)
            self._cartridges[key] = load_cartridge(folder, self._model)
            self._shrink()
        self._cartridges.move_to_end(key)
        return self._cartridges[key]

    def _shrink(self) -> None:
        used = sum(cartridge.prefix.num_bytes for cartridge in self._cartridges.values())
        while used > self._most_bytes and len(self._cartridges) > 1:
            _, dropped = self._cartridges.popitem(last=False)
            used -= dropped.prefix.num_bytes

    def _load(self, catalog: Catalog) -> ResidentCorpus:
        documents = [Document(d.id, self._content.read_text(d.sha256)) for d in catalog.documents]
        placements = [
            Placement(number, window.start, self._windows.get(window.digest))
            for number, document in enumerate(catalog.documents)
            for window in document.windows
        ]
        index = CorpusIndex(documents, placements)
        # A line of the context has a dash and a line break beside its sentence.
        per_line = len(Prompter(self._model).line_ids(""))
        tokens = index.num_tokens + per_line * len(index) + 64
        return ResidentCorpus(index, catalog, tokens)
