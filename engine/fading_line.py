"""A line through what was seen of late: how long something takes beside what grows with its amount.

Ordinary least squares on sums that fade, so that a machine that got slower is noticed. What the line
itself says stays among them: amounts that are all alike leave the slope as it is.
"""

from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, slots=True)
class FadingLine:
    """Sums over observations of (amount, seconds)."""

    count: float = 0.0
    amount: float = 0.0
    seconds: float = 0.0
    squares: float = 0.0  # of amounts
    products: float = 0.0  # of amounts and seconds

    @classmethod
    def prior(cls, start: float, each: float, amount: float) -> Self:
        """A line that one observation's worth of evidence speaks for, around an amount."""
        return cls()._on_line(start, each, amount, 1.0)

    def line(self) -> tuple[float, float]:
        """Seconds at amount 0 and per unit, neither below 0."""
        if not self.count:
            return 0.0, 0.0
        spread = self.count * self.squares - self.amount**2
        slope = 0.0
        if spread > 1e-9 * max(1.0, self.squares):
            slope = max(0.0, (self.count * self.products - self.amount * self.seconds) / spread)
        start = (self.seconds - slope * self.amount) / self.count
        if start < 0.0:
            return 0.0, self.products / self.squares
        return start, slope

    def after(self, amount: float, seconds: float, fading: float) -> Self:
        """The line once it took so many seconds for an amount; what was known before weighs `fading`."""
        known = replace(
            self,
            count=self.count * fading,
            amount=self.amount * fading,
            seconds=self.seconds * fading,
            squares=self.squares * fading,
            products=self.products * fading,
        )
        if self.count:
            known = known._on_line(*self.line(), self.amount / self.count, 1.0 - fading)
        return known._seen(amount, seconds)

    def _on_line(self, start: float, each: float, amount: float, weight: float) -> Self:
        made = self
        for x in (0.5 * amount, 1.5 * amount):
            made = made._seen(x, start + each * x, weight / 2)
        return made

    def _seen(self, amount: float, seconds: float, weight: float = 1.0) -> Self:
        return replace(
            self,
            count=self.count + weight,
            amount=self.amount + weight * amount,
            seconds=self.seconds + weight * seconds,
            squares=self.squares + weight * amount * amount,
            products=self.products + weight * amount * seconds,
        )
