"""No artifact is read, written or removed through a link, in a service as it is composed."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from answering_room import build
from grpc_room import UUIDS, chunk, header, open_room, refused

from cartridges.manifest import CartridgeError
from engine.config import EngineConfig
from engine.embedding import Embedder
from engine.errors import FileNotPlainError
from engine.model import LanguageModel
from service.app import Service
from service.config import Layout, ServiceConfig
from service.cores import CoreShare
from service.library import Library
from service.state.catalogs import Catalogs
from service.state.content import examine
from service.state.data_folder import lock_data_folder
from service.state.jobs import Jobs
from service.state.sqlite_store import SqliteStore
from service.state.store import Store
from service.supervisor import WorkerSupervisor
from service.work_folders import WorkFolders
from service.worker import Worker, WorkerSettings

TEXT = "The lamp is lit at dusk.\nThe ferry leaves at nine.\n"


@pytest.fixture(scope="module")
def template(
    tmp_path_factory: pytest.TempPathFactory, model_folder: Path, embedder: Embedder
) -> Path:
    """A data folder with one indexed corpus and a cartridge."""
    data = tmp_path_factory.mktemp("template") / "data"
    data.mkdir()
    model = LanguageModel.load(EngineConfig(data, str(model_folder), threads=1))
    room = build(data, model, embedder)
    room.corpora.create("books")
    room.write(TEXT)
    room.index()
    room.store("c-1", model)
    room.thread.close()
    room.corpora._store.close()
    return data


@dataclass
class Links:
    """A service over a data folder, and links in it."""

    data: Path
    service: Service

    @property
    def library(self) -> Library:
        found: Library = self.service.backend.answerer._answerer._library  # type: ignore[attr-defined]
        return found

    def find(self, pattern: str) -> Path:
        return next(iter(sorted(self.data.glob(pattern))))

    def load(self, is_cartridge: bool) -> object:
        """Reads the index, or the cartridge, anew from its files."""
        library, corpora = self.library, self.service.backend.corpora
        library._corpora.drop(lambda key: True)
        library._cartridges.drop(lambda key: True)
        library._manifests.drop(lambda key: True)
        if not is_cartridge:
            return library.corpus(corpora.get("books"))
        record = self.service.backend.shelf.get("books", "c-1")
        return library.part("books", "c-1", record.tensor_digest, 0)

    @contextmanager
    def exchanged(self, path: Path) -> Iterator[Path]:
        """Inside, a link to a valid copy elsewhere lies at the path."""
        elsewhere = self.data.parent / "elsewhere"
        path.rename(elsewhere)
        path.symlink_to(elsewhere)
        try:
            yield elsewhere
        finally:
            path.unlink()
            elsewhere.rename(path)


@contextmanager
def serving(data: Path, model_folder: Path) -> Iterator[Links]:
    service = Service(ServiceConfig(data, model=str(model_folder), threads=1))
    try:
        yield Links(data, service)
    finally:
        service.close()


@pytest.fixture(scope="module")
def links(
    template: Path, model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Links]:
    data = tmp_path_factory.mktemp("links") / "data"
    shutil.copytree(template, data)
    with serving(data, model_folder) as opened:
        yield opened


ARTIFACTS = {
    "documents/*/*": 3,
    "windows/*/*/*.safetensors": 4,
    "indexes/books/*.json": 3,
    "indexes/books/*.safetensors": 1,
    "cartridges/books/c-1/manifest.json": 4,
    "cartridges/books/c-1/part-000.safetensors": 1,
}
"""Files by pattern, and how many levels of each are exchanged: the file, its folder and so on."""
CASES = [(pattern, level) for pattern, levels in ARTIFACTS.items() for level in range(levels)]


@pytest.mark.parametrize(("pattern", "level"), CASES)
def test_an_artifact_behind_a_link_is_refused_by_its_name(
    links: Links, pattern: str, level: int
) -> None:
    is_cartridge = pattern.startswith("cartridges")
    links.load(is_cartridge)
    file = links.find(pattern)
    path = [file, *file.parents][level]
    with links.exchanged(path), pytest.raises((FileNotPlainError, CartridgeError)) as caught:
        links.load(is_cartridge)
    error: Any = caught.value
    assert error.reason == "FILE_NOT_PLAIN"
    assert f"data/{path.relative_to(links.data)} is a link" in str(error)
    links.load(is_cartridge)


def test_the_data_folder_itself_may_be_a_link(
    template: Path, model_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(template, tmp_path / "disk")
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    with serving(tmp_path / "data", model_folder) as opened:
        opened.load(is_cartridge=False)
        opened.load(is_cartridge=True)


def tree(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["documents", "windows", "indexes", "cartridges"])
def test_a_sweep_removes_nothing_behind_a_link(links: Links, name: str) -> None:
    unneeded = links.data / name / "00" / ("0" * 64)
    unneeded.parent.mkdir(exist_ok=True)
    unneeded.touch()
    for path in (links.data / name).rglob("*"):
        os.utime(path, (0, 0))
    with links.exchanged(links.data / name) as elsewhere:
        before = tree(elsewhere)
        links.service.backend.artifacts.sweep()  # type: ignore[attr-defined]
        links.service.backend.artifacts.tidy()  # type: ignore[attr-defined]
        (record,) = links.service.backend.shelf.list("books")[0]
        links.service.backend.artifacts.forget_cartridge(record)
        assert tree(elsewhere) == before


def test_a_sweep_that_meets_a_linked_catalog_keeps_what_that_may_name(links: Links) -> None:
    """What a catalog names that must not be read is not known, so nothing counts as unneeded."""
    windows = tree(links.data / "windows")
    with links.exchanged(links.data / "indexes/books"):
        for path in (links.data / "windows").rglob("*.safetensors"):
            os.utime(path, (0, 0))
        links.service.backend.artifacts.sweep()  # type: ignore[attr-defined]
        assert set(tree(links.data / "windows")) == set(windows)


@pytest.mark.parametrize("name", ["indexes", "cartridges"])
def test_a_deleted_corpus_takes_nothing_with_it_behind_a_link(
    template: Path, model_folder: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(template, tmp_path / "data")
    with serving(tmp_path / "data", model_folder) as opened:
        backend = opened.service.backend
        with opened.exchanged(opened.data / name) as elsewhere:
            before = tree(elsewhere)
            backend.artifacts.forget_corpus(backend.corpora.delete("books"))
            assert tree(elsewhere) == before
        (other,) = {"indexes", "cartridges"} - {name}
        assert list((opened.data / other).iterdir()) == []
        assert (opened.data / name / "books").exists()
        backend.artifacts.finish_deletions()  # the next server's start, with the link away
        assert list((opened.data / name).iterdir()) == []


@pytest.mark.parametrize("name", ["lock", "longmemory.sqlite3", "longmemory.sqlite3-wal"])
def test_a_service_starts_over_no_linked_lock_or_database(
    template: Path, model_folder: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(template, tmp_path / "data")
    (tmp_path / "data" / name).unlink(missing_ok=True)
    (tmp_path / "precious").write_text("dear diary")
    (tmp_path / "data" / name).symlink_to(tmp_path / "precious")
    with pytest.raises(FileNotPlainError, match=f"{name} is a link"):
        Service(ServiceConfig(tmp_path / "data", model=str(model_folder), threads=1))
    assert (tmp_path / "precious").read_text() == "dear diary"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An empty data folder beside a folder that is somebody else's."""
    (tmp_path / "data").mkdir()
    (tmp_path / "foreign").mkdir()
    return tmp_path / "data"


