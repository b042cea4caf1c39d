"""Corpora and cartridges held in memory, loaded when asked for, the least used dropped first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from cartridges.manifest import CartridgeError, Manifest
from cartridges.store import Cartridge, load_cartridge, read_manifest
from engine.elsewhere import NOWHERE
from engine.errors import FileNotPlainError
from engine.model import LanguageModel
from engine.prompts import Prompter
from retrieval.corpus_index import CorpusIndex
from retrieval.window_index import WindowShelf
from service.cartridge_places import find_place
from service.config import Layout
from service.errors import fail
from service.fair_caches import FairCaches
from service.index_loading import load_index
from service.state.catalog import Catalog
from service.state.catalogs import Catalogs
from service.state.content import ContentStore
from service.state.corpora import Corpora
from service.state.corpus import Corpus
from service.state.pages import all_pages


@dataclass(frozen=True, eq=False)
class ResidentCorpus:
    """An index in memory, and how many tokens its whole text has as a context."""

    index: CorpusIndex
    catalog: Catalog
    context_tokens: int
    tokens_a_line: int = 0  # of a context, beside the sentence itself
    written: int = 0  # when the catalog that was asked for was written

    def sentences(self, numbers: range | None = None) -> Sequence[str]:
        """Sentences in order, all of them where no numbers are given."""
        return [
            self.index.text(i) for i in (range(len(self.index)) if numbers is None else numbers)
        ]

    @cached_property
    def windows(self) -> tuple[str, ...]:
        """The digests of the windows, in the order of the index."""
        return self.catalog.windows

    def window_of(self, sentence: int) -> str:
        """The digest of the window that a sentence stands in."""
        return self.windows[self.index.window_of(sentence)]

    def tokens_of(self, window: int) -> int:
        """Tokens that a window has as a part of a context."""
        span = self.index.sentences_of_windows[window]
        return int(self.index.token_counts[span.start : span.stop].sum()) + (
            self.tokens_a_line * len(span)
        )


@dataclass(slots=True, eq=False)
class Loaded:
    """A cartridge's part in memory; `hits` counts what asked for it."""

    corpus_id: str
    cartridge_id: str
    cartridge: Cartridge
    hits: int = field(default=0)

    @property
    def num_bytes(self) -> int:
        return self.cartridge.prefix.num_bytes


@dataclass(frozen=True, slots=True)
class LibraryLoad:
    """What libraries hold in memory, and how often a cartridge's part was there when it was asked
    for (`hits`) or had to be read from its files (`loads`).
    """

    corpora: int
    cartridges: int
    cartridge_bytes: int
    hits: int
    loads: int


_MANIFESTS = 64  # of cartridges asked lately
_CorpusKey = tuple[str, str]  # corpus, digest of what was indexed
_Name = tuple[str, str, str]  # corpus, cartridge, digest of its tensors
_Key = tuple[str, str, str, int]  # and a part's number


class Memory:
    """What all libraries of a process may hold together. None of them sees what another one holds."""

    def __init__(self, most_corpora: int, most_cartridge_bytes: int) -> None:
        self.corpora: FairCaches[_CorpusKey, ResidentCorpus] = FairCaches(most_corpora)
        self.cartridges: FairCaches[_Key, Loaded] = FairCaches(
            most_cartridge_bytes, lambda loaded: loaded.num_bytes
        )
        self.hits = self.loads = 0

    @property
    def load(self) -> LibraryLoad:
        """How it stands now; may be read from any thread."""
        held = self.cartridges.values()
        num_bytes = sum(loaded.num_bytes for loaded in held)
        corpora = len(self.corpora.values())
        return LibraryLoad(corpora, len(held), num_bytes, self.hits, self.loads)


def reopen_unindexed(corpora: Corpora, catalogs: Catalogs, recipe: str) -> None:
    """Takes back what another model's index promised, or one that is damaged and that no earlier one
    stands in for, so that indexing the corpora anew can start.
    """
    for corpus in all_pages(lambda token: corpora.list(1000, token)):
        digest = corpus.indexed_digest
        if digest and not _serves(catalogs, corpus.id, recipe, digest):
            corpora.mark_unindexed(corpus.id, digest)


def _serves(catalogs: Catalogs, corpus_id: str, recipe: str, digest: str) -> bool:
    try:
        return catalogs.get(corpus_id, recipe, digest) is not None
    except FileNotPlainError:  # stays, so that a question tells of it
        return True


