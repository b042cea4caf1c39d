"""What a cartridge, an adapter or a build is read from is no link, and none is written through."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from lesson_room import SENTENCES, finish, make_lessons, read_context

from cartridges.build import BuildSettings, CartridgeBuilder
from cartridges.conversations import Studied, append_conversations, read_conversations
from cartridges.costs import Stopwatch
from cartridges.distil import DistilSettings
from cartridges.lessons import load_lessons, save_lessons
from cartridges.manifest import CartridgeError
from cartridges.match import MatchSettings, truncate_prefix
from cartridges.peft_adapter import CONFIG, TENSORS, export_adapter, import_adapter
from cartridges.self_study import StudySettings
from cartridges.store import (
    MANIFEST,
    BuiltPart,
    load_cartridge,
    load_studied,
    read_manifest,
    store_cartridge,
)
from engine.errors import FileNotPlainError
from engine.model import LanguageModel

SETTINGS = BuildSettings(
    prefix_tokens=24,
    study=StudySettings(kinds=(), quoted=1.0),
    match=MatchSettings(steps=2),
    distil=DistilSettings(steps=2, batch=2, evaluate=1, general=0.0),
)


def exchange(path: Path) -> None:
    """A link in the place of a file or folder, to a valid copy of it elsewhere."""
    elsewhere = path.parents[1] / f"elsewhere-{path.name}"
    (shutil.copytree if path.is_dir() else shutil.copy)(path, elsewhere)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(elsewhere)


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(CartridgeError) as caught:
        act()
    assert caught.value.reason == "FILE_NOT_PLAIN"
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path, model: LanguageModel) -> Path:
    prefix = truncate_prefix(read_context(model), 24)
    studied = Studied(make_lessons(model, 2)[0].conversation, SENTENCES[0])
    place = tmp_path / "data/books/c1"
    store_cartridge(place, model, [BuiltPart(prefix, studied=(studied,))], "abc", {}, {})
    return place


@pytest.mark.parametrize("name", [MANIFEST, "part-000.safetensors"])
@pytest.mark.parametrize("in_int8", [False, True])
def test_a_cartridge_with_a_link_in_it_is_not_loaded(
    folder: Path, model: LanguageModel, name: str, in_int8: bool
) -> None:
    prefix = load_cartridge(folder, model).prefix
    store_cartridge(folder, model, [BuiltPart(prefix)], "abc", {}, {}, in_int8=in_int8)
    load_cartridge(folder, model)
    exchange(folder / name)
    told = refusal(lambda: load_cartridge(folder, model))
    assert f"c1/{name} is a link" in told
    assert "put the file" in told


def test_the_conversations_of_a_cartridge_are_no_link(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert len(load_studied(folder, manifest, 0)) == 1
    exchange(folder / "part-000.jsonl")
    refusal(lambda: load_studied(folder, manifest, 0))


@pytest.mark.parametrize("level", ["books", "books/c1"])
def test_a_cartridge_behind_a_linked_folder_is_neither_read_nor_replaced(
    folder: Path, model: LanguageModel, level: str
) -> None:
    root = folder.parents[1]
    prefix = load_cartridge(folder, model, root=root).prefix
    exchange(root / level)
    assert f"data/{level} is a link" in refusal(lambda: load_cartridge(folder, model, root=root))
    if level == "books":
        refusal(lambda: store_cartridge(folder, model, [BuiltPart(prefix)], "", {}, {}, root=root))
        assert read_manifest(folder).corpus_digest == "abc"


def test_a_folder_that_is_named_may_be_a_link(
    folder: Path, tmp_path: Path, model: LanguageModel
) -> None:
    (tmp_path / "mine").symlink_to(folder)
    load_cartridge(tmp_path / "mine", model)


@pytest.mark.parametrize("name", [CONFIG, TENSORS])
def test_an_adapter_with_a_link_in_it_is_not_imported(
    tmp_path: Path, model: LanguageModel, name: str
) -> None:
    adapter = tmp_path / "adapter"
    export_adapter(adapter, model, BuiltPart(truncate_prefix(read_context(model), 24).head(24)))
    import_adapter(adapter, model)
    exchange(adapter / name)
    assert f"adapter/{name} is a link" in refusal(lambda: import_adapter(adapter, model))


def test_an_export_replaces_a_link_and_leaves_alone_what_it_named(
    tmp_path: Path, model: LanguageModel
) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "diary").write_text("dear diary")
    for name in (CONFIG, TENSORS):
        (tmp_path / "adapter" / name).symlink_to(tmp_path / "diary")
    export_adapter(tmp_path / "adapter", model, BuiltPart(truncate_prefix(read_context(model), 8)))
    import_adapter(tmp_path / "adapter", model)
    assert (tmp_path / "diary").read_text() == "dear diary"


@pytest.fixture
def work(tmp_path: Path, model: LanguageModel) -> Path:
    """The work folder of a build that is done, with all that it goes on from."""
    finish(CartridgeBuilder(model, SENTENCES, tmp_path / "job/work", SETTINGS).build())
    return tmp_path / "job/work"


FILES = ("seconds", "lessons.json", "lessons.safetensors", "start.safetensors", "lengths.json",
         "checkpoint.safetensors")  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_build_goes_on_from_no_link(work: Path, model: LanguageModel, name: str) -> None:
    exchange(work / name)
    with pytest.raises(FileNotPlainError, match=f"work/{name} is a link"):
        finish(CartridgeBuilder(model, SENTENCES, work, SETTINGS).build())


def test_a_build_goes_on_from_files(work: Path, model: LanguageModel) -> None:
    assert set(FILES) <= {path.name for path in work.iterdir()}
    finish(CartridgeBuilder(model, SENTENCES, work, SETTINGS).build())


def test_conversations_are_added_to_no_link(tmp_path: Path, model: LanguageModel) -> None:
    lessons = make_lessons(model, 2)
    talks = [lesson.conversation for lesson in lessons]
    path = tmp_path / "work/conversations.jsonl"
    path.parent.mkdir()
    append_conversations(path, talks)
    exchange(path)
    for act in (lambda: append_conversations(path, talks), lambda: read_conversations(path)):
        with pytest.raises(FileNotPlainError):
            act()
    save_lessons(path.parent, lessons)
    exchange(path.parent / "lessons.safetensors")
    with pytest.raises(FileNotPlainError):
        load_lessons(path.parent, model)
    watch = Stopwatch(path.parent / "seconds")
    watch.keep()
    exchange(path.parent / "seconds")
    with pytest.raises(FileNotPlainError):
        Stopwatch(path.parent / "seconds")
