"""Text to sentences with exact character spans: prose by sentencex, lists, code and tables by line.

Every character that is not white space lies in exactly one span, and no span is longer than asked.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sentencex import get_sentence_boundaries

_BLANK = re.compile(r"\n[ \t]*\n")
_ITEM = re.compile(r"[ \t]*(?:[-*+•|#>]|\d{1,3}[.)]|[A-Za-z][.)])[ \t|#]")
_SPACE = re.compile(r"\s+")
_WRAPPED_AT = (
    50  # a line shorter than this was ended on purpose, unless the next goes on in lower case
)


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Characters `start` to `end` of a text."""

    start: int
    end: int

    def of(self, text: str) -> str:
        return text[self.start : self.end]


def split_sentences(text: str, longest: int = 800) -> list[Span]:
    """The sentences of a text in order; each has at most `longest` characters."""
    spans: list[Span] = []
    for block in _blocks(text):
        for unit in _units(text, block):
            for sentence in _sentences(text, unit):
                for span in _bounded(text, sentence, longest):
                    _append(text, spans, span, longest)
    return spans


def _append(text: str, spans: list[Span], span: Span, longest: int) -> None:
    """Adds a span; a rule or a lone mark (no letter, no digit) goes to the sentence before it."""
    is_mark = not any(character.isalnum() for character in span.of(text))
    if is_mark and spans and span.end - spans[-1].start <= longest:
        spans[-1] = Span(spans[-1].start, span.end)
    else:
        spans.append(span)


def _blocks(text: str) -> Iterator[Span]:
    """What lies between blank lines."""
    start = 0
    for blank in _BLANK.finditer(text):
        yield Span(start, blank.start())
        start = blank.end()
    yield Span(start, len(text))


def _units(text: str, block: Span) -> Iterator[Span]:
    """Runs of lines that belong together: a wrapped paragraph, a list item, a line of code."""
    start = block.start
    previous = ""
    at = block.start
    for line in block.of(text).splitlines(keepends=True):
        if previous and not _continues(previous, line):
            yield Span(start, at)
            start = at
        previous = line
        at += len(line)
    yield Span(start, block.end)


def _continues(previous: str, line: str) -> bool:
    before, after = previous.strip(), line.strip()
    if not before or not after or _ITEM.match(line):
        return False
    if after[0].islower():
        return True
    goes_on = after[0].isalpha() or after[0] in "\"'(“‘"
    return len(before) >= _WRAPPED_AT and before[-1] not in ".:;!?{}" and goes_on


def _sentences(text: str, unit: Span) -> Iterator[Span]:
    # The splitter takes a line break for a paragraph's end; a space in its place keeps the offsets.
    flat = unit.of(text).replace("\n", " ").replace("\r", " ")
    if not flat.strip():
        return
    mark = _ITEM.match(flat)  # "1. first" is one sentence, whatever the splitter makes of its dot
    behind = mark.end() if mark and flat[mark.end() :].strip() else 0
    start = unit.start
    for found in get_sentence_boundaries("en", flat[behind:]):
        end = unit.start + behind + found["end_index"]
        yield Span(start, end)
        start = end


def _bounded(text: str, span: Span, longest: int) -> Iterator[Span]:
    """The span without white space at its ends, cut at white space (or anywhere) where too long."""
    start, end = _trim(text, span)
    while end - start > longest:
        cut = start + longest
        spaces = list(_SPACE.finditer(text, start + longest // 2, cut))
        if spaces:
            cut = spaces[-1].start()
        first, last = _trim(text, Span(start, cut))
        yield Span(first, last)
        start = _trim(text, Span(cut, end))[0]
    if end > start:
        yield Span(start, end)


def _trim(text: str, span: Span) -> tuple[int, int]:
    inside = span.of(text)
    left = len(inside) - len(inside.lstrip())
    return span.start + left, span.start + max(left, len(inside.rstrip()))