class Library:
    """Loads and keeps what answering needs, of one tenant. One thread uses all that share a memory."""

    def __init__(
        self,
        layout: Layout,
        content: ContentStore,
        windows: WindowShelf,
        recipe: str,
        model: LanguageModel,
        memory: Memory,
    ) -> None:
        self._layout, self._content, self._windows = layout, content, windows
        self._recipe, self._model = recipe, model
        self._catalogs = Catalogs.of(layout)
        self._memory = memory
        self._corpora, self._cartridges = memory.corpora.new(), memory.cartridges.new()
        self._manifests = FairCaches[_Name, Manifest](_MANIFESTS).new()

    @property
    def is_shared(self) -> bool:
        """Whether other machines may have made what is to be loaded."""
        return self._layout.elsewhere is not NOWHERE

    def corpus(self, corpus: Corpus) -> ResidentCorpus:
        """The index of a corpus as last indexed, or the earlier one that stands in for a damaged one;
        loaded again where the same content was indexed again.

        Raises:
            ServiceError: CORPUS_NOT_READY where there is none under the served model.
        """
        digest = corpus.indexed_digest or ""
        key = (corpus.id, digest)
        written = self._catalogs.written(corpus.id, self._recipe, digest) if digest else 0
        resident = self._corpora.get(key)
        if resident is None or written not in (0, resident.written):
            catalog = self._catalogs.get(corpus.id, self._recipe, digest) if digest else None
            if catalog is None:
                raise fail(
                    "CORPUS_NOT_READY",
                    f"corpus {corpus.id} has no index for the served model yet; index it and wait "
                    "for its job (`longmemory jobs ls`)",
                    field="corpus",
                )
            resident = self._corpora.put(key, self._load(corpus.id, catalog, written))
        return resident

    def fetch(self, corpus: Corpus) -> None:
        """Sees that all that `corpus` loads is here, if it is anywhere. May be called from any thread,
        so that none waits for the store on the model's. Raises STORE_UNAVAILABLE, STORE_REFUSED.
        """
        digest = corpus.indexed_digest or ""
        if not digest or not self.is_shared or (corpus.id, digest) in self._corpora:
            return
        if catalog := self._catalogs.get(corpus.id, self._recipe, digest):
            self._catalogs.bring(corpus.id, catalog)
            self._windows.bring(catalog.windows)
            for document in catalog.documents:
                self._content.bring(document.sha256)

    def manifest(self, corpus_id: str, cartridge_id: str, tensor_digest: str) -> Manifest:
        """What a cartridge says of itself; loads none of its tensors.

        Raises CartridgeError where it lies not there, is damaged, or is another model's or another
        cartridge's than `tensor_digest` is of.
        """
        key = (corpus_id, cartridge_id, tensor_digest)
        return self._manifests.get(key) or self._manifests.put(key, self._read_manifest(*key))

    def part(self, corpus_id: str, cartridge_id: str, tensor_digest: str, number: int) -> Loaded:
        """A checked cartridge with a part of it. Raises what `manifest` does, and CARTRIDGE_MISSING
        where there is no such part.
        """
        self.manifest(corpus_id, cartridge_id, tensor_digest)
        key = (corpus_id, cartridge_id, tensor_digest, number)
        loaded = self._cartridges.get(key)
        if loaded is not None:
            self._memory.hits += 1
        else:
            self._memory.loads += 1
            folder = self._folder(corpus_id, cartridge_id, tensor_digest)
            cartridge = load_cartridge(folder, self._model, number, self._layout.data)
            loaded = self._cartridges.put(key, Loaded(corpus_id, cartridge_id, cartridge))
        loaded.hits += 1
        return loaded

    def holds(self, corpus_id: str, cartridge_id: str, tensor_digest: str, number: int) -> bool:
        """Whether a part is in memory."""
        return (corpus_id, cartridge_id, tensor_digest, number) in self._cartridges

    def evict(self, corpus_id: str, cartridge_id: str) -> int:
        """Drops all parts of a cartridge from memory, of all of a corpus' where no cartridge is named;
        how many there were.
        """
        return self._cartridges.drop(
            lambda key: key[0] == corpus_id and cartridge_id in ("", key[1])
        )

    def resident(self) -> tuple[Loaded, ...]:
        """What is in memory, the least used first."""
        return tuple(self._cartridges.values())

    def _read_manifest(self, corpus_id: str, cartridge_id: str, tensor_digest: str) -> Manifest:
        folder = self._folder(corpus_id, cartridge_id, tensor_digest)
        manifest = read_manifest(folder, self._layout.data)
        manifest.check_model(self._model)
        if manifest.tensor_digest != tensor_digest:
            raise CartridgeError(
                "CARTRIDGE_DAMAGED",
                f"the files of {cartridge_id} are those of another cartridge; train it again",
            )
        return manifest

    def _folder(self, corpus_id: str, cartridge_id: str, tensor_digest: str) -> Path:
        folder = self._layout.cartridge(corpus_id, cartridge_id)
        return find_place(folder, tensor_digest, self._layout.data, self._layout.elsewhere)

    def _load(self, corpus_id: str, catalog: Catalog, written: int) -> ResidentCorpus:
        place = (corpus_id, catalog.recipe, catalog.corpus_digest)
        self._catalogs.bring(corpus_id, catalog)
        words, vectors = self._catalogs.words(*place), self._catalogs.vectors(*place)
        index = load_index(catalog, self._content, self._windows, words, vectors)
        # A line of the context has a dash and a line break beside its sentence.
        per_line = len(Prompter(self._model).line_ids(""))
        tokens = index.num_tokens + per_line * len(index) + 64
        return ResidentCorpus(index, catalog, tokens, per_line, written)
