"""What an index of a corpus consists of: documents by hash and windows by hash, as one JSON file.

The window records themselves are shared between corpora; a catalog only names them.
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.plain_file import opened_folder, read_plain
from engine.plain_folder import staged


@dataclass(frozen=True, slots=True)
class CatalogWindow:
    """A window at its place in a document, in characters."""

    start: int
    end: int
    digest: str


@dataclass(frozen=True, slots=True)
class CatalogDocument:
    """A document with its windows in order."""

    id: str
    sha256: str
    windows: tuple[CatalogWindow, ...]


@dataclass(frozen=True, slots=True)
class CatalogDigest:
    """Sentences, by number, that speak for the whole within a budget, and for how many each."""

    budget: int
    sentences: tuple[int, ...]
    speaks_for: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Catalog:
    """One index: the corpus content it covers and how it was made."""

    corpus_digest: str
    recipe: str
    token_count: int
    sentence_count: int
    documents: tuple[CatalogDocument, ...]
    digests: tuple[CatalogDigest, ...] = ()
    words_sha256: str = ""  # of the file of its words

    @property
    def windows(self) -> tuple[str, ...]:
        """The digests of all windows, in the order of the documents."""
        return tuple(window.digest for each in self.documents for window in each.windows)


class Catalogs:
    """Catalogs on disk: `<folder>/<corpus>/<recipe>-<content digest>.json`.

    No link is followed below `root`, or the folder where none is given. What meets one raises
    FileNotPlainError.
    """

    def __init__(self, folder: Path, root: Path | None = None) -> None:
        self.folder, self.root = folder, root or folder

    def path(self, corpus_id: str, recipe: str, corpus_digest: str) -> Path:
        return self.folder / corpus_id / f"{recipe}-{corpus_digest}.json"

    def words(self, corpus_id: str, recipe: str, corpus_digest: str) -> Path:
        """Where the words of an index are kept."""
        return self.path(corpus_id, recipe, corpus_digest).with_suffix(".safetensors")

    def put(self, corpus_id: str, catalog: Catalog) -> None:
        """Stores a catalog whole; older ones stay until `keep_only`, for questions under way."""
        path = self.path(corpus_id, catalog.recipe, catalog.corpus_digest)
        with staged(path, self.root) as staging, staging.open("w", encoding="utf-8") as file:
            json.dump(asdict(catalog), file)

    def keep_only(self, corpus_id: str, catalog: Catalog) -> None:
        """Drops a corpus' earlier catalogs, once its record names this one."""
        path = self.path(corpus_id, catalog.recipe, catalog.corpus_digest)
        with opened_folder(path.parent, self.root) as folder:
            written = _time_of(path.name, folder)
            for other in os.listdir(folder):
                # One written later is another worker's, who indexed what the corpus is by now.
                if Path(other).stem != path.stem and _time_of(other, folder) <= written:
                    with suppress(FileNotFoundError):
                        os.unlink(other, dir_fd=folder)

    def get(self, corpus_id: str, recipe: str, corpus_digest: str) -> Catalog | None:
        """The catalog of a corpus' content under a recipe, or None where it was never made."""
        path = self.path(corpus_id, recipe, corpus_digest)
        try:
            return _read(path, self.root)
        except FileNotFoundError:
            return None

    def all(self) -> Iterator[Catalog]:
        """Every catalog of every corpus."""
        for path in sorted(self.folder.glob("*/*.json")):
            try:
                catalog = _read(path, self.root)
            except FileNotFoundError:  # its corpus was deleted meanwhile
                continue
            yield catalog


def _time_of(name: str, folder: int) -> float:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return float("inf")


def _read(path: Path, root: Path) -> Catalog:
    fields = json.loads(read_plain(path, root))
    documents = tuple(
        CatalogDocument(
            document["id"],
            document["sha256"],
            tuple(CatalogWindow(**window) for window in document["windows"]),
        )
        for document in fields.pop("documents")
    )
    digests = tuple(
        CatalogDigest(one["budget"], tuple(one["sentences"]), tuple(one["speaks_for"]))
        for one in fields.pop("digests", ())
    )
    return Catalog(documents=documents, digests=digests, **fields)
