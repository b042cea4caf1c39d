"""Files are opened, written, walked and removed without following links; the root may be one."""

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from engine.errors import FileNotPlainError
from engine.model import LanguageModel
from engine.plain_file import append_plain, open_plain, plain_path, read_plain, refuse_links
from engine.plain_folder import (
    delete_file,
    delete_tree,
    files_below,
    refuse_links_below,
    staged,
    staged_folder,
)
from engine.prefix import KVPrefix, load_prefix, save_prefix
from engine.wheels import LANGUAGE_MODEL_FILE, default_model_folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data folder with one file two folders down."""
    (tmp_path / "data/one/two").mkdir(parents=True)
    (tmp_path / "data/one/two/file").write_bytes(b"ours")
    return tmp_path / "data"


def _outside(path: Path) -> Path:
    return next(each for each in path.parents if each.name not in ("data", "one", "models"))


def exchange(path: Path) -> Path:
    """Puts a link in the place of a file or folder, to a copy elsewhere, whose path is returned."""
    elsewhere = Path(tempfile.mkdtemp(dir=_outside(path))) / path.name
    (shutil.copytree if path.is_dir() else shutil.copy)(path, elsewhere)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(elsewhere)
    return elsewhere


@pytest.mark.parametrize("link", ["one", "one/two", "one/two/file"])
def test_a_link_anywhere_below_the_root_is_refused_by_name(root: Path, link: str) -> None:
    exchange(root / link)
    for use in (read_plain, append_plain, open_plain):
        with pytest.raises(FileNotPlainError, match=rf"^data/{link} is a link.* mount it there$"):
            use(root / "one/two/file", root)


@pytest.mark.parametrize("link", ["one", "one/two"])
def test_nothing_is_written_or_removed_behind_a_link(root: Path, link: str) -> None:
    elsewhere = exchange(root / link)
    before = sorted(path.name for path in elsewhere.rglob("*"))
    path = root / "one/two/new"
    for act in (delete_file, delete_tree):
        with pytest.raises(FileNotPlainError):
            act(root / "one/two/file", root)
    for make in (staged, staged_folder):
        with pytest.raises(FileNotPlainError), make(path, root) as staging:
            staging.write_bytes(b"new")
    assert sorted(path.name for path in elsewhere.rglob("*")) == before


def test_the_root_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "chosen").symlink_to(root)
    assert read_plain(tmp_path / "chosen/one/two/file", tmp_path / "chosen") == b"ours"
    with staged(tmp_path / "chosen/one/new", tmp_path / "chosen") as staging:
        staging.write_bytes(b"new")
    assert (root / "one/new").read_bytes() == b"new"


def test_a_path_that_leaves_the_root_is_refused(root: Path) -> None:
    (root.parent / "secret").write_text("secret")
    with pytest.raises(FileNotPlainError, match="outside"):
        read_plain(root / ".." / "secret", root)


@pytest.mark.timeout(20)
def test_a_pipe_that_nobody_writes_to_is_refused_and_not_waited_for(root: Path) -> None:
    os.mkfifo(root / "pipe")
    for path in (root / "pipe", root / "one"):
        with pytest.raises(FileNotPlainError, match="no regular file"):
            read_plain(path, root)


def test_what_was_opened_stays_that_file_when_its_name_gets_another(
    root: Path, model: LanguageModel
) -> None:
    path = root / "one/prefix.safetensors"
    prefix = model.prefill([1, 2, 3])
    save_prefix(prefix, path)
    with plain_path(path, root) as plain:
        save_prefix(KVPrefix(prefix.keys + 1, prefix.values, 3), path)
        assert plain.stat().st_ino != path.stat().st_ino
    assert load_prefix(path, root).keys.equal(prefix.keys + 1)
    exchange(path)
    with pytest.raises(FileNotPlainError):
        load_prefix(path, root)


def test_a_file_that_is_being_written_has_a_name_that_nobody_guesses(root: Path) -> None:
    names = set()
    for _ in range(2):
        with staged(root / "one/new", root) as staging:
            names.add(staging.name)
            staging.write_bytes(b"new")
            assert not (root / "one/new").exists() or len(names) == 2
    assert len(names) == 2
    assert all(len(name) > len(".new..staging") + 12 for name in names)
    assert [path.name for path in (root / "one").iterdir() if path.name != "two"] == ["new"]


def test_a_file_takes_the_place_of_a_link_and_leaves_alone_what_it_named(root: Path) -> None:
    elsewhere = exchange(root / "one/two/file")
    with staged(root / "one/two/file", root) as staging:
        staging.write_bytes(b"new")
    assert not (root / "one/two/file").is_symlink()
    assert (root / "one/two/file").read_bytes() == b"new"
    assert elsewhere.read_bytes() == b"ours"


def test_a_writing_that_fails_leaves_nothing(root: Path) -> None:
    for make in (staged, staged_folder):
        with pytest.raises(OSError, match="broke"), make(root / "one/two", root):
            raise OSError("broke")
    assert [path.name for path in root.rglob("*")] == ["one", "two", "file"]


@pytest.mark.parametrize("make", [staged, staged_folder])
def test_what_is_being_written_lies_in_the_folder_of_its_owner(
    root: Path, make: Callable[..., AbstractContextManager[Path]]
) -> None:
    (root / "work").mkdir()
    with make(root / "new/thing", root, within=root / "work") as staging:
        (staging / "file" if staging.is_dir() else staging).write_bytes(b"new")
        assert len(list((root / "work").iterdir())) == 1
        assert list((root / "new").iterdir()) == []
    assert [path.read_bytes() for path in (root / "new").rglob("*") if path.is_file()] == [b"new"]
    assert list((root / "work").iterdir()) == []


@pytest.mark.parametrize("make", [staged, staged_folder])
def test_nothing_is_written_in_an_owners_folder_that_is_a_link_or_gone(
    root: Path, make: Callable[..., AbstractContextManager[Path]]
) -> None:
    (root / "work").mkdir()
    elsewhere = exchange(root / "work")
    for wrong, error in (("work", FileNotPlainError), ("gone", FileNotFoundError)):
        with (
            pytest.raises(error),
            make(root / "one/new", root, within=root / wrong) as staging,
        ):
            staging.write_bytes(b"new")
    assert list(elsewhere.iterdir()) == []
    assert [path.name for path in (root / "one").iterdir()] == ["two"]


def test_a_folder_takes_its_place_as_a_whole_with_its_links_target_left_alone(root: Path) -> None:
    elsewhere = exchange(root / "one/two")
    with staged_folder(root / "one/two", root) as staging:
        (staging / "other").write_bytes(b"new")
    assert [path.name for path in (root / "one/two").iterdir()] == ["other"]
    assert not (root / "one/two").is_symlink()
    assert (elsewhere / "file").read_bytes() == b"ours"


def test_a_removal_takes_a_link_and_not_what_it_names(root: Path) -> None:
    elsewhere = exchange(root / "one/two")
    delete_tree(root / "one", root)
    assert not (root / "one").exists()
    assert (elsewhere / "file").exists()
    delete_tree(root / "never", root)
    delete_file(root / "never/there", root)


def test_a_walk_goes_into_no_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/precious").touch()
    (root / "one/linked").symlink_to(tmp_path / "foreign")
    assert [name for name, _ in files_below(root / "one", root)] == ["file"]
    (root / "way").symlink_to(tmp_path / "foreign")
    with pytest.raises(FileNotPlainError):
        list(files_below(root / "way", root))
    assert list(files_below(root / "never", root)) == []


def test_a_model_with_a_link_in_it_is_not_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "models" / Path(LANGUAGE_MODEL_FILE).stem
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).touch()
    assert default_model_folder(tmp_path) == folder
    for link in (folder / "model.safetensors", folder, tmp_path / "models"):
        elsewhere = exchange(link)
        with pytest.raises(FileNotPlainError, match=link.name):
            default_model_folder(tmp_path)
        link.unlink()
        elsewhere.rename(link)


def test_a_link_is_found_before_a_library_opens_it(tmp_path: Path) -> None:
    refuse_links(tmp_path / "absent")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FileNotPlainError):
        refuse_links(tmp_path / "absent", tmp_path / "link")
    with pytest.raises(FileNotPlainError):
        refuse_links_below(tmp_path, tmp_path)
