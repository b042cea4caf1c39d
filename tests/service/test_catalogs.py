"""Catalogs of several workers stand side by side until a record names one of them, and the one before it
stands in for one that is damaged."""

import json
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from retrieval.digest import Digest
from service.state.catalog import Catalog, CatalogDense, CatalogDocument, CatalogWindow
from service.state.catalogs import Catalogs


def catalog_of(digest: str, **texts: str) -> Catalog:
    """Documents by id and hash."""
    window = CatalogWindow(0, 9, "f" * 64)
    documents = tuple(CatalogDocument(name, sha256, (window,)) for name, sha256 in texts.items())
    return Catalog(digest * 64, "recipe", 1, 1, documents)


class Shelf(Catalogs):
    """Catalogs whose ages a test says."""

    def store(self, catalog: Catalog, age: float) -> None:
        self.put("books", catalog)
        place = ("books", catalog.recipe, catalog.corpus_digest)
        for path in (self.path(*place), self.words(*place), self.vectors(*place)):
            path.touch()
            os.utime(path, (1e9 - age, 1e9 - age))

    def left(self) -> str:
        """The first letters of the digests whose three files are there."""
        stems = [path.stem.removeprefix("recipe-")[0] for path in (self.folder / "books").iterdir()]
        assert all(stems.count(stem) == 3 for stem in stems)
        return "".join(sorted(set(stems)))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_a_catalog_is_read_as_it_was_stored(shelf: Shelf) -> None:
    digests = (Digest(256, (1, 2), (3, 4)),)
    dense = CatalogDense(1264, 16, 0.9985, 100_000, "ab" * 32)
    window = CatalogWindow(0, 9, "f" * 64)
    documents = (CatalogDocument("ü", "1", (window, window)), CatalogDocument("b", "2", ()))
    stored = Catalog("a" * 64, "recipe", 7, 2, documents, digests, "cd" * 32, dense)
    shelf.put("books", stored)
    assert shelf.get("books", "recipe", "a" * 64) == stored
    assert shelf.all() == ([stored], [])


def test_a_catalog_of_an_earlier_release_is_read(shelf: Shelf) -> None:
    shelf.put("books", catalog_of("a", x="1"))
    path = shelf.path("books", "recipe", "a" * 64)
    fields = json.loads(path.read_text())
    del fields["sha256"], fields["dense"]
    path.write_text(json.dumps(fields))
    assert shelf.get("books", "recipe", "a" * 64) == catalog_of("a", x="1")


def test_catalogs_written_after_the_one_that_is_kept_stay(shelf: Shelf) -> None:
    for digest, age in (("a", 20), ("b", 10), ("c", 0)):
        shelf.store(catalog_of(digest, **{digest: "1"}), age)
    shelf.keep_only("books", catalog_of("b", b="1"))
    assert shelf.left() == "bc"


def test_the_last_catalog_whose_texts_all_are_there_still_is_kept_with_its_files(
    shelf: Shelf,
) -> None:
    shelf.store(catalog_of("a", x="1"), 30)
    shelf.store(catalog_of("b", x="1", y="2"), 20)
    shelf.store(catalog_of("c", x="1", y="changed", z="3"), 10)
    kept = catalog_of("d", x="1", y="2", z="3")
    shelf.store(kept, 0)
    shelf.keep_only("books", kept)
    assert shelf.left() == "bd"


def test_no_catalog_of_removed_texts_is_kept(shelf: Shelf) -> None:
    shelf.store(catalog_of("a", x="1", secret="2"), 20)
    shelf.store(catalog_of("b", x="1"), 10)
    shelf.keep_only("books", catalog_of("b", x="1"))
    assert shelf.left() == "b"


def test_a_catalog_under_another_recipe_is_not_kept(shelf: Shelf) -> None:
    shelf.store(catalog_of("a", x="1"), 10)
    path = shelf.path("books", "recipe", "a" * 64)
    for file in path.parent.iterdir():
        file.rename(file.with_name(file.name.replace("recipe", "another")))
    shelf.store(catalog_of("b", x="1"), 0)
    shelf.keep_only("books", catalog_of("b", x="1"))
    assert shelf.left() == "b"


def damages(whole: bytes) -> list[bytes]:
    """Torn, empty, no JSON, other JSON, and one figure changed."""
    at = whole.index(b'"token_count": 1') + len('"token_count": ')
    changed = whole[:at] + b"2" + whole[at + 1 :]
    return [b"", whole[: len(whole) // 2], b"\xff" * 99, b"[]", b"{}", b"null", changed]


def test_the_one_before_stands_in_for_a_damaged_catalog(shelf: Shelf) -> None:
    shelf.store(catalog_of("a", x="1"), 20)
    shelf.store(catalog_of("b", x="1", y="2"), 10)
    shelf.store(catalog_of("c", x="1", y="2", z="3"), 0)
    path = shelf.path("books", "recipe", "c" * 64)
    for damaged in damages(path.read_bytes()):
        path.write_bytes(damaged)
        with capture_logs() as logs:
            assert shelf.get("books", "recipe", "c" * 64) == catalog_of("b", x="1", y="2")
        (line,) = logs
        assert (line["log_level"], line["corpus"]) == ("warning", "books")
        assert "index the corpus again" in line["event"]
        assert path.name in line["reason"]
        assert shelf.all() == ([catalog_of("a", x="1"), catalog_of("b", x="1", y="2")], [path])


def test_nothing_stands_in_where_nothing_whole_is_left(shelf: Shelf) -> None:
    for digest in "ab":
        shelf.store(catalog_of(digest, x="1"), 0)
        shelf.path("books", "recipe", digest * 64).write_text("{")
    with capture_logs() as logs:
        assert shelf.get("books", "recipe", "a" * 64) is None
    assert [line["serves"] for line in logs] == ["nothing"]


def test_what_was_never_indexed_has_no_catalog_and_nothing_is_said(shelf: Shelf) -> None:
    shelf.store(catalog_of("a", x="1"), 0)
    with capture_logs() as logs:
        assert shelf.get("books", "recipe", "b" * 64) is None
        assert shelf.get("films", "recipe", "a" * 64) is None
    assert not logs
