"""A catalog to the index that it names, and the files that stand beside it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import structlog

from cartridges.store import digest_of
from engine.plain_file import plain_path
from engine.plain_folder import staged
from engine.prompts import Prompter
from retrieval.corpus_index import CorpusIndex, Document, Placement
from retrieval.dense_index import DenseIndex, DenseIndexError, DenseSettings
from retrieval.digest import BUDGET
from retrieval.lexical import LexicalIndex, LexicalIndexError
from retrieval.summaries import SummarySettings, summarise
from retrieval.window_index import WindowShelf
from service.state.catalog import Catalog, CatalogDense
from service.state.content import ContentStore

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

    Raises ServiceError DOCUMENT_DAMAGED, and FileNotPlainError where a file is a link.
    """
    documents = [Document(d.id, content.read_text(d.sha256)) for d in catalog.documents]
    placements = [
        Placement(number, window.start, windows.get(window.digest))
        for number, document in enumerate(catalog.documents)
        for window in document.windows
    ]
    root = content.root
    read_words, searched = _words(catalog, words, root), _dense(catalog, vectors, root)
    return CorpusIndex(
        documents, placements, catalog.digests, read_words, searched, catalog.summaries
    )


def with_words(
    catalog: Catalog, index: CorpusIndex, path: Path, root: Path, within: Path | None = None
) -> Catalog:
    """The catalog that names the file of the index's words, which is written to `path`, by way of the
    folder `within` where one is given.

    Raises FileNotPlainError where a folder below `root` is a link.
    """
    with staged(path, root, point="words", within=within) as staging:
        index.lexical.save(staging)
    return replace(catalog, words_sha256=digest_of(path, root))


def with_dense(
    catalog: Catalog,
    index: CorpusIndex,
    path: Path,
    root: Path,
    settings: DenseSettings,
    within: Path | None = None,
) -> Catalog:
    """The catalog that tells how the index's vectors are searched, with the inverted file that is
    written to `path` where they are many. Raises, and writes, as `with_words`.
    """
    built, sha256 = DenseIndex.build(index.vectors, settings), ""
    if built.lists:
        with staged(path, root, point="vectors", within=within) as staging:
            built.save(staging)
        sha256 = digest_of(path, root)
    told = CatalogDense(built.lists, built.probes, built.recall, len(built), sha256)
    return replace(catalog, dense=told)


def _words(catalog: Catalog, path: Path | None, root: Path) -> LexicalIndex | None:
    if path is None or not catalog.words_sha256:
        return None
    try:
        if digest_of(path, root) != catalog.words_sha256:
            raise LexicalIndexError(f"{path.name} does not match its digest")
        return LexicalIndex.load(path, catalog.sentence_count, root)
    except (OSError, LexicalIndexError) as error:
        _log.warning("the words of a corpus are counted anew; index it again", reason=str(error))
        return None


def _dense(catalog: Catalog, path: Path | None, root: Path) -> DenseIndex | None:
    told = catalog.dense
    if path is None or told is None or not told.lists:
        return None
    try:
        if told.rows != catalog.sentence_count:
            raise DenseIndexError(f"it is of {told.rows} rows, the corpus of another count")
        if digest_of(path, root) != told.sha256:
            raise DenseIndexError("it does not match its digest")
        with plain_path(path, root) as opened:
            return DenseIndex.load(opened, told.rows, told.recall)
    except (OSError, DenseIndexError) as error:
        _log.warning(
            "the vectors of a corpus are searched exactly, which is slower; index it again",
            reason=f"{path.name}: {error}",
        )
        return None


def with_digest(catalog: Catalog, index: CorpusIndex, count: Callable[[str], int]) -> Catalog:
    """The catalog with the digest that overviews begin from; `count` gives a line's tokens."""
    made = index.digest(BUDGET, lambda sentence: count(index.text(sentence)))
    return replace(catalog, digests=(made,))


def with_summaries(
    catalog: Catalog, index: CorpusIndex, prompter: Prompter, before: Catalog | None
) -> Catalog:
    """The catalog with what the model says of each cluster; texts of an index before are taken over."""
    known = {one.key: one.text for one in before.summaries} if before else {}
    return replace(catalog, summaries=summarise(index, prompter, SummarySettings(), known))
