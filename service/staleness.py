"""How much of a corpus a stale cartridge does not know."""

from collections.abc import Iterable

from cartridges.manifest import CartridgeError
from cartridges.store import read_manifest
from service.cartridge_places import find_place
from service.config import Layout
from service.state.cartridge_shelf import CartridgeRecord, CartridgeState
from service.state.catalogs import Catalogs
from service.state.corpora import Corpora


class Staleness:
    """Compares the windows that a cartridge has studied with those that there are."""

    def __init__(self, layout: Layout, corpora: Corpora, recipe: str) -> None:
        self._layout, self._corpora, self._recipe = layout, corpora, recipe
        self._catalogs = Catalogs.of(layout)

    def __call__(self, record: CartridgeRecord) -> float:
        """How far a stale cartridge and its corpus are apart: of the windows that either has, the share
        that only one of them has, for what was removed is asserted still. 0..1; 0 for any other
        cartridge, and until the corpus is indexed as it stands.
        """
        if record.state is not CartridgeState.STALE:
            return 0.0
        digest = self._corpora.get(record.corpus_id).indexed_digest or ""
        catalog = self._catalogs.get(record.corpus_id, self._recipe, digest) if digest else None
        if catalog is None:
            return 0.0
        try:
            folder = self._layout.cartridge(record.corpus_id, record.id)
            root, elsewhere = self._layout.data, self._layout.elsewhere
            place = find_place(folder, record.tensor_digest, root, elsewhere)
            manifest = read_manifest(place, root)
        except CartridgeError:
            return 1.0
        return share_changed(manifest.windows, catalog.windows)


def share_changed(known: Iterable[str], there: Iterable[str]) -> float:
    """Of the windows that are known or there, by their digests, the share that only one side has."""
    studied, standing = set(known), set(there)
    return len(studied ^ standing) / max(1, len(studied | standing))
