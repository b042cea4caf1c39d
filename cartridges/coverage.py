"""Whether self-study saw the whole corpus: coverage decides what a cartridge recalls."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cartridges.conversations import Conversation
from cartridges.seeds import load_seeds

_TENTHS = 10


@dataclass(frozen=True, slots=True)
class Coverage:
    """`times` is how often a sentence was part of a studied passage, on average (conversations x passage
    / corpus); `studied` the share of sentences that were at all; `thinnest` the least times of any tenth
    of the corpus, as a share of the average: 1 is even.
    """

    times: float
    studied: float
    thinnest: float


def coverage_of(conversations: Sequence[Conversation], sentences: int) -> Coverage:
    """The coverage of a corpus of so many sentences."""
    reach = {seed.name: seed.sentences for seed in load_seeds()}
    seen: Counter[int] = Counter()
    for each in conversations:
        seen.update(range(each.sentence, min(sentences, each.sentence + reach.get(each.kind, 1))))
    times = sum(seen.values()) / max(1, sentences)
    edges = [sentences * i // _TENTHS for i in range(_TENTHS + 1)]
    tenths = [
        sum(seen[i] for i in range(start, stop)) / (stop - start)
        for start, stop in itertools.pairwise(edges)
        if stop > start
    ]
    thinnest = min(tenths, default=0.0) / times if times else 0.0
    return Coverage(times, len(seen) / max(1, sentences), thinnest)
