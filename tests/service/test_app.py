"""What a service mends in its data folder when it starts."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.app import Service
from service.config import Layout, ServiceConfig
from service.state.catalog import Catalog
from service.state.catalogs import Catalogs
from service.state.content import ContentStore, examine
from service.state.corpora import Corpora
from service.state.corpus import CorpusState
from service.state.requests import Requests
from service.state.sqlite_store import SqliteStore
from service.state.tables import REQUESTS

OLD, NEW = (f"00000000-0000-4000-8000-00000000000{number}" for number in "12")


@pytest.fixture
def start(tmp_path: Path, model_folder: Path) -> Callable[[], Service]:
    """Composes a service over the tiny model; no worker is started."""
    return lambda: Service(ServiceConfig(tmp_path / "data", model=str(model_folder), threads=1))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "data")


def test_answers_older_than_a_day_are_forgotten_at_the_start(
    start: Callable[[], Service], layout: Layout
) -> None:
    store = SqliteStore(layout.database)
    requests = Requests(store)
    for request_id in (OLD, NEW):
        requests.once("Query", request_id, b"?", lambda: b"first")
    long_ago = time.time() - 25 * 3600
    answered = REQUESTS.get(store, ("Query", OLD))
    assert answered is not None
    REQUESTS.put(store, ("Query", OLD), answered | {"create_time": long_ago})
    store.close()
    service = start()
    again = service.backend.requests
    assert again.once("Query", NEW, b"?", lambda: b"second") == b"first"
    assert again.once("Query", OLD, b"?", lambda: b"second") == b"second"
    service.close()


def test_a_corpus_that_another_model_indexed_can_be_indexed_again(
    start: Callable[[], Service], layout: Layout
) -> None:
    store, content = SqliteStore(layout.database), ContentStore(layout.data)
    corpora, catalogs = Corpora(store, content), Catalogs(layout.catalogs)
    for corpus_id in ("mine", "busy"):
        corpora.create(corpus_id)
        path = layout.data / "incoming"
        path.write_text("The lamp is lit at dusk.")
        corpora.add_document(corpus_id, "a.txt", examine(path))
        content.put_file(path)
        digest = corpora.get(corpus_id).content_digest
        catalogs.put(corpus_id, Catalog(digest, "0123456789abcdef", 1, 1, ()))
        corpora.mark_ready(corpus_id, digest, 1, 1)
    corpora.mark_indexing("busy")
    store.close()
    service = start()
    found = {corpus.id: corpus for corpus in service.backend.corpora.list()[0]}
    assert found["mine"].state is CorpusState.OPEN
    assert found["busy"].state is CorpusState.INDEXING
    assert {corpus.indexed_digest for corpus in found.values()} == {None}
    service.close()


def test_a_corpus_that_this_model_indexed_stays_ready(
    start: Callable[[], Service], layout: Layout
) -> None:
    first = start()
    recipe = first.backend.answerer._answerer._library._recipe  # type: ignore[attr-defined]
    corpora, catalogs = first.backend.corpora, Catalogs(layout.catalogs)
    corpora.create("mine")
    digest = corpora.get("mine").content_digest
    catalogs.put("mine", Catalog(digest, recipe, 0, 0, ()))
    corpora.mark_ready("mine", digest, 0, 0)
    first.close()
    second = start()
    assert second.backend.corpora.get("mine").state is CorpusState.READY
    second.close()


def test_a_server_starts_beside_a_damaged_catalog_and_its_corpus_can_be_indexed_again(
    start: Callable[[], Service], layout: Layout
) -> None:
    first = start()
    recipe = first.backend.answerer._answerer._library._recipe  # type: ignore[attr-defined]
    corpora, catalogs = first.backend.corpora, Catalogs(layout.catalogs)
    for corpus_id in ("mine", "other"):
        corpora.create(corpus_id)
        digest = corpora.get(corpus_id).content_digest
        catalogs.put(corpus_id, Catalog(digest, recipe, 0, 0, ()))
        corpora.mark_ready(corpus_id, digest, 0, 0)
        if corpus_id == "mine":
            catalogs.path(corpus_id, recipe, digest).write_text("{")
    first.close()
    second = start()
    states = {corpus.id: corpus.state for corpus in second.backend.corpora.list()[0]}
    assert states == {"mine": CorpusState.OPEN, "other": CorpusState.READY}
    second.close()
