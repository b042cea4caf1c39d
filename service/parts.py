"""A corpus larger than a model's window, in parts that a cartridge can be built for."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.library import ResidentCorpus

PART_TOKENS = 4096
"""What one part stands for at most, unless told otherwise: longer ones recover less a row."""
LEAST_PART_TOKENS = 256
RESERVE = 512
"""Tokens of the window that questions and answers behind a part need."""


@dataclass(frozen=True, slots=True)
class CorpusPart:
    """Consecutive windows of a corpus: their digests, and the numbers of their sentences."""

    windows: tuple[str, ...]
    sentences: range


def cut_parts(corpus: ResidentCorpus, most: int) -> list[CorpusPart]:
    """Parts of about `most` tokens at most, one window each at least, as equal as windows allow."""
    tokens = [corpus.tokens_of(window) for window in range(len(corpus.windows))]
    wanted = max(1, -(-sum(tokens) // most))
    share, parts, start, filled = sum(tokens) / wanted, [], 0, 0
    for window, count in enumerate(tokens):
        is_full = filled + count > most or filled + count / 2 > share
        if filled and is_full:
            parts.append(_part(corpus, range(start, window)))
            start, filled = window, 0
        filled += count
    if filled:
        parts.append(_part(corpus, range(start, len(tokens))))
    return parts


def changed_sentences(
    corpus: ResidentCorpus, part: CorpusPart, known: frozenset[str]
) -> Sequence[int]:
    """Places within the part of the sentences in windows that are not known, from 0."""
    return [
        sentence - part.sentences.start
        for window, digest in enumerate(corpus.windows)
        if digest not in known and digest in part.windows
        for sentence in corpus.index.sentences_of_windows[window]
        if sentence in part.sentences
    ]


def _part(corpus: ResidentCorpus, windows: range) -> CorpusPart:
    spans = corpus.index.sentences_of_windows
    digests = tuple(corpus.windows[window] for window in windows)
    return CorpusPart(digests, range(spans[windows[0]].start, spans[windows[-1]].stop))
