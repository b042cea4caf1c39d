"""What stands on disk of a corpus' index: how it is searched, and whether its files are whole."""

from cartridges.store import digest_of
from service.config import Layout
from service.state.catalog import Catalog, CatalogDense
from service.state.catalogs import Catalogs
from service.state.corpus import Corpus


class StoredIndexes:
    """Looks at the files under one recipe; may be used from any thread."""

    def __init__(self, layout: Layout, recipe: str) -> None:
        self._catalogs, self._recipe = (
            Catalogs.of(layout),
            recipe,
        )

    def dense(self, corpus: Corpus) -> CatalogDense | None:
        """How the vectors of its index are searched; None where it has none, or an older release's."""
        catalog = self._catalog(corpus)
        return catalog.dense if catalog else None

    def is_whole(self, corpus: Corpus) -> bool:
        """Whether the corpus' index lies there with every file as it was written. Reads all of them."""
        catalog = self._catalog(corpus)
        if catalog is None or catalog.corpus_digest != corpus.indexed_digest or not catalog.dense:
            return False
        place = (corpus.id, catalog.recipe, catalog.corpus_digest)
        written = [(self._catalogs.words(*place), catalog.words_sha256)]
        if catalog.dense.lists:
            written.append((self._catalogs.vectors(*place), catalog.dense.sha256))
        return all(path.exists() and digest_of(path) == sha256 for path, sha256 in written)

    def _catalog(self, corpus: Corpus) -> Catalog | None:
        digest = corpus.indexed_digest or ""
        return self._catalogs.get(corpus.id, self._recipe, digest) if digest else None
