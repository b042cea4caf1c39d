"""Processes killed between every two steps of storing something lose, double and tear nothing."""

import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from forked_process import ForkedProcess
from kill_room import KILLED, STEPS, KillRoom, at_rest, file_in, id_of, text_of, train
from process_room import COMMAND, PATIENCE, Launch, environment, long_text, serving, working

from benchmarks.whole_artifacts import artifact_digests
from cartridges.manifest import CartridgeError
from cartridges.peft_adapter import export_adapter
from cartridges.store import BuiltPart, read_manifest
from engine.fail_point import FAIL_POINTS, VARIABLE
from engine.model import LanguageModel
from service.client.connection import Client, ClientError

pytestmark = pytest.mark.process

SERVER = (
    "corpus.recorded", "corpus.created", "upload.begun", "upload.written", "upload.recorded",
    "text.forced", "text.renamed", "text.stored", "upload.committed", "index.marked", "job.queued",
    "job.ordered", "cartridge.promised",
)  # fmt: skip
INDEX = (
    "job.claimed", "job.begun", "work.taken", "lease.renewed", "index.begun", "window.written",
    "window.forced", "window.renamed", "words.written", "words.forced", "words.renamed",
    "catalog.written", "catalog.forced", "catalog.renamed", "index.recorded", "index.committed",
    "catalog.dropped", "catalogs.dropped", "instant.promised", "job.ended", "job.committed",
    "work.cleared",
)  # fmt: skip
TRAIN = (
    "checkpoint.written", "checkpoint.forced", "checkpoint.renamed", "cartridge.written",
    "cartridge.described", "cartridge.forced", "cartridge.renamed", "cartridge.stored",
    "cartridge.recorded", "cartridge.committed", "cartridge.cleared", "instant.deleted",
)  # fmt: skip
DELETION = ("corpus.deleted", "cartridge.deleted")
BY_HAND = ("cartridge.moved_aside",)  # passed by `longmemory cartridge import` alone
# A job passes these with 100,000 sentences and more; the process that is killed at them here stores the
# vectors of 1000 as the job does, and does nothing else.
MANY = ("vectors.written", "vectors.forced", "vectors.renamed")
SMALL = ("instant.promised", "instant.deleted")


@pytest.fixture(scope="module")
def forking(tmp_path_factory: pytest.TempPathFactory) -> Launch:
    """Starts processes that are there in a second, once all that they import has been."""
    first = ForkedProcess(["--help"], environment(""), tmp_path_factory.mktemp("first") / "out")
    assert first.wait(4 * PATIENCE) == 0
    return ForkedProcess


def test_every_point_has_a_process_that_is_killed_at_it() -> None:
    assert sorted((*SERVER, *INDEX, *TRAIN, *DELETION, *BY_HAND, *MANY)) == sorted(FAIL_POINTS)


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_point_that_is_not_there_is_refused_at_the_start(
    tmp_path: Path, forking: Launch, command: str
) -> None:
    out, data = tmp_path / "out", tmp_path / "data"
    started = forking([command, "--data", str(data)], environment("cartridge.renamd"), out)
    assert started.wait(PATIENCE) == 1
    said = out.read_text()
    assert VARIABLE in said
    assert "cartridge.renamed" in said
    assert "Traceback" not in said
    assert not data.exists()


def test_a_worker_killed_amid_storing_leaves_what_the_next_one_makes_whole(
    tmp_path: Path, model_folder: Path, forking: Launch
) -> None:
    data, texts = tmp_path / "data", [{"a.txt": long_text(3, 60)}, {"a.txt": long_text(4, 200)}]
    open_worker = partial(working, data, model_folder, "", launch=forking)
    short, more = ("--lease", "1"), ("--workers", "0")
    with serving(data, model_folder, more=more, launch=forking) as server:
        with open_worker("a", *short, fail_point="cartridge.stored") as victim:
            server.succeed(server.register("one", texts[0]))
            training = server.train("one", STEPS)
            assert victim.process.wait(PATIENCE) == KILLED
        with open_worker("b", *short, fail_point="window.written:7") as victim:
            assert server.succeed(training).attempt == 2
            indexing = server.register("two", texts[1])
            assert victim.process.wait(PATIENCE) == KILLED
            assert any((data / "work").rglob("*.staging"))
        with open_worker("c", *short), Client(server.address) as client:
            assert server.succeed(indexing).attempt == 2
            server.succeed(server.register("three", texts[1]))
            server.succeed(server.train("one", STEPS, "undisturbed"))
            assert KillRoom(data, model_folder, {}).faults(client) == {}
            made = artifact_digests(data, client)
    assert made["corpora/two"] == made["corpora/three"] != made["corpora/one"]
    killed, undisturbed = (made[f"corpora/one/cartridges/{x}"] for x in ("cart-one", "undisturbed"))
    assert killed == undisturbed


