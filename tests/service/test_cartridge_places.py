"""Of the places that claims made for a cartridge, the one that its record names is served."""

from pathlib import Path

import pytest
import torch

from cartridges.store import BuiltPart, store_cartridge
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from service.cartridge_places import clear_older, find_place


@pytest.fixture
def store(model: LanguageModel, tmp_path: Path) -> "Store":
    return Store(model, tmp_path / "cart-one")


class Store:
    """Makes cartridges that differ in their tensors."""

    def __init__(self, model: LanguageModel, folder: Path) -> None:
        self.folder, self._model, self._made = folder, model, 0

    def __call__(self, place: str) -> str:
        """Stores one in a place of the folder; the digest of its tensors."""
        self._made += 1
        shape = self._model.geometry
        rows = torch.full((shape.layers, shape.kv_heads, 4, shape.head_dim), float(self._made))
        part = BuiltPart(KVPrefix(rows, rows.clone(), 4))
        made = store_cartridge(self.folder / place, self._model, [part], "", {}, {})
        return made.tensor_digest


def test_a_place_is_found_by_its_tensors(store: Store) -> None:
    zombie, owner = store("job1.5"), store("job1.7")
    assert find_place(store.folder, owner).name == "job1.7"
    assert find_place(store.folder, zombie).name == "job1.5"
    (store.folder / "job1.5" / "manifest.json").write_text("{")
    assert find_place(store.folder, owner).name == "job1.7"


def test_what_is_being_written_is_no_place(store: Store) -> None:
    digest = store(".job1.9.staging-1")
    assert find_place(store.folder, digest) == store.folder
    assert find_place(store.folder / "nowhere", digest) == store.folder / "nowhere"


def test_the_files_of_an_earlier_release_lie_in_the_folder_itself(store: Store) -> None:
    digest = store("")
    assert find_place(store.folder, digest) == store.folder


def test_a_claim_clears_what_earlier_ones_left_and_nothing_else(store: Store) -> None:
    for place in ("job1.5", ".job1.5.staging-3", "job2.7", "job2.8", ".job2.8.staging-3"):
        store(place)
    clear_older(store.folder / "job2.7", store.folder)
    left = sorted(path.name for path in store.folder.iterdir())
    assert left == [".job2.8.staging-3", "job2.7", "job2.8"]
