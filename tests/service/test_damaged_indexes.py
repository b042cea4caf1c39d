"""An index with damaged files answers as well as it can, says so, and is mended by indexing again."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import pytest
from answering_room import Room, build
from structlog.testing import capture_logs

from cartridges.store import digest_of
from engine.embedding import Embedder
from engine.model import LanguageModel
from retrieval.dense_index import DenseSettings
from service.answers import Question, Route, SamplingParams, Summary
from service.artifacts import StoredArtifacts
from service.state.catalog import Catalog
from service.stored_indexes import StoredIndexes

MANY = 1_000  # sentences that get an inverted file here
ASKED = Question(
    "books", "Who keeps the lamp of the harbor?", Route.CRAG, sampling=SamplingParams(max_tokens=4)
)


def sentences(count: int) -> str:
    things = ("lamp", "ferry", "rope", "anchor", "signal", "boat", "pier")
    return "\n".join(
        f"The {things[i % 7]} of house {i} is kept by the {things[i // 7 % 7]} keeper {i * i}."
        for i in range(count)
    )


@pytest.fixture(scope="module")
def indexed(
    tmp_path_factory: pytest.TempPathFactory, model: LanguageModel, embedder: Embedder
) -> Path:
    """A data folder with one long corpus."""
    folder = tmp_path_factory.mktemp("many") / "data"
    room = build(folder, model, embedder)
    room.indexer._dense = DenseSettings(begin=MANY)
    room.corpora.create("books")
    room.write(sentences(MANY))
    room.index()
    close(room)
    return folder


@pytest.fixture
def make_room(
    tmp_path: Path, model: LanguageModel, embedder: Embedder
) -> Iterator[Callable[[], Room]]:
    rooms: list[Room] = []

    def make() -> Room:
        room = build(tmp_path / "data", model, embedder)
        room.indexer._dense = DenseSettings(begin=MANY)
        rooms.append(room)
        return room

    yield make
    for room in rooms:
        close(room)


def close(room: Room) -> None:
    room.thread.close()
    room.corpora._store.close()


@pytest.fixture
def many(make_room: Callable[[], Room], indexed: Path, tmp_path: Path) -> Room:
    """A corpus whose vectors are searched by an inverted file."""
    shutil.copytree(indexed, tmp_path / "data")
    return make_room()


@pytest.fixture
def few(make_room: Callable[[], Room]) -> Room:
    """A corpus of ten sentences."""
    room = make_room()
    room.corpora.create("books")
    room.write(sentences(10))
    room.index()
    return room


def files(room: Room) -> dict[str, Path]:
    """The files of the index that the record names, by suffix."""
    corpus = room.corpora.get("books")
    stem = f"{room.library._recipe}-{corpus.indexed_digest}"
    return {path.suffix: path for path in (room.layout.catalogs / "books").glob(f"{stem}.*")}


def stored(room: Room) -> StoredIndexes:
    return StoredIndexes(room.layout, room.library._recipe)


def is_whole(room: Room) -> bool:
    return stored(room).is_whole(room.corpora.get("books"))


def catalog_of(room: Room) -> Catalog:
    digest = room.corpora.get("books").indexed_digest or ""
    catalog = room.catalogs.get("books", room.library._recipe, digest)
    assert catalog is not None
    return catalog


def resident(room: Room) -> tuple[Any, list[Any]]:
    """The index in memory, and what was logged."""
    with capture_logs() as logs:
        return room.resident(), logs


async def test_many_vectors_are_searched_by_the_file_that_indexing_left(many: Room) -> None:
    held, logs = resident(many)
    told = stored(many).dense(many.corpora.get("books"))
    assert told is not None
    assert (told.lists, told.rows) == (held.index.dense.lists, len(held.index)) == (20, MANY)
    assert told.recall == held.index.dense.recall >= DenseSettings().floor
    assert held.index.search(held.index.vectors[MANY // 2], 1)[0].tolist() == [MANY // 2]
    assert not logs
    assert is_whole(many)
    assert isinstance((await many.events(ASKED))[-1], Summary)


def test_few_vectors_need_no_file(few: Room) -> None:
    told = stored(few).dense(few.corpora.get("books"))
    assert told is not None
    assert (told.lists, told.probes, told.recall, told.rows) == (0, 0, 1.0, 10)
    assert set(files(few)) == {".json", ".safetensors"}
    assert not resident(few)[0].index.dense.lists
    assert is_whole(few)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize("damage", [flip, shorten, Path.unlink])
async def test_vectors_whose_file_is_damaged_are_searched_exactly(
    many: Room, damage: Callable[[Path], None]
) -> None:
    path = files(many)[".faiss"]
    damage(path)
    held, logs = resident(many)
    assert held.index.dense.lists == 0
    assert held.index.search(held.index.vectors[7], 1)[0].tolist() == [7]
    (line,) = logs
    assert line["log_level"] == "warning"
    assert "index it again" in line["event"]
    assert path.name in line["reason"]
    assert isinstance((await many.events(ASKED))[-1], Summary)


@pytest.mark.parametrize("suffix", [".faiss", ".safetensors", ".json"])
async def test_indexing_again_mends_a_damaged_file_also_for_a_server_that_runs(
    many: Room, suffix: str
) -> None:
    shorten(files(many)[suffix])
    if suffix != ".json":
        resident(many)
    assert not is_whole(many)
    assert many.index().read == 0
    held, logs = resident(many)
    assert held.index.dense.lists
    assert held.index._lexical is not None
    assert not logs
    assert is_whole(many)


@pytest.mark.parametrize("told", [MANY, MANY - 1])
def test_a_file_of_another_count_is_not_searched(many: Room, told: int) -> None:
    """Whole by its digest, but of fewer rows than the corpus has sentences."""
    catalog, path = catalog_of(many), files(many)[".faiss"]
    fewer = faiss.read_index(str(path))
    fewer.reset()
    fewer.add(many.resident().index.vectors[:-1])
    faiss.write_index(fewer, str(path))
    assert catalog.dense is not None
    dense = replace(catalog.dense, rows=told, sha256=digest_of(path))
    many.catalogs.put("books", replace(catalog, dense=dense))
    held, logs = resident(many)
    assert held.index.dense.lists == 0
    (line,) = logs
    assert line["log_level"] == "warning"
    assert path.name in line["reason"]


async def test_the_index_before_answers_where_the_catalog_is_damaged(few: Room) -> None:
    before = catalog_of(few)
    few.write("The lamp of the harbor is kept by Ada.", "b.txt")
    few.index()
    assert (await few.events(ASKED))[0].signals["index_fresh"] == 1.0
    few.library._corpora.drop(lambda key: True)
    shorten(files(few)[".json"])
    held, logs = resident(few)
    assert held.catalog == before
    assert not is_whole(few)
    assert [line["serves"] for line in logs] == ["an earlier index"]
    decision, evidence, *_ = await few.events(ASKED)
    assert decision.signals["index_fresh"] == 0.0
    assert {piece.document for piece in evidence} == {"a.txt"}

    few.index()
    decision, evidence, *_ = await few.events(ASKED)
    assert decision.signals["index_fresh"] == 1.0
    assert "b.txt" in {piece.document for piece in evidence}


async def test_an_index_of_a_removed_text_never_answers_again(few: Room) -> None:
    few.write("The lamp of the harbor is kept by Ada.", "b.txt")
    few.index()
    few.corpora.delete_document("books", "b.txt")
    few.index()
    few.library._corpora.drop(lambda key: True)
    shorten(files(few)[".json"])
    assert await few.reason(ASKED) == "CORPUS_NOT_READY"
    few.index()
    assert isinstance((await few.events(ASKED))[-1], Summary)


def test_windows_outlast_a_damaged_catalog_and_texts_are_swept_beside_it(few: Room) -> None:
    shorten(files(few)[".json"])
    few.write("A text that nobody names any more.", "b.txt")
    few.corpora.delete_document("books", "b.txt")
    windows = list(few.layout.windows.rglob("*.safetensors"))
    for path in few.layout.data.rglob("*"):
        if path.is_file():
            os.utime(path, (1e9, 1e9))
    artifacts = StoredArtifacts(few.corpora._store, few.layout, few.corpora, few.content)
    with capture_logs() as logs:
        artifacts.tidy()
    assert windows
    assert all(path.exists() for path in windows)
    assert [files(few)[".json"].name in line["catalogs"] for line in logs] == [True]
    texts = [path.name for path in few.layout.data.rglob("*") if len(path.name) == 64]
    assert texts == [document.sha256 for document in few.corpora.list_documents("books")[0]]
    assert few.index().read == 0
