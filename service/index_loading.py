"""A catalog to the index that it names."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import structlog

from cartridges.store import digest_of, force
from engine.fail_point import fail_point
from retrieval.corpus_index import CorpusIndex, Document, Placement
from retrieval.digest import BUDGET, Digest
from retrieval.lexical import LexicalIndex, LexicalIndexError
from retrieval.window_index import WindowShelf
from service.state.content import ContentStore
from service.state.index_catalog import Catalog, CatalogDigest

_log = structlog.stdlib.get_logger("longmemory.index")


def load_index(
    catalog: Catalog, content: ContentStore, windows: WindowShelf, words: Path | None = None
) -> CorpusIndex:
    """The index in memory; keys stay mapped from their files. Where the file of its words is damaged
    they are counted again, when they are first searched.
    """
    documents = [Document(d.id, content.read_text(d.sha256)) for d in catalog.documents]
    placements = [
        Placement(number, window.start, windows.get(window.digest))
        for number, document in enumerate(catalog.documents)
        for window in document.windows
    ]
    digests = (Digest(one.budget, one.sentences, one.speaks_for) for one in catalog.digests)
    return CorpusIndex(documents, placements, digests, _words(catalog, words))


def with_words(catalog: Catalog, index: CorpusIndex, path: Path, staging: Path) -> Catalog:
    """The catalog that names the file of the index's words, brought to `path` through `staging`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    index.lexical.save(staging)
    force(staging)
    fail_point("words.written")
    staging.replace(path)
    fail_point("words.renamed")
    return replace(catalog, words_sha256=digest_of(path))


def _words(catalog: Catalog, path: Path | None) -> LexicalIndex | None:
    if path is None or not catalog.words_sha256:
        return None
    try:
        if digest_of(path) != catalog.words_sha256:
            raise LexicalIndexError(f"{path.name} does not match its digest")
        return LexicalIndex.load(path, catalog.sentence_count)
    except (OSError, LexicalIndexError) as error:
        _log.warning("the words of a corpus are counted anew; index it again", reason=str(error))
        return None


def with_digest(catalog: Catalog, index: CorpusIndex, count: Callable[[str], int]) -> Catalog:
    """The catalog with the digest that overviews begin from; `count` gives a line's tokens."""
    made = index.digest(BUDGET, lambda sentence: count(index.text(sentence)))
    return replace(catalog, digests=(CatalogDigest(made.budget, made.sentences, made.speaks_for),))
