"""A cartridge is whole or absent, and whatever does not fit is refused with its reason."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lesson_room import SENTENCES, read_context
from safetensors.torch import save_file

from cartridges import store
from cartridges.manifest import FORMAT, CartridgeError, Manifest
from cartridges.match import truncate_prefix
from cartridges.store import (
    MANIFEST,
    BuiltPart,
    check_place,
    digest_of,
    load_cartridge,
    read_manifest,
    store_cartridge,
)
from engine.answer_row import GenerationRequest
from engine.generation import generate_text
from engine.model import LanguageModel
from engine.prefix import KVPrefix, save_prefix
from engine.prompts import Prompter
from engine.sampling import SamplingParams

TENSORS = "part-000.safetensors"


@pytest.fixture
def prefix(model: LanguageModel) -> KVPrefix:
    """Shorter than the text whose place it takes."""
    return truncate_prefix(read_context(model), 24)


@pytest.fixture
def folder(tmp_path: Path, model: LanguageModel, prefix: KVPrefix) -> Path:
    part = BuiltPart(prefix, ("w1", "w2"), 1, {"recovered": 0.5}, {"loss": (2.0, 1.5)})
    store_cartridge(tmp_path / "c1", model, [part], "abc", {"seed": 3}, {"recovered": 0.5})
    return tmp_path / "c1"


def continued(model: LanguageModel, prefix: KVPrefix) -> list[str]:
    prompter = Prompter(model)
    params = SamplingParams(max_tokens=12)
    questions = ("Who sails?", "When is the lamp lit?", SENTENCES[0])
    return generate_text(
        model,
        [
            GenerationRequest(str(i), tuple(prompter.question_ids(text)), prefix, params)
            for i, text in enumerate(questions)
        ],
    )


def test_what_is_loaded_goes_on_like_what_was_stored(
    folder: Path, model: LanguageModel, prefix: KVPrefix
) -> None:
    loaded = load_cartridge(folder, model)

    assert torch.equal(loaded.prefix.keys, prefix.keys)
    assert torch.equal(loaded.prefix.values, prefix.values)
    assert loaded.prefix.query_offset == prefix.query_offset > prefix.length
    assert continued(model, loaded.prefix) == continued(model, prefix)
    assert continued(model, prefix) != continued(model, read_context(model))


def test_the_manifest_says_what_was_stored(folder: Path, model: LanguageModel) -> None:
    manifest = read_manifest(folder)

    assert manifest == load_cartridge(folder, model).manifest
    assert manifest.model_fingerprint == model.fingerprint
    assert (manifest.corpus_digest, manifest.prefix_tokens, manifest.dtype) == (
        "abc",
        24,
        "float32",
    )
    assert (manifest.recipe, manifest.metrics) == ({"seed": 3}, {"recovered": 0.5})
    (part,) = manifest.parts
    assert (part.windows, part.frozen, part.curves) == (("w1", "w2"), 1, {"loss": (2.0, 1.5)})
    assert manifest.rope == model.rope != {}
    assert manifest.tokenizer_digest == model.tokenizer_digest
    assert Manifest.from_json(manifest.to_json()) == manifest


def reason_of(folder: Path, model: LanguageModel) -> str:
    with pytest.raises(CartridgeError, match="again") as caught:
        load_cartridge(folder, model)
    return caught.value.reason


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"seed": 1}, "other weights"),
        ({"num_hidden_layers": 3}, "another shape"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, "other rotary settings"),
    ],
)
def test_another_models_cartridge_is_refused_with_what_differs(
    folder: Path,
    make_model: Callable[..., LanguageModel],
    changes: dict[str, Any],
    difference: str,
) -> None:
    with pytest.raises(CartridgeError, match=difference) as caught:
        load_cartridge(folder, make_model(**changes))
    assert caught.value.reason == "CARTRIDGE_MODEL_MISMATCH"


def test_a_cartridge_of_another_tokenizer_is_refused(folder: Path, model: LanguageModel) -> None:
    rewrite(folder, model_fingerprint="0" * 64, tokenizer_digest="0" * 64)
    with pytest.raises(CartridgeError, match="another tokenizer"):
        load_cartridge(folder, model)


def test_a_part_outside_the_folder_is_refused(folder: Path, model: LanguageModel) -> None:
    (folder.parent / TENSORS).write_bytes((folder / TENSORS).read_bytes())
    rewrite_part(folder, file=f"../{TENSORS}")
    assert reason_of(folder, model) == "CARTRIDGE_DAMAGED"


def test_every_part_comes_back_as_itself(
    tmp_path: Path, model: LanguageModel, prefix: KVPrefix
) -> None:
    lengths = (24, 7, 16)
    parts = [BuiltPart(prefix.head(p), (f"w{p}",)) for p in lengths]
    manifest = store_cartridge(tmp_path / "c2", model, parts, "abc", {}, {})

    loaded = [load_cartridge(tmp_path / "c2", model, i) for i in range(3)]
    assert [each.prefix.length for each in loaded] == list(lengths)
    assert all(torch.equal(x.prefix.keys, prefix.keys[:, :, : x.prefix.length]) for x in loaded)
    assert manifest.windows == {"w24", "w7", "w16"}
    assert manifest.prefix_tokens == 24


def test_a_flipped_byte_anywhere_in_the_tensors_is_found(
    folder: Path, model: LanguageModel
) -> None:
    path = folder / TENSORS
    whole = path.read_bytes()
    for place in range(0, len(whole), len(whole) // 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert reason_of(folder, model) == "CARTRIDGE_DAMAGED"
    path.write_bytes(whole)
    load_cartridge(folder, model)


def test_a_file_that_is_gone_or_cut_is_found(folder: Path, model: LanguageModel) -> None:
    path = folder / TENSORS
    path.write_bytes(path.read_bytes()[:-4])
    assert reason_of(folder, model) == "CARTRIDGE_DAMAGED"
    path.unlink()
    assert reason_of(folder, model) == "CARTRIDGE_DAMAGED"
    (folder / MANIFEST).unlink()
    assert reason_of(folder, model) == "CARTRIDGE_MISSING"
    folder.rmdir()
    assert reason_of(folder, model) == "CARTRIDGE_MISSING"


def rewrite(folder: Path, **changes: Any) -> None:
    fields = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(fields | changes))


def rewrite_part(folder: Path, **changes: Any) -> None:
    fields = json.loads((folder / MANIFEST).read_text())
    rewrite(folder, parts=[fields["parts"][0] | changes])


def replace_tensors(folder: Path, prefix: KVPrefix) -> None:
    """Other tensors under a digest that is right."""
    save_prefix(prefix, folder / TENSORS)
    rewrite_part(folder, sha256=digest_of(folder / TENSORS))


def test_tensors_of_another_shape_are_refused_though_their_digest_is_right(
    folder: Path, model: LanguageModel, prefix: KVPrefix
) -> None:
    for wrong in (
        prefix.head(23),
        KVPrefix(prefix.keys[:3], prefix.values[:3], prefix.query_offset),
        KVPrefix(prefix.keys[..., :8], prefix.values[..., :8], prefix.query_offset),
        KVPrefix(prefix.keys, prefix.values, prefix.query_offset + 1),
    ):
        replace_tensors(folder, wrong)
        assert reason_of(folder, model) == "CARTRIDGE_DAMAGED"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(
    folder: Path, model: LanguageModel, prefix: KVPrefix, value: float
) -> None:
    values = prefix.values.clone()
    values[1, 0, 5, 3] = value
    replace_tensors(folder, KVPrefix(prefix.keys, values, prefix.query_offset))
    assert reason_of(folder, model) == "CARTRIDGE_DAMAGED"


def test_tensors_that_are_no_prefix_are_refused(folder: Path, model: LanguageModel) -> None:
    path = folder / TENSORS
    save_file({"other": torch.zeros(3)}, path)
    rewrite_part(folder, sha256=digest_of(path))
    assert reason_of(folder, model) == "CARTRIDGE_DAMAGED"
    path.write_bytes(b"no safetensors at all")
    rewrite_part(folder, sha256=digest_of(path))
    assert reason_of(folder, model) == "CARTRIDGE_DAMAGED"


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"{",
        b"null",
        b"[1, 2]",
        b'"text"',
        b"{}",
        b'{"format": 4}',
        b'{"format": 4, "parts": []}',
        b'{"format": 4, "parts": [{"file": "x"}]}',
        b'{"format": 4, "parts": 7}',
        b"\xff\xfe\x00",
        b'{"a": "\xff"}',
    ],
)
def test_a_manifest_that_is_garbage_is_refused(
    folder: Path, model: LanguageModel, garbage: bytes
) -> None:
    (folder / MANIFEST).write_bytes(garbage)
    assert reason_of(folder, model) == "CARTRIDGE_DAMAGED"


@pytest.mark.parametrize(
    "wrong",
    [
        {"prefix_tokens": 0},
        {"prefix_tokens": None},
        {"query_offset": 3},
        {"file": None},
        {"windows": [1]},
        {"metrics": {"recovered": None}},
        {"curves": {"loss": ["a"]}},
        {"curves": {"loss": [float("nan")]}},
    ],
)
def test_a_part_with_a_field_that_cannot_be_is_refused_by_whoever_reads_it(
    folder: Path, wrong: dict[str, Any]
) -> None:
    rewrite_part(folder, **wrong)
    with pytest.raises(CartridgeError) as caught:
        read_manifest(folder)
    assert caught.value.reason == "CARTRIDGE_DAMAGED"


@pytest.mark.parametrize(
    "wrong",
    [{"rope": None}, {"layers": 0}, {"recipe": None}, {"metrics": {"x": "1"}}, {"dtype": 1}],
)
def test_a_manifest_with_a_field_that_cannot_be_is_refused(
    folder: Path, wrong: dict[str, Any]
) -> None:
    rewrite(folder, **wrong)
    with pytest.raises(CartridgeError) as caught:
        read_manifest(folder)
    assert caught.value.reason == "CARTRIDGE_DAMAGED"


@pytest.mark.parametrize("found", [FORMAT - 1, FORMAT + 1])
@pytest.mark.parametrize("changes", [{}, {"compression": "int4"}])
def test_another_format_is_refused_as_such(
    folder: Path, model: LanguageModel, changes: dict[str, Any], found: int
) -> None:
    rewrite(folder, format=found, **changes)
    assert reason_of(folder, model) == "CARTRIDGE_FORMAT"


def test_a_storing_that_is_killed_before_its_rename_leaves_no_cartridge(
    tmp_path: Path, model: LanguageModel, prefix: KVPrefix, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            store_cartridge(tmp_path / "c1", model, [BuiltPart(prefix)], "abc", {}, {})
    assert not (tmp_path / "c1").exists()
    assert reason_of(tmp_path / "c1", model) == "CARTRIDGE_MISSING"

    store_cartridge(tmp_path / "c1", model, [BuiltPart(prefix)], "abc", {}, {})
    load_cartridge(tmp_path / "c1", model)
    assert [path.name for path in tmp_path.iterdir()] == ["c1"]


def test_a_storing_that_fails_leaves_the_old_cartridge(
    folder: Path, model: LanguageModel, prefix: KVPrefix, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(prefix: KVPrefix, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(store, "save_prefix", full)
    with pytest.raises(OSError, match="disk full"):
        store_cartridge(folder, model, [BuiltPart(prefix.head(8))], "new", {}, {})

    assert load_cartridge(folder, model).manifest.corpus_digest == "abc"


def test_a_cartridge_stored_again_replaces_the_old_one(
    folder: Path, model: LanguageModel, prefix: KVPrefix
) -> None:
    store_cartridge(folder, model, [BuiltPart(prefix.head(8))], "new", {}, {})
    loaded = load_cartridge(folder, model)

    assert (loaded.manifest.corpus_digest, loaded.prefix.length) == ("new", 8)
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, TENSORS]


@pytest.mark.parametrize("is_file", [False, True])
def test_a_place_with_somebodys_files_is_refused(tmp_path: Path, is_file: bool) -> None:
    place = tmp_path / "notes"
    precious = place if is_file else place / "diary.txt"
    precious.parent.mkdir(exist_ok=True)
    precious.write_text("dear diary")
    with pytest.raises(CartridgeError, match="does not exist") as caught:
        check_place(place)
    assert caught.value.reason == "CARTRIDGE_PLACE_TAKEN"


def test_a_place_that_is_free_or_a_cartridges_is_taken(tmp_path: Path, folder: Path) -> None:
    check_place(folder)
    check_place(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    check_place(tmp_path / "empty")
