"""What an index of a corpus consists of: documents by hash and windows by hash, as one JSON file.

The window records themselves are shared between corpora; a catalog only names them.
"""

import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.fail_point import fail_point


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

    Who writes one names a folder of the same file system, of which its owner removes what a kill leaves.
    """

    def __init__(self, folder: Path, staging: Path | None = None) -> None:
        self.folder, self._staging = folder, staging

    def path(self, corpus_id: str, recipe: str, corpus_digest: str) -> Path:
        return self.folder / corpus_id / f"{recipe}-{corpus_digest}.json"

    def words(self, corpus_id: str, recipe: str, corpus_digest: str) -> Path:
        """Where the words of an index are kept."""
        return self.path(corpus_id, recipe, corpus_digest).with_suffix(".safetensors")

    def staging(self, path: Path) -> Path:
        """Where one of these files is written before it comes to its place: each time elsewhere, for two
        workers may write it at once.
        """
        return (self._staging or path.parent) / f"{path.stem}.{uuid.uuid4().hex}.staging"

    def put(self, corpus_id: str, catalog: Catalog) -> None:
        """Stores a catalog whole; older ones stay until `keep_only`, for questions under way."""
        path = self.path(corpus_id, catalog.recipe, catalog.corpus_digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = self.staging(path)
        with staging.open("w", encoding="utf-8") as file:
            json.dump(asdict(catalog), file)
            file.flush()
            os.fsync(file.fileno())
        fail_point("catalog.written")
        staging.replace(path)
        fail_point("catalog.renamed")

    def keep_only(self, corpus_id: str, catalog: Catalog) -> None:
        """Drops a corpus' earlier catalogs, once its record names this one."""
        path = self.path(corpus_id, catalog.recipe, catalog.corpus_digest)
        written = path.stat().st_mtime
        for other in path.parent.iterdir():
            # One written later is another worker's, who indexed what the corpus is by now.
            if other.stem != path.stem and _time_of(other) <= written:
                other.unlink(missing_ok=True)
                fail_point("catalog.dropped")

    def get(self, corpus_id: str, recipe: str, corpus_digest: str) -> Catalog | None:
        """The catalog of a corpus' content under a recipe, or None where it was never made."""
        path = self.path(corpus_id, recipe, corpus_digest)
        return _read(path) if path.exists() else None

    def all(self) -> Iterator[Catalog]:
        """Every catalog of every corpus."""
        for path in sorted(self.folder.glob("*/*.json")):
            try:
                catalog = _read(path)
            except FileNotFoundError:  # its corpus was deleted meanwhile
                continue
            yield catalog


def _time_of(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _read(path: Path) -> Catalog:
    fields = json.loads(path.read_text(encoding="utf-8"))
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
