"""A catalog to the index that it names, and the files that stand beside it."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import structlog

from cartridges.store import digest_of, force
from retrieval.corpus_index import CorpusIndex, Document, Placement
from retrieval.dense_index import DenseIndex, DenseIndexError, DenseSettings
from retrieval.digest import BUDGET, Digest
from retrieval.lexical import LexicalIndex, LexicalIndexError
from retrieval.window_index import WindowShelf
from service.state.content import ContentStore
from service.state.index_catalog import Catalog, CatalogDense, CatalogDigest

_log = structlog.stdlib.get_logger("longmemory.index")


def load_index(
    catalog: Catalog,
    content: ContentStore,
    windows: WindowShelf,
    words: Path | None = None,
    vectors: Path | None = None,
) -> CorpusIndex:
    """The index in memory; keys stay mapped from their files. Where the file of its words is damaged
    they are counted again, when they are first searched; where that of its vectors is, they are
    searched exactly.
    """
    documents = [Document(d.id, content.read_text(d.sha256)) for d in catalog.documents]
    placements = [
        Placement(number, window.start, windows.get(window.digest))
        for number, document in enumerate(catalog.documents)
        for window in document.windows
    ]
    digests = (Digest(one.budget, one.sentences, one.speaks_for) for one in catalog.digests)
    return CorpusIndex(
        documents, placements, digests, _words(catalog, words), _dense(catalog, vectors)
    )


def with_words(catalog: Catalog, index: CorpusIndex, path: Path) -> Catalog:
    """The catalog that names the file of the index's words, which is written to `path`."""
    return replace(catalog, words_sha256=_stored(path, index.lexical.save))


def with_dense(
    catalog: Catalog, index: CorpusIndex, path: Path, settings: DenseSettings
) -> Catalog:
    """The catalog that tells how the index's vectors are searched, with the inverted file that is
    written to `path` where they are many.
    """
    built = DenseIndex.build(index.vectors, settings)
    sha256 = _stored(path, built.save) if built.lists else ""
    told = CatalogDense(built.lists, built.probes, built.recall, len(built), sha256)
    return replace(catalog, dense=told)


def _stored(path: Path, save: Callable[[Path], None]) -> str:
    """Writes a file whole or not at all; its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_suffix(f".{uuid.uuid4().hex}.staging")  # two workers may write it at once
    save(staging)
    force(staging)
    staging.replace(path)
    return digest_of(path)


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


def _dense(catalog: Catalog, path: Path | None) -> DenseIndex | None:
    told = catalog.dense
    if path is None or told is None or not told.lists:
        return None
    try:
        if told.rows != catalog.sentence_count:
            raise DenseIndexError(
                f"{path.name} is of {told.rows} rows, the corpus of another count"
            )
        if digest_of(path) != told.sha256:
            raise DenseIndexError(f"{path.name} does not match its digest")
        return DenseIndex.load(path, told.rows, told.recall)
    except (OSError, DenseIndexError) as error:
        _log.warning(
            "the vectors of a corpus are searched exactly, which is slower; index it again",
            reason=str(error),
        )
        return None


def with_digest(catalog: Catalog, index: CorpusIndex, count: Callable[[str], int]) -> Catalog:
    """The catalog with the digest that overviews begin from; `count` gives a line's tokens."""
    made = index.digest(BUDGET, lambda sentence: count(index.text(sentence)))
    return replace(catalog, digests=(CatalogDigest(made.budget, made.sentences, made.speaks_for),))
