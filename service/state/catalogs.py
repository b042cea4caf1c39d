"""The catalogs of all indexes on disk, one JSON file each, with the files beside them."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import structlog

from engine.elsewhere import NOWHERE, Elsewhere
from engine.fail_point import fail_point
from engine.plain_file import opened_folder, read_plain
from engine.plain_folder import staged
from service.config import Layout
from service.state.catalog import Catalog, CatalogDamagedError

_log = structlog.stdlib.get_logger("longmemory.index")


class Catalogs:
    """Catalogs on disk: `<folder>/<corpus>/<recipe>-<content digest>.json`, with their words and vectors
    beside them. One with its files is a generation: nothing of it changes once it is written, but that a
    rehearsal is noted in it.

    Who writes one names in `staging` a folder of the same file system, of which its owner removes what
    a kill leaves. No link is followed below `root`, or the folder where none is given. What meets one
    raises FileNotPlainError.
    """

    def __init__(
        self,
        folder: Path,
        root: Path | None = None,
        staging: Path | None = None,
        elsewhere: Elsewhere = NOWHERE,
    ) -> None:
        self.folder, self.root, self.staging = folder, root or folder, staging
        self._elsewhere = elsewhere

    @classmethod
    def of(cls, layout: Layout, staging: Path | None = None) -> "Catalogs":
        """Those of a data folder."""
        return cls(layout.catalogs, layout.data, staging, layout.elsewhere)

    def path(self, corpus_id: str, recipe: str, corpus_digest: str) -> Path:
        return self.folder / corpus_id / f"{recipe}-{corpus_digest}.json"

    def words(self, corpus_id: str, recipe: str, corpus_digest: str) -> Path:
        """Where the words of an index are kept."""
        return self.path(corpus_id, recipe, corpus_digest).with_suffix(".safetensors")

    def vectors(self, corpus_id: str, recipe: str, corpus_digest: str) -> Path:
        """Where the inverted file of an index is kept, if it has one."""
        return self.path(corpus_id, recipe, corpus_digest).with_suffix(".faiss")

    def put(self, corpus_id: str, catalog: Catalog) -> None:
        """Stores a catalog whole; older ones stay until `keep_only`, for questions under way."""
        path = self.path(corpus_id, catalog.recipe, catalog.corpus_digest)
        made = staged(path, self.root, point="catalog", within=self.staging)
        with made as staging, staging.open("w", encoding="utf-8") as file:
            file.write(catalog.to_json())
        for beside in (path.with_suffix(".safetensors"), path.with_suffix(".faiss")):
            if beside.exists():
                self._elsewhere.keep(beside)
        self._elsewhere.keep(path)  # last: it names the others

    def bring(self, corpus_id: str, catalog: Catalog) -> None:
        """Sees that the files beside a catalog are here, if they are anywhere."""
        place = (corpus_id, catalog.recipe, catalog.corpus_digest)
        told = catalog.dense is not None and bool(catalog.dense.lists)
        for beside, is_told in ((self.words(*place), True), (self.vectors(*place), told)):
            if is_told and not beside.exists():
                self._elsewhere.bring(beside)

    def keep_only(self, corpus_id: str, catalog: Catalog) -> None:
        """Drops a corpus' earlier catalogs, once its record names this one. The last of them whose texts
        all are in this one stays, to stand in should this one be damaged: never one of texts that were
        removed since.
        """
        path = self.path(corpus_id, catalog.recipe, catalog.corpus_digest)
        self._drop_elsewhere(path, {path.stem, self._drop_earlier(path, catalog)})

    def _drop_earlier(self, path: Path, catalog: Catalog) -> str:
        """Drops those that lie here; the name of the one that stays."""
        with opened_folder(path.parent, self.root) as folder:
            written = _time_of(path.name, folder)
            # One written later is another worker's, who indexed what the corpus is by now.
            earlier = [
                name
                for name in os.listdir(folder)
                if Path(name).stem != path.stem and _time_of(name, folder) <= written
            ]
            newest = self._newest(path.parent, earlier, catalog.recipe, folder)
            stays = next((Path(n).stem for n, its in newest if its.texts <= catalog.texts), "")
            for other in earlier:
                if Path(other).stem != stays:
                    with suppress(FileNotFoundError):
                        os.unlink(other, dir_fd=folder)
                        fail_point("catalog.dropped")
        return stays

    def _drop_elsewhere(self, path: Path, stay: set[str]) -> None:
        there = self._elsewhere.entries(path.parent)
        written = there.get(path.name, 0.0)
        for name in there:
            if Path(name).stem not in stay and there[name] < written:
                self._elsewhere.remove(path.parent / name)

    def get(self, corpus_id: str, recipe: str, corpus_digest: str) -> Catalog | None:
        """The catalog of a corpus' content under a recipe, or None where it was never made. Where it is
        damaged, the newest other one that is whole, or None.
        """
        path = self.path(corpus_id, recipe, corpus_digest)
        try:
            return self._read(path)
        except FileNotFoundError:
            return None
        except CatalogDamagedError as error:
            with opened_folder(path.parent, self.root) as folder:
                others = [name for name in os.listdir(folder) if name != path.name]
                _, stand_in = next(self._newest(path.parent, others, recipe, folder), ("", None))
            _log.warning(
                "the catalog of an index is damaged; index the corpus again",
                corpus=corpus_id,
                reason=str(error),
                serves="an earlier index" if stand_in else "nothing",
            )
            return stand_in

    def written(self, corpus_id: str, recipe: str, corpus_digest: str) -> int:
        """When a catalog was written here, in nanoseconds; 0 where there is none."""
        try:
            return self.path(corpus_id, recipe, corpus_digest).stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def all(self) -> tuple[list[Catalog], list[Path]]:
        """Every catalog of every corpus, and the files that are damaged ones."""
        whole, damaged = [], []
        for path in sorted(self.folder.glob("*/*.json")):
            try:
                whole.append(_read(path, self.root))
            except FileNotFoundError:  # its corpus was deleted meanwhile
                continue
            except CatalogDamagedError:
                damaged.append(path)
        return whole, damaged

    def _read(self, path: Path) -> Catalog:
        """Raises CatalogDamagedError, FileNotPlainError, FileNotFoundError: of here and elsewhere."""
        try:
            return _read(path, self.root)
        except (FileNotFoundError, CatalogDamagedError):
            if not self._elsewhere.bring(path):
                raise
        catalog = _read(path, self.root)
        self._drop_earlier(path, catalog)  # what it replaced was dropped by who wrote it
        return catalog

    def _newest(
        self, place: Path, names: Iterable[str], recipe: str, folder: int
    ) -> Iterator[tuple[str, Catalog]]:
        """Those files of an opened folder that are whole catalogs under a recipe, newest first."""
        for name in sorted(names, key=lambda name: _time_of(name, folder), reverse=True):
            if name.endswith(".json") and name.startswith(f"{recipe}-"):
                with suppress(FileNotFoundError, CatalogDamagedError):
                    yield name, _read(place / name, self.root)


def _time_of(name: str, folder: int) -> float:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return float("inf")


def _read(path: Path, root: Path) -> Catalog:
    """Raises CatalogDamagedError, FileNotPlainError."""
    try:
        return Catalog.from_json(read_plain(path, root))
    except CatalogDamagedError as error:
        raise CatalogDamagedError(f"{path.name}: {error}") from error
