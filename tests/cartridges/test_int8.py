"""Eight bits hold a prefix nearly as it was, in a quarter of float32's bytes."""

import json
from pathlib import Path

import pytest
import torch
from lesson_room import make_lessons, matched
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cartridges.distil import mean_kl
from cartridges.int8 import load_int8, quantise, rounded, save_int8
from cartridges.manifest import CartridgeError
from cartridges.match import MatchSettings
from cartridges.store import MANIFEST, BuiltPart, digest_of, load_cartridge, store_cartridge
from engine.errors import PrefixMismatchError
from engine.model import LanguageModel
from engine.prefix import KVPrefix


@pytest.fixture(scope="module")
def prefix(model: LanguageModel) -> KVPrefix:
    turns = [lesson.turn for lesson in make_lessons(model)]
    return matched(model, turns, 24, MatchSettings())


@pytest.mark.parametrize("along", [0, 1])
def test_no_entry_is_further_off_than_half_a_step(along: int) -> None:
    tensor = torch.randn(40, 16, generator=torch.Generator().manual_seed(0)) * 3
    whole, scales = quantise(tensor, along)
    assert whole.dtype == torch.int8
    assert scales.shape[along] == 1
    assert ((whole * scales - tensor).abs() <= 0.5001 * scales).all()
    assert torch.equal(whole.abs().amax(dim=along), torch.full_like(whole.amax(dim=along), 127))


def test_zeros_stay_zeros() -> None:
    whole, scales = quantise(torch.zeros(3, 4), along=1)
    assert torch.equal(whole * scales, torch.zeros(3, 4))


def test_a_channel_that_is_large_everywhere_costs_the_others_nothing(prefix: KVPrefix) -> None:
    loud = prefix.keys.clone()
    loud[..., 3] += 1000.0
    quiet = rounded(prefix).keys[..., :3]
    assert torch.equal(
        rounded(KVPrefix(loud, prefix.values, prefix.query_offset)).keys[..., :3], quiet
    )


def test_what_is_saved_comes_back_as_it_was_rounded(tmp_path: Path, prefix: KVPrefix) -> None:
    path = tmp_path / "part.safetensors"
    save_int8(prefix, path)
    loaded, expected = load_int8(path), rounded(prefix)
    assert torch.equal(loaded.keys, expected.keys)
    assert torch.equal(loaded.values, expected.values)
    assert loaded.query_offset == prefix.query_offset
    assert path.stat().st_size < 0.4 * prefix.num_bytes  # of float32


def test_eight_bits_change_the_answers_little(model: LanguageModel, prefix: KVPrefix) -> None:
    lessons = make_lessons(model)
    none, whole = mean_kl(model, lessons, None), mean_kl(model, lessons, prefix)
    assert abs(mean_kl(model, lessons, rounded(prefix)) - whole) < 0.01 * none


def test_a_cartridge_in_eight_bits_is_loaded_like_any_other(
    tmp_path: Path, model: LanguageModel, prefix: KVPrefix
) -> None:
    manifest = store_cartridge(
        tmp_path / "c1", model, [BuiltPart(prefix)], "abc", {}, {}, in_int8=True
    )
    loaded = load_cartridge(tmp_path / "c1", model)
    assert manifest.dtype == "int8"
    assert torch.equal(loaded.prefix.keys, rounded(prefix).keys)
    assert loaded.prefix.keys.dtype == model.dtype


def test_files_that_are_no_prefix_in_eight_bits_are_refused(
    tmp_path: Path, model: LanguageModel, prefix: KVPrefix
) -> None:
    folder = tmp_path / "c1"
    store_cartridge(folder, model, [BuiltPart(prefix)], "abc", {}, {}, in_int8=True)
    path = folder / "part-000.safetensors"
    tensors = load_file(path)
    damages = (
        {"keys": tensors["keys"]},
        tensors | {"key_scales": tensors["key_scales"] * float("nan")},
    )
    for damage in damages:
        save_file(damage, path, metadata={"query_offset": str(prefix.query_offset)})
        with pytest.raises(PrefixMismatchError, match="again"):
            load_int8(path)
        fields = json.loads((folder / MANIFEST).read_text())
        fields["parts"][0]["sha256"] = digest_of(path)
        (folder / MANIFEST).write_text(json.dumps(fields))
        with pytest.raises(CartridgeError) as caught:
            load_cartridge(folder, model)
        assert caught.value.reason == "CARTRIDGE_DAMAGED"


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("key_scales", torch.ones(1)),
        ("value_scales", torch.ones(4, 2, 24, 16)),
        ("keys", torch.ones(4, 2, 24, 16)),
        ("values", torch.ones(24, 16, dtype=torch.int8)),
    ],
)
def test_a_file_whose_scales_do_not_fit_its_rows_is_refused(
    tmp_path: Path, prefix: KVPrefix, name: str, wrong: torch.Tensor
) -> None:
    path = tmp_path / "part.safetensors"
    save_int8(prefix, path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file(load_file(path) | {name: wrong}, path, metadata)
    with pytest.raises(PrefixMismatchError, match="scales"):
        load_int8(path)
