"""Files built from corpora, and their removal once no record needs them."""

from pathlib import Path

import structlog

from engine.elsewhere import NOWHERE
from engine.plain_folder import delete_tree
from retrieval.window_index import delete_torn_windows, delete_unreferenced_windows
from service.config import Layout
from service.errors import ServiceError
from service.queues import Queue
from service.removal import links_told, remove_tree
from service.state.cartridge_shelf import CartridgeRecord
from service.state.catalogs import Catalogs
from service.state.content import ContentStore
from service.state.corpora import Corpora
from service.state.corpus import DeletedCorpus
from service.state.deletions import end_deletion, unfinished_deletions
from service.state.store import Store
from service.state.tables import CORPORA

_log = structlog.stdlib.get_logger("longmemory.index")


class StoredArtifacts:
    """Removes what was built from deleted corpora and cartridges."""

    def __init__(
        self, store: Store, layout: Layout, corpora: Corpora, content: ContentStore
    ) -> None:
        self._store, self._layout = store, layout
        self._corpora, self._content = corpora, content

    @classmethod
    def of(cls, queue: Queue) -> "StoredArtifacts":
        """A tenant's, for those who work on its jobs."""
        layout = queue.tenant.layout
        content = ContentStore(layout.data, layout.elsewhere)
        return cls(queue.tenant.store, layout, queue.corpora, content)

    def forget_corpus(self, deleted: DeletedCorpus) -> None:
        """Drops its catalog and cartridges, then windows and texts that nobody names any more."""
        self._remove(deleted.corpus_id)
        self.sweep()

    def finish_deletions(self) -> None:
        """Removes what a killed server had deleted the records of; for the start of a server."""
        for corpus_id, cartridge_id in unfinished_deletions(self._store):
            self._remove(corpus_id, cartridge_id)

    def tidy(self) -> None:
        """Removes what a killed worker left too; for the start of an only server, before its worker."""
        with links_told():
            delete_torn_windows(self._layout.windows, self._layout.data)
        self.sweep()

    def sweep(self) -> None:
        """Removes windows and texts that nobody names and that are not just being made; nothing where a
        link lies in the way, for what a catalog behind it names is not known, or while the store of the
        files cannot be reached. While a catalog is damaged no window goes: the model would have to read
        its own again.
        """
        try:
            with links_told():
                self._drop_strangers()
                self._sweep()
        except ServiceError as error:
            if error.reason not in ("STORE_UNAVAILABLE", "STORE_REFUSED"):
                raise
            _log.warning("nothing was swept", reason=error.reason, why=error.message)

    def _drop_strangers(self) -> None:
        """What was brought here of corpora that another machine has deleted since."""
        layout = self._layout
        if layout.elsewhere is NOWHERE:
            return
        for folder in (*layout.catalogs.glob("*/"), *layout.cartridges.glob("*/")):
            if CORPORA.get(self._store, (folder.name,)) is None:
                delete_tree(folder, layout.data)

    def _sweep(self) -> None:
        layout = self._layout
        torn = [name for name in self._catalogs_elsewhere() if not layout.elsewhere.bring(name)]
        catalogs, damaged = Catalogs.of(layout).all()
        if damaged := [*damaged, *torn]:
            names = ", ".join(f"{path.parent.name}/{path.name}" for path in damaged)
            _log.warning("no window is removed beside a damaged catalog", catalogs=names)
        else:
            windows = {digest for catalog in catalogs for digest in catalog.windows}
            delete_unreferenced_windows(
                layout.windows, windows, root=layout.data, elsewhere=layout.elsewhere
            )
        texts = {document.sha256 for catalog in catalogs for document in catalog.documents}
        self._content.delete_unreferenced(texts | self._corpora.referenced_digests())

    def _catalogs_elsewhere(self) -> list[Path]:
        """Those that other machines have made and that are not here: what they name is in use."""
        folder = self._layout.catalogs
        there = self._layout.elsewhere.entries(folder)
        return [
            folder / name
            for name in there
            if name.endswith(".json") and not (folder / name).exists()
        ]

    def forget_cartridge(self, deleted: CartridgeRecord) -> None:
        self._remove(deleted.corpus_id, deleted.id)

    def _remove(self, corpus_id: str, cartridge_id: str = "") -> None:
        layout = self._layout
        folders = [layout.cartridge(corpus_id, cartridge_id)]
        if not cartridge_id:
            kept = (layout.uploads, layout.catalogs, layout.cartridges)
            folders = [folder / corpus_id for folder in kept]
        gone = [remove_tree(folder, layout.data, layout.elsewhere) for folder in folders]
        if all(gone):
            end_deletion(self._store, corpus_id, cartridge_id)
