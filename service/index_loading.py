"""A catalog to the index that it names."""

from collections.abc import Callable
from dataclasses import replace

from retrieval.corpus_index import CorpusIndex, Document, Placement
from retrieval.crag import SIZE_TOKENS
from retrieval.digest import BUDGET, Digest
from retrieval.window_index import WindowShelf
from service.state.content import ContentStore
from service.state.index_catalog import Catalog, CatalogDigest


def load_index(catalog: Catalog, content: ContentStore, windows: WindowShelf) -> CorpusIndex:
    """The index in memory; keys stay mapped from their files."""
    documents = [Document(d.id, content.read_text(d.sha256)) for d in catalog.documents]
    placements = [
        Placement(number, window.start, windows.get(window.digest))
        for number, document in enumerate(catalog.documents)
        for window in document.windows
    ]
    digests = (Digest(one.budget, one.sentences, one.speaks_for) for one in catalog.digests)
    return CorpusIndex(documents, placements, digests)


def with_digest(catalog: Catalog, index: CorpusIndex, count: Callable[[str], int]) -> Catalog:
    """The catalog with the digest that overviews begin from; `count` gives a line's tokens."""
    made = index.digest(BUDGET, lambda sentence: count(index.text(sentence)) + SIZE_TOKENS)
    return replace(catalog, digests=(CatalogDigest(made.budget, made.sentences, made.speaks_for),))
