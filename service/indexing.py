"""The index job: documents to windows, windows to records, and a catalog that names them.

A window that any index has read before under the same recipe is not read again, so an edit costs its
windows and a killed job goes on where it was.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from engine.heap import give_back
from engine.prompts import Prompter
from retrieval.crag import Condense
from retrieval.dense_index import DenseSettings
from retrieval.window_index import WindowReader, WindowShelf
from retrieval.windows import Window, cut_windows
from service.index_loading import load_index, with_dense, with_digest, with_summaries, with_words
from service.state.catalog import Catalog, CatalogDocument, CatalogWindow
from service.state.catalogs import Catalogs
from service.state.content import ContentStore
from service.state.corpora import Corpora
from service.state.corpus import Document
from service.state.pages import all_pages


@dataclass(frozen=True, slots=True)
class IndexProgress:
    """Windows done of all; `read` is how many of them had to be read anew."""

    done: int
    total: int
    read: int


class Indexer:
    """Indexes one corpus as it stands when the job starts."""

    def __init__(
        self,
        reader: WindowReader,
        shelf: WindowShelf,
        catalogs: Catalogs,
        corpora: Corpora,
        content: ContentStore,
        dense: DenseSettings | None = None,
        condense: Condense = Condense.EXTRACTS,
    ) -> None:
        self._dense, self._condense = dense or DenseSettings(), condense
        self._reader, self._shelf, self._catalogs = reader, shelf, catalogs
        self._corpora, self._content = corpora, content
        self._prompter = Prompter(reader.model)

    def index(self, corpus_id: str) -> Iterator[IndexProgress | Catalog]:
        """Progress after every window, and last the stored catalog."""
        digest, documents = self._snapshot(corpus_id)
        cut = [(document, *self._cut(document)) for document in documents]
        total = sum(len(windows) for _, _, windows in cut)
        done = read = tokens = sentences = 0
        entries: list[CatalogDocument] = []
        for document, text, windows in cut:
            for window in windows:
                if not self._shelf.holds(window.digest):
                    self._shelf.put(window.digest, self._reader.read(text, window))
                    give_back()  # else the worker grows with the corpus
                    read += 1
                done += 1
                tokens += int(self._shelf.get(window.digest).token_counts.sum())
                sentences += len(window.sentences)
                yield IndexProgress(done, total, read)
            places = tuple(CatalogWindow(w.start, w.end, w.digest) for w in windows)
            entries.append(CatalogDocument(document.document_id, document.sha256, places))
        recipe = self._reader.recipe.digest
        catalog = Catalog(digest, recipe, tokens, sentences, tuple(entries))
        index = load_index(catalog, self._content, self._shelf)
        catalog = with_digest(catalog, index, lambda text: len(self._prompter.line_ids(text)))
        before = self._before(corpus_id)
        if self._condense is Condense.SUMMARIES:
            catalog = with_summaries(catalog, index, self._prompter, before)
        if before and before.texts == catalog.texts:
            catalog = replace(catalog, rehearsal=before.rehearsal)
        place = corpus_id, recipe, digest
        root, within = self._catalogs.root, self._catalogs.staging
        catalog = with_words(catalog, index, self._catalogs.words(*place), root, within)
        vectors = self._catalogs.vectors(*place)
        catalog = with_dense(catalog, index, vectors, root, self._dense, within)
        self._catalogs.put(corpus_id, catalog)
        yield catalog

    def _snapshot(self, corpus_id: str) -> tuple[str, list[Document]]:
        """The documents with the digest of just these, also while others are uploaded."""
        while True:
            digest = self._corpora.get(corpus_id).content_digest
            documents = list(_all_documents(self._corpora, corpus_id))
            if self._corpora.get(corpus_id).content_digest == digest:
                return digest, documents

    def _before(self, corpus_id: str) -> Catalog | None:
        """The index that serves until this one is recorded."""
        digest = self._corpora.get(corpus_id).indexed_digest
        if digest is None:
            return None
        return self._catalogs.get(corpus_id, self._reader.recipe.digest, digest)

    def _cut(self, document: Document) -> tuple[str, list[Window]]:
        text = self._content.read_text(document.sha256)
        return text, cut_windows(text, self._reader.count_tokens, self._reader.size)


def _all_documents(corpora: Corpora, corpus_id: str) -> Iterator[Document]:
    return all_pages(lambda token: corpora.list_documents(corpus_id, 1000, token))
