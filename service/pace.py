"""How fast a server works its queue off, and how long a new question would wait. Pure logic."""

from dataclasses import dataclass

FADING = 0.9  # weight of what was known before, at every question that ends


@dataclass(frozen=True, slots=True)
class Pace:
    """Tokens and the busy seconds they took, as sums that fade: their quotient is the mean rate.

    Tokens are those a question was counted with when it was let in, so that answers which end before
    their most tokens make the pace faster and the estimates stay right.
    """

    tokens: float = 500.0  # a small model on one core, which the first answers replace
    seconds: float = 10.0

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds

    def learned(self, tokens: int, seconds: float) -> "Pace":
        """The pace after so many tokens were done in so many more seconds."""
        return Pace(self.tokens * FADING + tokens, self.seconds * FADING + max(1e-6, seconds))

    def seconds_for(self, tokens: float) -> float:
        return max(0.0, tokens) / self.tokens_per_second


@dataclass(frozen=True, slots=True)
class Load:
    """What is under way: questions and their tokens, and how many are decoded at once."""

    questions: int
    tokens: int
    places: int

    def wait(self, pace: Pace) -> float:
        """Seconds until a new question's turn: what must end before there is a place for it."""
        before = max(0, self.questions - self.places + 1)
        return pace.seconds_for(self.tokens * before / max(1, self.questions))

    def until_room(self, pace: Pace, excess_tokens: int) -> float:
        """Seconds until one question has ended, and so many tokens are done."""
        return pace.seconds_for(max(self.tokens / max(1, self.questions), excess_tokens))
