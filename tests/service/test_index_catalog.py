"""Catalogs of several workers stand side by side until a record names one of them."""

import os
from pathlib import Path

from service.state.index_catalog import Catalog, Catalogs


def test_catalogs_written_after_the_one_that_is_kept_stay(tmp_path: Path) -> None:
    catalogs = Catalogs(tmp_path)
    kept = Catalog("b" * 64, "recipe", 1, 1, ())
    for digest, age in (("a", 20), ("b", 10), ("c", 0)):
        catalogs.put("books", Catalog(digest * 64, "recipe", 1, 1, ()))
        os.utime(catalogs.path("books", "recipe", digest * 64), (1e9 - age, 1e9 - age))
    catalogs.keep_only("books", kept)
    left = [catalogs.get("books", "recipe", digest * 64) is not None for digest in "abc"]
    assert left == [False, True, True]
