"""How many rows a cartridge should have, read off the curve of what each length recovers."""

import itertools
from collections.abc import Mapping

SMALLEST = 16
_SHARES = (48, 24, 12, 6)  # the lengths tried are these parts of the context


def candidate_lengths(context: int) -> tuple[int, ...]:
    """Lengths to try for a context of so many tokens, each twice the one before."""
    lengths = {min(context, max(SMALLEST, round(context / share))) for share in _SHARES}
    return tuple(sorted(lengths))


def choose_length(curve: Mapping[int, float], enough: float = 0.9, least: float = 0.02) -> int:
    """The first length that recovers `enough`, or the one behind which twice as many rows add less than
    `least`; else the longest.

    `curve` maps lengths, each about twice the one before, to recovered shares.
    """
    lengths = sorted(curve)
    for shorter, longer in itertools.pairwise(lengths):
        if curve[shorter] >= enough or curve[longer] - curve[shorter] < least:
            return shorter
    return lengths[-1]
