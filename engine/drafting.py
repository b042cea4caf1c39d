"""Tokens guessed ahead of an answer, so that one pass of the model yields several where they are right.

Answers that quote copy runs of their prompt: what followed the last tokens there is the guess (prompt
lookup: Yang et al. 2023, LLMA, arXiv 2304.04487; Saxena 2023). The model reads the guess behind the
last token and keeps it up to the first token that it would not have chosen itself, so that the answer
is the same (Leviathan et al. 2023, arXiv 2211.17192). How much is guessed follows from what passes of
this machine cost and from how often guesses were right.
"""

from collections.abc import Sequence

from engine.fading_line import FadingLine

MOST_DRAFTED = 8  # tokens of one request in one pass
_RUNS = (4, 3, 2)  # tokens that must have occurred before; the longest known run counts
_OVERHEAD, _MOST_OVERHEAD = 16.0, 256.0  # of a pass in tokens: what is assumed, and the most
_KEPT = 0.9  # what was measured before still weighs after one more measurement


class PromptLookup:
    """What one request has read and answered so far, and what followed each short run of it first."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens: list[int] = []
        # The place behind a run's first occurrence.
        self._behind: dict[tuple[int, ...], int] = {}
        self._right, self._tried = 3.0, 4.0
        for token in tokens:
            self.push(token)

    def __len__(self) -> int:
        return len(self._tokens)

    @property
    def hits(self) -> float:
        """The share of guessed tokens that proved right, of late; in 0..1."""
        return self._right / self._tried

    def push(self, token: int) -> None:
        """Takes one more token in."""
        for run in self._last_runs():  # they are followed by something only now
            self._behind.setdefault(run, len(self._tokens))
        self._tokens.append(token)

    def guess(self, most: int) -> list[int]:
        """Up to `most` tokens that followed the longest known run; none where no run is known."""
        for run in self._last_runs():
            if (place := self._behind.get(run)) is not None:
                return self._tokens[place : place + most]
        return []

    def learn(self, right: int, guessed: int) -> None:
        """Notes that the first `right` of so many guessed tokens were right."""
        if guessed:
            self._right = _KEPT * self._right + right
            self._tried = _KEPT * self._tried + min(right + 1, guessed)

    def _last_runs(self) -> list[tuple[int, ...]]:
        return [tuple(self._tokens[-run:]) for run in _RUNS if run <= len(self._tokens)]


class PassCost:
    """What a pass costs beside its tokens, as a number of tokens that would take as long."""

    def __init__(self) -> None:
        self._line: FadingLine | None = None

    @property
    def overhead(self) -> float:
        """Where the line through the passes measured of late meets the axis of tokens; 0..256."""
        if self._line is None:
            return _OVERHEAD
        start, each = self._line.line()
        return min(_MOST_OVERHEAD, start / each) if each else _MOST_OVERHEAD

    def learn(self, tokens: int, seconds: float) -> None:
        """Takes a measured pass in; the first one tells the scale of what is assumed."""
        if self._line is None:
            each = seconds / (tokens + _OVERHEAD)
            self._line = FadingLine.prior(_OVERHEAD * each, each, 1 + MOST_DRAFTED)
        self._line = self._line.after(tokens, seconds, _KEPT)


def length_that_pays(guesses: Sequence[tuple[int, float]], overhead: float) -> int:
    """How many tokens to guess for each row of a pass, 0 for none: most tokens for what it costs.

    `guesses` holds, for each row, how many tokens could be guessed and what share of them is likely
    right. Rows with less to guess are padded, and padding costs as tokens do.
    """

    def gain(length: int) -> float:
        tokens = sum(1 + _expected(min(length, most), hits) for most, hits in guesses)
        return tokens / (overhead + len(guesses) * (1 + length))

    return max(range(1 + max((most for most, _ in guesses), default=0)), key=gain)


def _expected(length: int, hits: float) -> float:
    """Right tokens among the first of `length`, each right with the same chance if all before are."""
    return float(length) if hits >= 1 else hits * (1 - hits**length) / (1 - hits)
