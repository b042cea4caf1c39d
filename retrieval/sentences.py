"""Text to sentences with exact character spans: prose by sentencex, code and lists by line.

Every character that is not white space lies in exactly one span, and no span is heavier than asked: a
sentence that no evidence budget has room for could never be shown.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sentencex import get_sentence_boundaries

from retrieval.code_lines import begins_anew, is_code

_BLANK = re.compile(r"\n[ \t]*\n")
_ITEM = re.compile(r"[ \t]*(?:[-*+•|#>]|\d{1,3}[.)]|[A-Za-z][.)])[ \t|#]")
# How a line of a log, a table of keys or a configuration begins: `key: ...`, `key = ...`, `WARN ...`.
_RECORD = re.compile(
    r"""["'(]?(?:[\w.*/-]+["']?\s*[:=]|(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL|FATAL)\b)"""
)
_STATEMENTS = 320  # about 80 tokens of code are shown together
_RUN = re.compile(r"\S{25,}")
_CLAUSE = re.compile(r"[,;:]\s|[，、；：。！？]")
_SPACE = re.compile(r"\s+")
_WRAPPED_AT = (
    50  # a line shorter than this was ended on purpose, unless the next goes on in lower case
)


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Characters `start` to `end` of a text, which may be lines of code."""

    start: int
    end: int
    code: bool = False

    def of(self, text: str) -> str:
        return text[self.start : self.end]


def split_sentences(text: str, heaviest: int = 800, behind_code: bool = False) -> list[Span]:
    """The sentences of a text in order; each weighs at most `heaviest` (see `weigh`), or is one
    character. `behind_code` says that the text goes on where a line of code ended.
    """
    weight = weigh(text)
    spans: list[Span] = []
    for block in _blocks(text):
        for unit in _units(text, block, weight, behind_code and block.start == 0):
            for sentence in [unit] if unit.code else _sentences(text, unit):
                for span in _bounded(text, sentence, weight, heaviest):
                    _append(text, spans, span, weight, heaviest)
    return spans


def weigh(text: str) -> NDArray[np.int32]:
    """What stands before each character and the end [characters + 1], in about quarters of a token.

    Words have some four letters a token; a digit, a mark, and a letter of a run that is no word (a key,
    base64) is one by itself, and what lies outside of ASCII is read byte by byte by most vocabularies.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    letters = (codes >= ord("a")) & (codes <= ord("z")) | (codes == ord(" "))
    capitals = (codes >= ord("A")) & (codes <= ord("Z"))
    digits_and_marks = codes < 0x80
    bounds = [letters, capitals, digits_and_marks, codes < 0x800, codes < 0x10000]
    each = np.select(bounds, [np.uint8(n) for n in (1, 2, 4, 3, 7)], np.uint8(12))
    for run in _RUN.finditer(text):
        inside = slice(run.start(), run.end())
        each[inside] = np.maximum(each[inside], 4)
    weight = np.zeros(len(each) + 1, np.int32)
    np.cumsum(each, dtype=np.int32, out=weight[1:])
    return weight


def _append(
    text: str, spans: list[Span], span: Span, weight: NDArray[np.int32], heaviest: int
) -> None:
    """Adds a span; a rule or a lone mark (no letter, no digit) goes to the sentence before it."""
    is_mark = not any(character.isalnum() for character in span.of(text))
    if is_mark and spans and weight[span.end] - weight[spans[-1].start] <= heaviest:
        spans[-1] = Span(spans[-1].start, span.end, span.code)
    else:
        spans.append(span)


def _blocks(text: str) -> Iterator[Span]:
    """What lies between blank lines."""
    start = 0
    for blank in _BLANK.finditer(text):
        yield Span(start, blank.start())
        start = blank.end()
    yield Span(start, len(text))


def _units(text: str, block: Span, weight: NDArray[np.int32], behind_code: bool) -> Iterator[Span]:
    """Runs of lines that belong together: a wrapped paragraph, a list item, some statements."""
    start = at = block.start
    previous, was_code = "", behind_code
    for line in block.of(text).splitlines(keepends=True):
        end = at + len(line)
        code = is_code(line, was_code)
        if code and was_code:
            fits = weight[end] - weight[start] <= _STATEMENTS
            goes_on = bool(fits) and not begins_anew(previous, line)
        else:
            goes_on = code == was_code and _continues(previous, line)
        if previous and not goes_on:
            yield Span(start, at, was_code)
            start = at
        previous, was_code, at = line, code, end
    yield Span(start, block.end, was_code)


def _continues(previous: str, line: str) -> bool:
    before, after = previous.strip(), line.strip()
    if not before or not after or _ITEM.match(line):
        return False
    if _RECORD.match(before) and _RECORD.match(after):
        return False
    if after[0].islower():
        return True
    if before.split()[0] == after.split()[0]:
        return False  # records begin alike, and sentences seldom do
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


def _bounded(text: str, span: Span, weight: NDArray[np.int32], heaviest: int) -> Iterator[Span]:
    """The span without white space at its ends; where too heavy cut behind a clause, else at white
    space, else anywhere.
    """
    start, end = _trim(text, span)
    while weight[end] - weight[start] > heaviest:
        cut = int(np.searchsorted(weight, weight[start] + heaviest, side="right")) - 1
        cut = max(cut, start + 1)
        half = start + (cut - start) // 2
        ends = [*_CLAUSE.finditer(text, half, cut)] or [*_SPACE.finditer(text, half, cut)]
        if ends:
            cut = ends[-1].end()
        first, last = _trim(text, Span(start, cut))
        yield Span(first, last, span.code)
        start = _trim(text, Span(cut, end))[0]
    if end > start:
        yield Span(start, end, span.code)


def _trim(text: str, span: Span) -> tuple[int, int]:
    inside = span.of(text)
    left = len(inside) - len(inside.lstrip())
    return span.start + left, span.start + max(left, len(inside.rstrip()))
