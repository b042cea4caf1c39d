"""Where the sentences of a text end, of any kind of text that needles are hidden in."""

from __future__ import annotations

import re

REACH = 2_000  # characters within which a sentence's end is looked for

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


def _is_end(text: str, match: re.Match[str]) -> bool:
    """Whether a mark ends a sentence, rather than a shortened word."""
    if match[0][0] not in ".!?" or _BLANK_LINE.match(text, match.end()):
        return True
    word = _LAST_WORD.search(text, max(0, match.start() - 20), match.start())
    last = word[0].lower() if word else ""
    following = text[match.end() : match.end() + 80].lstrip(_OPENING)[:1]
    is_short = match[0][0] == "." and (last in ABBREVIATIONS or (len(last) == 1 and last != "i"))
    return not following.islower() and not is_short
