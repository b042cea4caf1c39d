"""A window's record says what its text says; on disk it is whole or not there."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stub_embedder import StubEmbedder

from engine.attention import Head
from engine.model import LanguageModel
from engine.prompts import Prompter
from retrieval import window_index
from retrieval.heads import RetrievalHeads, retrieval_heads
from retrieval.window_index import (
    IndexRecipe,
    WindowReader,
    WindowRecord,
    WindowShelf,
    delete_torn_windows,
    delete_unreferenced_windows,
)
from retrieval.windows import Window, WindowSize, cut_windows

THREE = (Head(1, 0), Head(1, 3), Head(3, 2))
HEADS = RetrievalHeads(THREE)
ODD = "Ünïcödé — “so”. 漢字とかな。次の文です。\n\n- 🙂 item\n- 👩‍👩‍👧 item\n\n===\r\nLast\0one."


@pytest.fixture
def reader(model: LanguageModel) -> WindowReader:
    return WindowReader(model, StubEmbedder(), HEADS)  # type: ignore[arg-type]


def windows_of(text: str, reader: WindowReader) -> list[Window]:
    return cut_windows(text, reader.count_tokens, WindowSize(40, 120))


@pytest.mark.parametrize("kind", ["handbook", "odd"])
def test_a_record_says_where_sentences_lie_and_which_tokens_are_theirs(
    reader: WindowReader, handbook: str, kind: str
) -> None:
    text = handbook[:3000] if kind == "handbook" else ODD * 4
    windows = windows_of(text, reader)
    assert len(windows) > 1

    for window in windows:
        record = reader.read(text, window)
        inside = window.of(text)
        parts = [inside[start:end] for start, end in record.spans]
        assert parts == [sentence.of(text) for sentence in window.sentences]

        ids, spans = reader.model.encode_with_spans(inside)
        edges = [int(start) for start, _ in record.spans] + [len(inside)]
        counts = [0] * len(parts)
        for start, end in spans:  # a token is its last character's sentence's
            last = max(start, end - 1)
            counts[max(i for i in range(len(parts)) if edges[i] <= last)] += 1
        assert record.token_counts.tolist() == counts
        assert record.token_counts.sum() == len(ids) == record.keys.num_tokens
        np.testing.assert_array_equal(record.vectors, StubEmbedder().embed(parts))


def test_keys_are_those_of_a_plain_reading(family_model: LanguageModel, handbook: str) -> None:
    reader = WindowReader(family_model, StubEmbedder(), HEADS)  # type: ignore[arg-type]
    text = handbook[:1500]
    window = windows_of(text, reader)[1]
    opening = Prompter(family_model).opening_ids()

    keys = reader.read(text, window).keys
    plain = family_model.prefill([*opening, *family_model.encode(window.of(text))]).keys

    assert keys.values.dtype == torch.int8
    places = [(1, 0), (1, 1), (3, 1)]  # query heads 0 and 3 of layer 1, 2 of layer 3; two share one
    for row, scales, (layer, head) in zip(keys.restored(), keys.scales, places, strict=True):
        expected = plain[layer, head, len(opening) :]
        assert ((row - expected).abs() <= scales[:, None] * 0.51).all()


def test_the_same_text_elsewhere_has_the_same_record(reader: WindowReader, handbook: str) -> None:
    text, moved = handbook[:600], "A line before.\n\n" + handbook[:600]
    at_start = Window(
        0, 600, tuple(cut_windows(text, reader.count_tokens, WindowSize())[0].sentences), ""
    )
    shift = len(moved) - len(text)
    behind = Window(
        shift,
        len(moved),
        tuple(replace(s, start=s.start + shift, end=s.end + shift) for s in at_start.sentences),
        "",
    )
    assert_equal(reader.read(text, at_start), reader.read(moved, behind))


def assert_equal(left: WindowRecord, right: WindowRecord) -> None:
    torch.testing.assert_close(left.keys.values, right.keys.values, rtol=0, atol=0)
    torch.testing.assert_close(left.keys.scales, right.keys.scales, rtol=0, atol=0)
    for name in ("spans", "token_counts", "vectors"):
        first, second = getattr(left, name), getattr(right, name)
        assert first.dtype == second.dtype
        np.testing.assert_array_equal(first, second)


@pytest.fixture
def record(reader: WindowReader, handbook: str) -> WindowRecord:
    return reader.read(handbook, windows_of(handbook[:900], reader)[0])


def test_a_record_comes_back_as_it_was_put(
    tmp_path: Path, reader: WindowReader, record: WindowRecord
) -> None:
    shelf = WindowShelf(tmp_path, reader.recipe)
    assert not shelf.holds("ab12")
    shelf.put("ab12", record)
    shelf.put("ab12", record)

    assert_equal(WindowShelf(tmp_path, reader.recipe).get("ab12"), record)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [shelf.path("ab12")]


def test_a_record_is_shared_by_recipe_and_by_nothing_else(
    tmp_path: Path, reader: WindowReader, record: WindowRecord
) -> None:
    WindowShelf(tmp_path, reader.recipe).put("ab12", record)
    equal, other = replace(reader.recipe), replace(reader.recipe, model="other")

    assert WindowShelf(tmp_path, equal).holds("ab12")
    assert not WindowShelf(tmp_path, other).holds("ab12")
    with pytest.raises(FileNotFoundError):
        WindowShelf(tmp_path, other).get("ab12")


def test_the_digest_changes_with_model_embedder_heads_and_size(reader: WindowReader) -> None:
    plain = reader.recipe
    others = [
        replace(plain, model="other"),
        replace(plain, embedder="other"),
        replace(plain, heads=((1, 0),)),
        replace(plain, size=WindowSize(640, 2048)),
        replace(plain, size=WindowSize(320, 1024)),
    ]
    digests = {recipe.digest for recipe in [plain, *others]}

    assert len(digests) == len(others) + 1
    assert IndexRecipe(plain.model, plain.embedder, plain.heads, plain.size).digest == plain.digest


def test_another_model_reads_under_another_recipe(
    make_model: Callable[..., LanguageModel], reader: WindowReader
) -> None:
    other = WindowReader(make_model(seed=1), StubEmbedder(), HEADS)  # type: ignore[arg-type]
    assert other.recipe.digest != reader.recipe.digest


def test_a_writing_that_broke_off_leaves_no_record(
    tmp_path: Path, reader: WindowReader, record: WindowRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(tensors: dict[str, Any], path: Path) -> None:
        path.write_bytes(b"torn")
        raise OSError("disk full")

    shelf = WindowShelf(tmp_path, reader.recipe)
    with monkeypatch.context() as patch:
        patch.setattr(window_index, "save_file", half)
        with pytest.raises(OSError, match="disk full"):
            shelf.put("ab12", record)
    assert not shelf.holds("ab12")
    with pytest.raises(FileNotFoundError):
        shelf.get("ab12")

    shelf.put("ab12", record)
    assert_equal(shelf.get("ab12"), record)


def test_two_writers_of_one_window_do_not_meet(
    tmp_path: Path, reader: WindowReader, record: WindowRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = WindowShelf(tmp_path, reader.recipe)
    save = window_index.save_file

    def slow(tensors: dict[str, Any], path: Path) -> None:
        save(tensors, path)
        monkeypatch.setattr(window_index, "save_file", save)
        shelf.put("ab12", record)  # another worker, while this one writes

    monkeypatch.setattr(window_index, "save_file", slow)
    shelf.put("ab12", record)

    assert_equal(shelf.get("ab12"), record)


def test_what_nobody_names_is_removed_once_its_grace_is_over(
    tmp_path: Path, reader: WindowReader, record: WindowRecord
) -> None:
    shelves = [WindowShelf(tmp_path, replace(reader.recipe, model=name)) for name in "xy"]
    for shelf in shelves:
        for digest in ("aa1", "bb2", "cc3"):
            shelf.put(digest, record)
        torn = shelf.path("bb2").with_name("bb2.torn.staging")
        torn.write_bytes(b"torn")
        for path in (shelf.path("aa1"), shelf.path("bb2"), torn):
            os.utime(path, (time.time() - 7200,) * 2)

    assert delete_unreferenced_windows(tmp_path, {"aa1", "bb2", "cc3"}, 86_400) == 0
    delete_unreferenced_windows(tmp_path, {"aa1"}, 3600)

    for shelf in shelves:
        assert shelf.holds("aa1")  # named
        assert not shelf.holds("bb2")  # old, and nobody's
        assert shelf.holds("cc3")  # young
    assert list(tmp_path.rglob("*.staging")) == []


def test_only_what_is_half_written_is_torn(
    tmp_path: Path, reader: WindowReader, record: WindowRecord
) -> None:
    shelf = WindowShelf(tmp_path, reader.recipe)
    shelf.put("aa1", record)
    shelf.path("aa1").with_name("aa2.torn.staging").write_bytes(b"torn")

    delete_torn_windows(tmp_path)

    assert [path.stem for path in tmp_path.rglob("*") if path.is_file()] == ["aa1"]


def test_a_model_without_calibration_is_asked_at_all_heads_of_its_middle(
    model: LanguageModel,
) -> None:
    heads = retrieval_heads(model)

    assert not heads.calibrated
    assert heads.search == tuple(Head(2, head) for head in range(4))
    assert heads.kv_heads(2) == ((2, 0), (2, 1))


def test_a_model_calibrated_here_is_asked_at_the_heads_that_were_found(
    model: LanguageModel, tmp_path: Path
) -> None:
    found = RetrievalHeads((Head(1, 2), Head(3, 0)), 0.5, True, "log_sum_exp")
    path = tmp_path / f"{model.fingerprint}.json"
    path.write_text(json.dumps(found.as_json()))

    assert retrieval_heads(model, tmp_path) == found
    assert not retrieval_heads(model, tmp_path / "elsewhere").calibrated

    path.write_text(json.dumps(found.as_json() | {"pooling": "mean"}))
    with pytest.raises(ValueError, match="'mean' is none of max, log_sum_exp"):
        retrieval_heads(model, tmp_path)
