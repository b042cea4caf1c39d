"""An answer that quotes word for word: which tokens keep it to whole lines of its evidence.

A small model that is told to quote alters what it quotes, or makes up lines. Held to its evidence it can
choose lines, and when to end, but write none.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class QuotedLine:
    """A line as it stands in the prompt; `closing` is its last token where the answer ends with it, if
    the tokenizer has one that says so.
    """

    ids: Tokens
    closing: int | None = None

    def following(self, place: int) -> Tokens:
        """What may stand at a place."""
        if self.closing is None or place < len(self.ids) - 1:
            return (self.ids[place],)
        return (self.ids[place], self.closing)


@dataclass(frozen=True, slots=True)
class Quotation:
    """Where an answer is in its lines, each of which it tells once.

    `left` are the lines not told yet, `able` those that the one under way may become, of which `place`
    tokens are there; 0 stands between two lines, where a token of `stop` ends the answer.
    """

    left: tuple[QuotedLine, ...]
    able: tuple[QuotedLine, ...]
    place: int
    stop: Tokens

    @classmethod
    def of(cls, lines: Iterable[QuotedLine], stop: Iterable[int]) -> "Quotation":
        """An answer whose first line's first token, equal in all lines, is there already."""
        own = tuple(dict.fromkeys(line for line in lines if len(line.ids) > 1))
        return cls(own, own, 1, tuple(sorted(stop)))

    @property
    def options(self) -> Tokens:
        """The tokens that may come next."""
        following = dict.fromkeys(t for line in self.able for t in line.following(self.place))
        return tuple(following) if self.place else (*self.stop, *following)

    def after(self, token: int) -> "Quotation":
        """Behind one of the options."""
        place = self.place + 1
        able = tuple(line for line in self.able if line.ids[self.place] == token)
        if not able:  # a line was closed, or the answer ended
            return replace(self, left=(), able=(), place=0)
        if all(len(line.ids) > place for line in able):
            return replace(self, able=able, place=place)
        left = tuple(line for line in self.left if line not in able or len(line.ids) > place)
        return replace(self, left=left, able=left, place=0)

    def guess(self, most: int) -> list[int]:
        """Up to `most` tokens that come next if the first of the lines is the one; the rest of the line
        under way once no other begins as it does.
        """
        return list(self.able[0].ids[self.place : self.place + most]) if self.able else []
