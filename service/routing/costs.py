"""What a route takes: a sum of stages whose time grows in a line with an amount, learned as it is seen.

Ordinary least squares on sums that fade, so that a machine that got slower is noticed. What the line
itself says stays among them with the weight of one observation: amounts that are all alike leave the
slope as it is. The spread is that of the logarithm of what a stage took against what was predicted.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

FADING = 0.98  # weight of what was known before, at every new observation
Z95 = 1.645  # of a normal distribution


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds in the middle and at the 95th percentile."""

    p50: float = 0.0
    p95: float = 0.0

    def __add__(self, other: "Estimate") -> "Estimate":
        """Of one after the other; as if both were late together, which errs to the safe side."""
        return Estimate(self.p50 + other.p50, self.p95 + other.p95)


@dataclass(frozen=True, slots=True)
class Stage:
    """Sums over observations of (amount, seconds), and the variance of log(actual/predicted)."""

    count: float = 0.0
    amount: float = 0.0
    seconds: float = 0.0
    squares: float = 0.0  # of amounts
    products: float = 0.0  # of amounts and seconds
    variance: float = 0.1

    @classmethod
    def prior(cls, start: float, each: float, amount: float) -> "Stage":
        """A line that one observation's worth of evidence speaks for, around an amount."""
        return cls()._on_line(start, each, amount, 1.0)

    def _on_line(self, start: float, each: float, amount: float, weight: float) -> "Stage":
        made = self
        for x in (0.5 * amount, 1.5 * amount):
            made = made._seen(x, start + each * x, weight / 2)
        return made

    def _seen(self, amount: float, seconds: float, weight: float = 1.0) -> "Stage":
        return replace(
            self,
            count=self.count + weight,
            amount=self.amount + weight * amount,
            seconds=self.seconds + weight * seconds,
            squares=self.squares + weight * amount * amount,
            products=self.products + weight * amount * seconds,
        )

    def _faded(self) -> "Stage":
        return replace(
            self,
            count=self.count * FADING,
            amount=self.amount * FADING,
            seconds=self.seconds * FADING,
            squares=self.squares * FADING,
            products=self.products * FADING,
        )

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

    def estimate(self, amount: float) -> Estimate:
        start, slope = self.line()
        middle = start + slope * amount
        return Estimate(middle, middle * math.exp(Z95 * math.sqrt(self.variance)))

    def learned(self, amount: float, seconds: float) -> "Stage":
        """The stage after it took so many seconds for an amount."""
        start, slope = self.line()
        predicted = max(1e-4, start + slope * amount)
        off = math.log(max(1e-4, seconds) / predicted)
        keep = 1.0 - 1.0 / min(1.0 + self.count, 1.0 / (1.0 - FADING))
        known = self._faded()
        if self.count:
            known = known._on_line(start, slope, self.amount / self.count, 1.0 - FADING)
        variance = keep * self.variance + (1.0 - keep) * off * off
        return replace(known._seen(amount, seconds), variance=variance)


# A laptop's order of magnitude, which the first answers replace: amounts are tokens, but for `load`
# (mebibytes) and `search` (thousands of sentences).
PRIORS: Mapping[str, Stage] = {
    "load": Stage.prior(0.005, 0.001, 20.0),
    "search": Stage.prior(0.05, 0.005, 1.0),
    "attend": Stage.prior(0.3, 0.0005, 4000.0),
    "read": Stage.prior(0.02, 0.001, 300.0),
    "decode": Stage.prior(0.02, 0.04, 30.0),
}


@dataclass(frozen=True, slots=True)
class CostModel:
    """All stages of one machine and model."""

    stages: Mapping[str, Stage] = field(default_factory=lambda: dict(PRIORS))

    def estimate(self, amounts: Mapping[str, float]) -> Estimate:
        """Of stages done one after the other, each of an amount."""
        total = Estimate()
        for name, amount in amounts.items():
            total += self.stages[name].estimate(amount)
        return total

    def learned(self, name: str, amount: float, seconds: float) -> "CostModel":
        stage = self.stages[name].learned(amount, seconds)
        return CostModel({**self.stages, name: stage})

    def to_json(self) -> str:
        return json.dumps({name: asdict(stage) for name, stage in self.stages.items()})

    @classmethod
    def from_json(cls, text: str) -> "CostModel":
        """What was stored; stages that it does not know keep their priors."""
        known = {name: Stage(**fields) for name, fields in json.loads(text).items()}
        return cls({**PRIORS, **{name: known[name] for name in PRIORS if name in known}})