STORE_MANY = """
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from retrieval.dense_index import DenseSettings
from service.index_loading import with_dense
from service.state.catalog import Catalog


def store(root):
    (root / "work").mkdir(parents=True, exist_ok=True)
    vectors = np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index, settings = SimpleNamespace(vectors=vectors), DenseSettings(begin=1000, floor=0.0)
    catalog = Catalog("d", "r", 1, 1000, ())
    with_dense(catalog, index, root / "indexes" / "many.faiss", root, settings, root / "work")


for point in sys.argv[3:]:  # imports take longest: each victim is a fork of a process that has them
    if os.fork() == 0:
        os.environ[sys.argv[2]] = point
        store(Path(sys.argv[1], point or "undisturbed"))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.timeout(900)
def test_vectors_killed_amid_storing_are_there_whole_or_not_at_all(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STORE_MANY, str(tmp_path), VARIABLE, "", *MANY]
    stored = subprocess.run(
        command, env=environment(""), capture_output=True, text=True, timeout=900, check=False
    )
    assert stored.stdout.split() == ["0", *[str(KILLED) for _ in MANY]], stored.stderr
    whole = (tmp_path / "undisturbed" / "indexes" / "many.faiss").read_bytes()
    for point in MANY:
        place = tmp_path / point / "indexes" / "many.faiss"
        is_there = point == "vectors.renamed"
        assert place.exists() == is_there
        assert [path for path in place.parent.iterdir() if path != place] == []
        assert len(list((tmp_path / point / "work").iterdir())) == (0 if is_there else 1)
        assert not is_there or place.read_bytes() == whole


def delete(client: Client, point: str) -> None:
    """What a server passes the point in."""
    if point == "corpus.deleted":
        client.delete_corpus("books", force=True)
    else:
        client.delete_cartridge("books/cart-one")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("point", DELETION)
def test_a_deletion_that_was_killed_is_ended_by_the_next_server(
    tmp_path: Path, model_folder: Path, point: str
) -> None:
    data = tmp_path / "data"
    with serving(data, model_folder) as server:
        server.succeed(server.register("books", {"a.txt": long_text(5, 40)}))
        server.succeed(server.train("books", 2))
    with serving(data, model_folder, name="victim", fail_point=point) as server:
        with Client(server.address) as client, pytest.raises(ClientError):
            delete(client, point)
        assert server.process.wait(PATIENCE) == KILLED
        assert (data / "cartridges" / "books" / "cart-one").is_dir()
    with serving(data, model_folder, name="next") as server, Client(server.address) as client:
        assert not (data / "cartridges" / "books" / "cart-one").exists()
        assert client.list_cartridges() == []
        assert len(client.list_corpora()) == (0 if point == "corpus.deleted" else 1)
        assert KillRoom(data, model_folder, {}).faults(client) == {}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_cartridge_that_was_being_replaced_is_found_again(
    tmp_path: Path, model_folder: Path, model: LanguageModel
) -> None:
    adapter, folder = tmp_path / "adapter", tmp_path / "cartridge"
    export_adapter(adapter, model, BuiltPart(model.prefill(list(range(5, 25)))))
    command = [*COMMAND, "cartridge", "import", str(adapter), str(folder), "--json"]
    command += ["--model", str(model_folder), "--data", str(tmp_path)]

    def imported(point: str = "") -> int:
        return subprocess.run(command, env=environment(point), timeout=900, check=False).returncode

    assert imported() == 0
    assert imported("cartridge.moved_aside") == KILLED
    with pytest.raises(
        CartridgeError, match=r"rename \.cartridge.staging-[0-9a-f]+-replaced to it"
    ):
        read_manifest(folder)
    assert imported() == 0
    read_manifest(folder)
    assert [path.name for path in tmp_path.iterdir() if "staging" in path.name] == []


@dataclass
class Outcome:
    """What became of all victims' folder, and what an undisturbed one holds."""

    codes: dict[str, int]
    faults: dict[str, list[str]]
    digests: dict[str, str]
    expected: dict[str, str]


@pytest.fixture(scope="module")
def outcome(
    tmp_path_factory: pytest.TempPathFactory, model_folder: Path, forking: Launch
) -> Outcome:
    folder = tmp_path_factory.mktemp("kills")
    room = KillRoom(folder / "killed", model_folder, {})
    with room.serving("first") as (_, client), room.working("first-worker"):
        for point in (*INDEX, *TRAIN, "cartridge.promised"):
            file_in(client, point, _before(point) if point in INDEX else _after(point))
        at_rest(client)
    for point in SERVER:
        room.kill_server(point)
    with room.serving("between") as (_, client), room.working("between-worker"):
        at_rest(client)
    with room.serving("second") as (_, client):
        # Who dies amid a claim leaves its job to the next, which is to have one of its own.
        for point in (*INDEX[1:], *TRAIN, INDEX[0]):
            (train if point in TRAIN else _edit)(client, point)
            room.kill_worker(point)
    with room.serving("last") as (_, client), room.working("last-worker"):
        _ask_for_all(client)
        faults, digests = room.faults(client), room.digests(client)
    calm = KillRoom(folder / "undisturbed", model_folder, {})
    with calm.serving("server") as (_, client), calm.working("worker"):
        _ask_for_all(client)
        assert calm.faults(client) == {}
        expected = calm.digests(client)
    return Outcome(room.codes, faults, digests, expected)


def _before(point: str) -> str:
    return text_of(f"{point} before", point in SMALL)


def _after(point: str) -> str:
    return text_of(point, point in SMALL)


def _edit(client: Client, point: str) -> None:
    file_in(client, point, _after(point))


def _ask_for_all(client: Client) -> None:
    """All that is asked for anywhere, until it is made."""
    for point in (*SERVER, *INDEX, *TRAIN):
        _edit(client, point)
    at_rest(client)
    for point in (*TRAIN, "cartridge.promised"):
        train(client, point)
    at_rest(client)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("point", [*SERVER, *INDEX, *TRAIN])
def test_a_kill_at_any_point_loses_nothing_once_somebody_goes_on(
    outcome: Outcome, point: str
) -> None:
    assert outcome.codes[point] == KILLED, "its process passed the point"
    mine = f"corpora/{id_of(point)}"
    names = {name for name in outcome.expected if f"{name}/".startswith(f"{mine}/")}
    assert names
    for name in names:
        assert outcome.faults.get(name) is None
        assert outcome.digests.get(name) == outcome.expected[name]


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_all_kills_together_leave_nothing_behind(outcome: Outcome) -> None:
    assert outcome.faults == {}
    assert outcome.digests == outcome.expected
