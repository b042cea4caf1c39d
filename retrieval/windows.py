"""Sentences to windows: consecutive sentences that fit one reading, cut where the content says.

A boundary depends on the sentences around it alone, so an edit moves few boundaries and every window
it did not touch keeps its hash (content-defined chunking).
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from retrieval.sentences import Span, split_sentences


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive sentences of one document. `digest` is the SHA-256 of its text."""

    start: int
    end: int
    sentences: tuple[Span, ...]  # spans in the document
    digest: str

    def of(self, text: str) -> str:
        return text[self.start : self.end]


@dataclass(frozen=True, slots=True)
class WindowSize:
    """Bounds in tokens. A window ends at its `most`, or past `least` at a sentence that says so."""

    least: int = 320
    most: int = 512
    odds: int = 4  # one sentence in so many ends a window past `least`

    def __post_init__(self) -> None:
        if not 0 < self.least <= self.most:
            raise ValueError(f"window bounds {self.least}..{self.most}; least must not exceed most")


def cut_windows(
    text: str, count_tokens: Callable[[Sequence[str]], list[int]], size: WindowSize
) -> list[Window]:
    """The windows of a document in order; together they hold every sentence once."""
    sentences = split_sentences(text)
    counts = count_tokens([sentence.of(text) for sentence in sentences])
    windows: list[Window] = []
    begin, room = 0, 0
    for i, (sentence, count) in enumerate(zip(sentences, counts, strict=True)):
        if room and room + count > size.most:
            windows.append(_window(text, sentences[begin:i]))
            begin, room = i, 0
        room += count
        if room >= size.least and _ends_window(sentence.of(text), size.odds):
            windows.append(_window(text, sentences[begin : i + 1]))
            begin, room = i + 1, 0
    if begin < len(sentences):
        windows.append(_window(text, sentences[begin:]))
    return windows


def _window(text: str, sentences: Sequence[Span]) -> Window:
    start, end = sentences[0].start, sentences[-1].end
    digest = hashlib.sha256(text[start:end].encode()).hexdigest()
    return Window(start, end, tuple(sentences), digest)


def _ends_window(sentence: str, odds: int) -> bool:
    return hashlib.sha256(sentence.encode()).digest()[0] % odds == 0
