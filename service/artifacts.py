"""Files built from corpora, and their removal once no record needs them."""

import structlog

from retrieval.window_index import delete_torn_windows, delete_unreferenced_windows
from service.config import Layout
from service.removal import links_told, remove_tree
from service.state.cartridge_shelf import CartridgeRecord
from service.state.content import ContentStore
from service.state.corpora import Corpora
from service.state.corpus import DeletedCorpus
from service.state.index_catalog import Catalogs

_log = structlog.stdlib.get_logger("longmemory.index")


class StoredArtifacts:
    """Removes what was built from deleted corpora and cartridges."""

    def __init__(self, layout: Layout, corpora: Corpora, content: ContentStore) -> None:
        self._layout, self._corpora, self._content = layout, corpora, content

    def forget_corpus(self, deleted: DeletedCorpus) -> None:
        """Drops its catalog and cartridges, then windows and texts that nobody names any more."""
        for folder in (self._layout.catalogs, self._layout.cartridges):
            remove_tree(folder / deleted.corpus_id, self._layout.data)
        self.sweep()

    def tidy(self) -> None:
        """Removes what a killed worker left too; for the start of an only server, before its worker."""
        with links_told():
            delete_torn_windows(self._layout.windows, self._layout.data)
        self.sweep()

    def sweep(self) -> None:
        """Removes windows and texts that nobody names and that are not just being made; nothing where a
        link lies in the way, for what a catalog behind it names is not known. While a catalog is damaged
        no window goes: the model would have to read its own again.
        """
        with links_told():
            self._sweep()

    def _sweep(self) -> None:
        catalogs, damaged = Catalogs(self._layout.catalogs, self._layout.data).all()
        if damaged:
            names = ", ".join(f"{path.parent.name}/{path.name}" for path in damaged)
            _log.warning("no window is removed beside a damaged catalog", catalogs=names)
        else:
            windows = {digest for catalog in catalogs for digest in catalog.windows}
            delete_unreferenced_windows(self._layout.windows, windows, root=self._layout.data)
        texts = {document.sha256 for catalog in catalogs for document in catalog.documents}
        self._content.delete_unreferenced(texts | self._corpora.referenced_digests())

    def forget_cartridge(self, deleted: CartridgeRecord) -> None:
        remove_tree(self._layout.cartridge(deleted.corpus_id, deleted.id), self._layout.data)
