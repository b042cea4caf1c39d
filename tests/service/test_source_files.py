"""Text becomes documents with stable ids; whatever is not text is left out with a word."""

import os
from pathlib import Path

import pytest

from service.client.source_files import SourceFiles, read_sources


def write(path: Path, data: bytes = b"some text\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def ids(sources: SourceFiles) -> list[str]:
    return [document.id for document in sources.documents]


def whys(sources: SourceFiles) -> dict[str, str]:
    return {Path(path).name: why for path, why in sources.skipped}


def test_a_folder_gives_relative_ids_in_sorted_order(tmp_path: Path) -> None:
    for name in ("b.md", "a.txt", "src/z.py", "src/deep/a.py"):
        write(tmp_path / name)
    sources = read_sources([tmp_path])
    assert ids(sources) == ["a.txt", "b.md", "src/z.py", "src/deep/a.py"]
    assert sources.num_bytes == 40
    assert sources.documents[0].data() == b"some text\n"


def test_a_file_given_directly_is_called_by_its_name(tmp_path: Path) -> None:
    assert ids(read_sources([write(tmp_path / "deep" / "a.md")])) == ["a.md"]


def test_what_is_not_text_is_skipped_with_a_word(tmp_path: Path) -> None:
    write(tmp_path / "image.png", b"\x89PNG\0rest")
    write(tmp_path / "latin.txt", "Müller".encode("latin-1"))
    write(tmp_path / "empty.txt", b"")
    write(tmp_path / "blank.txt", b" \n\t")
    write(tmp_path / "back\\slash.txt")
    write(tmp_path / "umlaut.txt", "Müller".encode())
    os.mkfifo(tmp_path / "pipe")
    sources = read_sources([tmp_path])
    assert ids(sources) == ["umlaut.txt"]
    assert whys(sources) == {
        "image.png": "is binary",
        "latin.txt": "is not UTF-8 text",
        "empty.txt": "is empty",
        "blank.txt": "is empty",
        "back\\slash.txt": "has a name that no document id may have",
        "pipe": "is not a regular file",
    }


def test_hidden_and_generated_folders_are_not_entered(tmp_path: Path) -> None:
    for folder in (".git", ".cache", "node_modules", "__pycache__", "kept"):
        write(tmp_path / folder / "a.txt")
    sources = read_sources([tmp_path])
    assert ids(sources) == ["kept/a.txt"]
    assert not sources.skipped


def test_links_that_lead_out_of_the_folder_are_skipped(tmp_path: Path) -> None:
    outside = write(tmp_path / "secret.txt")
    folder = tmp_path / "folder"
    write(folder / "a.txt")
    (folder / "out.txt").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    sources = read_sources([folder])
    assert ids(sources) == ["a.txt"]
    assert set(whys(sources)) == {"out.txt", "loop"}


def test_an_id_that_is_taken_gets_the_folders_name_in_front(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write(tmp_path / folder / "a.txt", folder.encode())
    sources = read_sources([tmp_path / "one", tmp_path / "two"])
    assert ids(sources) == ["a.txt", "two/a.txt"]
    assert [document.data() for document in sources.documents] == [b"one", b"two"]


def test_the_same_file_given_twice_is_one_document(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt")
    sources = read_sources([tmp_path, file])
    assert ids(sources) == ["a.txt"]
    assert whys(sources) == {"a.txt": "is given twice"}


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist"):
        read_sources([tmp_path / "nowhere"])
