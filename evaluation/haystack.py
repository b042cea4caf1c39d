"""Real text as long as it is asked for, and sentences planted in it."""

from __future__ import annotations

import itertools
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from evaluation.haystack_texts import HaystackError, TextPiece, read_pieces
from evaluation.sentence_ends import sentence_end
from service.client.types import SourceDocument

_ENDED = re.compile(r"""[.!?。！？]["'”’)\]」』）]*\s*\Z""")


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


def read_haystack(source: str, characters: int) -> Haystack:
    """Whole documents of a source in order up to `characters`; the last is cut at a sentence's end.

    `source` is essays, stdlib, essays+stdlib, auto (the first of these that is there and is long
    enough) or a folder of text files. A source that is too short starts over, and `repeated` says
    so. Raises HaystackError when there is no text, ValueError when none is asked for.
    """
    if characters < 1:
        raise ValueError(f"characters is {characters}; ask for at least 1 character of haystack")
    pieces = list(_enough(read_pieces(source), characters))
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


def _enough(pieces: Iterator[TextPiece], characters: int) -> Iterator[TextPiece]:
    """Pieces until they hold so many characters, so that no more files are read than it takes."""
    left = characters
    for piece in pieces:
        yield piece
        left -= len(piece.text)
        if left <= 0:
            return


def _up_to(pieces: Iterable[TextPiece], characters: int) -> Iterator[TextPiece]:
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
            yield TextPiece(piece.source, piece.name, short)
        return
