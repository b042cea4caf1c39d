"""Text that comes in pieces, cut into lines as it comes: no more of it is held than the cut needs."""

import re

from retrieval.lines import Line
from retrieval.sentences import split_sentences

_CUT_AT = 32_768  # characters that are gathered before they are cut
_HELD = 2_048  # characters at the end whose sentences may still go on
_LINE_END = re.compile(r"[ \t]*\r?\n")


class TextStream:
    """Pieces of one text to numbered lines, with each line's place in the whole text.

    Every character that is not white space is in exactly one line, in order.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._waiting = 0
        self._cut_at = _CUT_AT
        self._start = 0  # of the first waiting character, in the whole text
        self._next = 0
        self._behind_code = False

    def add(self, piece: str) -> list[Line]:
        """The lines that are sure now."""
        self._pieces.append(piece)
        self._waiting += len(piece)
        return self._cut(_HELD) if self._waiting >= self._cut_at else []

    def finish(self) -> list[Line]:
        """The lines that waited for an end."""
        return self._cut(0)

    def _cut(self, held: int) -> list[Line]:
        text = "".join(self._pieces)
        spans = split_sentences(text, behind_code=self._behind_code)
        if held:  # what ends near the end may go on, and what touches it is cut again
            spans = [span for span in spans[:-1] if span.end <= len(text) - held]
        lines = [
            Line(self._next + i, span.of(text), self._start + span.start)
            for i, span in enumerate(spans)
        ]
        rest = 0 if held else len(text)
        if held and spans:
            self._behind_code = spans[-1].code
            end = _LINE_END.match(text, spans[-1].end)
            rest = end.end() if end else spans[-1].end
        self._next += len(lines)
        self._start += rest
        self._pieces, self._waiting = [text[rest:]], len(text) - rest
        # What could not be cut is not looked at again for every piece.
        self._cut_at = max(_CUT_AT, 2 * self._waiting)
        return lines
