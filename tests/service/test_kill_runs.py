"""Workers killed at random lose nothing; and what would be lost, doubled or torn is seen."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from process_room import Server

from benchmarks.kill_runs import run_kills
from benchmarks.whole_artifacts import found_faults
from service.client.connection import Client

pytestmark = pytest.mark.process
CORPUS = "corpora/trained"
CARTRIDGE = f"{CORPUS}/cartridges/cart-one"


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_workers_killed_at_random_lose_nothing(tmp_path: Path, model_folder: Path) -> None:
    runs = run_kills(tmp_path, model_folder, kills=4, seed=5)
    assert runs.lost == {}
    assert runs.headline() == {"kill_runs": 4, "lost": 0}
    assert sorted(row["kind"] for row in runs.rows) == ["index", "index", "train", "train"]
    assert all(row["attempts"] >= 2 for row in runs.rows)


def _place(data: Path) -> Path:
    return next((data / "cartridges" / "trained" / "cart-one").iterdir())


def _a_catalog_goes(data: Path) -> None:
    next((data / "indexes" / "trained").glob("*.json")).unlink()


def _a_window_goes(data: Path) -> None:
    _window(data).unlink()


def _a_window_is_torn(data: Path) -> None:
    _window(data).write_bytes(_window(data).read_bytes()[:-100])


def _a_text_is_torn(data: Path) -> None:
    sha256 = _catalog(data)["documents"][0]["sha256"]
    (data / "documents" / sha256[:2] / sha256).write_bytes(b"The")


def _the_words_are_torn(data: Path) -> None:
    next((data / "indexes" / "trained").glob("*.safetensors")).write_bytes(b"")


def _the_tensors_are_torn(data: Path) -> None:
    path = next(_place(data).glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-1])


def _the_cartridge_is_doubled(data: Path) -> None:
    shutil.copytree(_place(data), _place(data).with_name("other.1"))


def _the_cartridge_goes(data: Path) -> None:
    shutil.rmtree(_place(data))


def _the_words_go(data: Path) -> None:
    next((data / "indexes" / "trained").glob("*.safetensors")).unlink()


def _the_index_of_a_removed_text_is_left(data: Path) -> None:
    path = next((data / "indexes" / "trained").glob("*.json"))
    words = path.with_suffix(".safetensors")
    catalog = _catalog(data)
    catalog["documents"][0]["sha256"] = "0" * 64
    path.with_name("r-0.json").write_text(json.dumps(catalog))
    shutil.copy(words, path.with_name("r-0.safetensors"))


def _a_file_is_left(data: Path) -> None:
    (data / "indexes" / "trained" / "half.staging").write_bytes(b"{")


def _a_claim_is_left(data: Path) -> None:
    (data / "work" / "job.1").mkdir(parents=True)


def _a_forgotten_cartridge_is_left(data: Path) -> None:
    shutil.copytree(_place(data), data / "cartridges" / "trained" / "no-one" / "job.1")


def _window(data: Path) -> Path:
    digest = _catalog(data)["documents"][0]["windows"][0]["digest"]
    return next((data / "windows").rglob(f"{digest}.safetensors"))


def _catalog(data: Path) -> dict[str, Any]:
    return json.loads(next((data / "indexes" / "trained").glob("*.json")).read_bytes())


def test_the_index_before_may_stay_while_its_texts_do(
    server: Server, trained: str, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    for folder in ("cartridges", "documents", "indexes", "windows"):
        shutil.copytree(server.data / folder, copy / folder)
    path = next((copy / "indexes" / "trained").glob("*.json"))
    for suffix in (".json", ".safetensors"):
        shutil.copy(path.with_suffix(suffix), path.with_name(f"r-0{suffix}"))
    with Client(server.address) as client:
        assert CORPUS not in found_faults(copy, client)


@pytest.mark.parametrize(
    ("harm", "name"),
    [
        (_a_catalog_goes, CORPUS),
        (_a_window_goes, CORPUS),
        (_a_window_is_torn, CORPUS),
        (_a_text_is_torn, CORPUS),
        (_the_words_are_torn, CORPUS),
        (_the_words_go, CORPUS),
        (_the_index_of_a_removed_text_is_left, CORPUS),
        (_a_file_is_left, CORPUS),
        (_the_tensors_are_torn, CARTRIDGE),
        (_the_cartridge_is_doubled, CARTRIDGE),
        (_the_cartridge_goes, CARTRIDGE),
        (_a_claim_is_left, ""),
        (_a_forgotten_cartridge_is_left, ""),
    ],
)
def test_what_is_lost_doubled_or_torn_is_seen(
    server: Server, trained: str, tmp_path: Path, harm: Callable[[Path], None], name: str
) -> None:
    copy = tmp_path / "copy"
    for folder in ("cartridges", "documents", "indexes", "windows"):
        shutil.copytree(server.data / folder, copy / folder)
    with Client(server.address) as client:
        before = found_faults(copy, client)
        assert {CORPUS, CARTRIDGE}.isdisjoint(before)
        harm(copy)
        assert len(found_faults(copy, client)[name]) > len(before.get(name, []))