def lead_away(path: Path, data: Path) -> Path:
    """A link at the path to the foreign folder, which is returned."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(data.parent / "foreign")
    return data.parent / "foreign"


LEVELS = ("uploads", "uploads/books", f"uploads/books/{UUIDS[1]}", "documents")


@pytest.mark.parametrize("level", LEVELS)
async def test_an_upload_through_a_linked_folder_is_refused_over_the_wire(
    data: Path, level: str
) -> None:
    async with open_room(data) as room:
        await room.new_corpus()
        foreign = lead_away(data / level, data)
        found = await refused(
            room.upload(header(request_id=UUIDS[1]), chunk(b"Once upon", finish=True))
        )
        assert (found.code, found.reason) == ("FAILED_PRECONDITION", "FILE_NOT_PLAIN")
        assert f"data/{level} is a link" in found.message
        assert list(foreign.iterdir()) == []


async def test_an_upload_goes_on_in_no_linked_file_and_is_forgotten_behind_no_link(
    data: Path,
) -> None:
    async with open_room(data) as room:
        await room.new_corpus()
        await room.upload(header(request_id=UUIDS[1]), chunk(b"Once "))
        (part,) = data.glob("uploads/books/*/*.part")
        precious = data.parent / "foreign/precious"
        part.rename(precious)
        part.symlink_to(precious)
        found = await refused(
            room.upload(header(request_id=UUIDS[1]), chunk(b"upon", offset=5, finish=True))
        )
        assert found.reason == "FILE_NOT_PLAIN"
        assert precious.read_bytes() == b"Once "
        shutil.rmtree(data / "uploads/books")
        (data / "uploads/books").symlink_to(precious.parent)
        room.backend.uploads.forget("books")
        assert precious.exists()


def test_a_document_is_counted_from_no_link(data: Path) -> None:
    (data / "text").symlink_to(data / "other")
    (data / "other").write_text("Once")
    with pytest.raises(FileNotPlainError):
        examine(data / "text", data)


def test_what_a_service_writes_goes_through_no_linked_folder(
    template: Path, model_folder: Path, tmp_path: Path, embedder: Embedder
) -> None:
    shutil.copytree(template, tmp_path / "data")
    model = LanguageModel.load(EngineConfig(tmp_path / "data", str(model_folder), threads=1))
    room = build(tmp_path / "data", model, embedder)
    room.write("A new sentence stands here.", "b.txt")
    for name in ("windows", "indexes", "indexes/books", "documents"):
        path, aside = room.layout.data / name, tmp_path / "aside"
        path.rename(aside)
        shutil.copytree(aside, tmp_path / "foreign")
        path.symlink_to(tmp_path / "foreign")
        before = tree(tmp_path / "foreign")
        with pytest.raises(FileNotPlainError, match=f"data/{name} is a link"):
            room.index()
        assert tree(tmp_path / "foreign") == before
        path.unlink()
        aside.rename(path)
        shutil.rmtree(tmp_path / "foreign")
    room.index()
    room.thread.close()
    room.corpora._store.close()


@pytest.mark.parametrize("level", ["work", "work/JOB"])
def test_a_job_works_in_no_linked_folder(data: Path, store: Store, level: str) -> None:
    jobs = Jobs(store)
    from service.state.job import JobKind

    jobs.enqueue(JobKind.INDEX, "books", "corpora/books", {})
    job = jobs.claim("w1")
    assert job is not None
    folders = WorkFolders(data / "work", jobs, data)
    claim = f"{job.id}.{job.token}"
    foreign = lead_away(data / level.replace("JOB", claim), data)
    (foreign / "0123.7").mkdir()
    with pytest.raises(FileNotPlainError, match="is a link"):
        folders.take(job)
    folders.sweep()
    folders.clear(job.id)
    assert [path.name for path in foreign.iterdir()] == ["0123.7"]


def test_a_worker_says_why_a_job_that_met_a_link_failed(
    template: Path, model_folder: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(template, data)
    from service.lease import Surroundings
    from service.state.job import JobKind, JobState

    settings = WorkerSettings(EngineConfig(data, str(model_folder), threads=1), only_one=True)
    worker = Worker(settings, Surroundings())
    (queue,) = worker._queues.all()
    job = queue.jobs.enqueue(JobKind.INDEX, "books", "corpora/books", {})
    (data / "windows").rename(tmp_path / "windows")
    (data / "windows").symlink_to(tmp_path / "windows")
    worker.run()
    ended = queue.jobs.get(job.id)
    assert ended.state is JobState.FAILED
    assert ended.error is not None
    assert ended.error.reason == "FILE_NOT_PLAIN"
    assert "data/windows is a link" in ended.error.message


def test_cores_locks_logs_and_calibrations_are_no_links(
    data: Path, model: LanguageModel, store: Store
) -> None:
    from retrieval.heads import retrieval_heads

    layout = Layout(data)
    precious = data.parent / "foreign/precious"
    precious.write_text("{}")
    for path in (
        layout.cores / "server.busy",
        layout.logs / "worker.log",
        layout.calibrations / f"{model.fingerprint}.json",
        data / "lock",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(precious)
    config = ServiceConfig(data)
    acts: tuple[Callable[[], object], ...] = (
        CoreShare(layout.cores, "server", "worker", root=data).take,
        WorkerSupervisor(config, Jobs(store))._run_worker,
        lambda: retrieval_heads(model, layout.calibrations, data),
        lambda: lock_data_folder(data),
    )
    for act in acts:
        with pytest.raises(FileNotPlainError, match="is a link"):
            act()
    assert precious.read_text() == "{}"


def test_an_old_catalog_that_is_a_link_is_removed_without_its_target(data: Path) -> None:
    from service.state.catalog import Catalog

    catalogs = Catalogs(data / "indexes", data)
    catalog = Catalog("d" * 64, "r", 1, 1, ())
    precious = data.parent / "foreign/precious.json"
    precious.write_text("{}")
    (data / "indexes/books").mkdir(parents=True)
    old = data / "indexes/books/old.json"
    old.symlink_to(precious)
    os.utime(old, (0, 0), follow_symlinks=False)
    catalogs.put("books", catalog)
    catalogs.keep_only("books", catalog)
    assert [path.name for path in (data / "indexes/books").iterdir()] == [f"r-{'d' * 64}.json"]
    assert precious.exists()
    assert catalogs.get("books", "r", "d" * 64) == replace(catalog)


def test_a_database_that_is_a_link_is_not_opened(data: Path) -> None:
    SqliteStore(data / "own.sqlite3").close()
    (data / "state.sqlite3").symlink_to(data / "own.sqlite3")
    with pytest.raises(FileNotPlainError):
        SqliteStore(data / "state.sqlite3")
