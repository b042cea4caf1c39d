"""What a route takes: a sum of stages whose time grows in a line with an amount, learned as it is seen.

What a line says itself keeps the weight of one observation. The spread is that of the logarithm of what
a stage took against what was predicted.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from engine.fading_line import FadingLine

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
class Stage(FadingLine):
    """A stage's line, and the variance of log(actual/predicted)."""

    variance: float = 0.1

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
        variance = keep * self.variance + (1.0 - keep) * off * off
        return replace(self.after(amount, seconds, FADING), variance=variance)


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
