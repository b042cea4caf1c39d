"""Whether a question is about a cartridge's corpus, with a stated error rate.

A loaded cartridge hurts questions that are not about its corpus. Conformal prediction (Vovk et al. 2005)
on the cosine of a question and its nearest sentence: of questions that are as unrelated as those it was
calibrated on, at most a share `alpha` is let in, whatever the corpus.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Guard:
    """A question is let in where its cosine lies above `threshold`.

    `alpha` bounds the share of unrelated questions that are; `kept` is the share of the corpus' own
    held-out questions that were.
    """

    threshold: float
    alpha: float
    kept: float

    def lets_in(self, cosine: float) -> bool:
        return cosine > self.threshold

    def metrics(self) -> dict[str, float]:
        return {
            "guard_threshold": self.threshold,
            "guard_alpha": self.alpha,
            "guard_kept": self.kept,
        }

    @classmethod
    def of_metrics(cls, metrics: Mapping[str, float]) -> "Guard | None":
        """What `metrics` told, or None where nothing was calibrated."""
        if "guard_threshold" not in metrics:
            return None
        return cls(metrics["guard_threshold"], metrics["guard_alpha"], metrics["guard_kept"])


def calibrate_guard(
    own: Sequence[float], unrelated: Sequence[float], alpha: float = ALPHA
) -> Guard:
    """The lowest threshold that keeps the promise, from the cosines of the corpus' own questions and of
    unrelated ones.

    A further unrelated question ranks anywhere among the n known ones with the same chance, so it lies
    above the k-th highest of them with probability k / (n + 1) at most.

    Raises:
        ValueError: so few unrelated questions promise no such share.
    """
    allowed = int(alpha * (len(unrelated) + 1))
    if allowed < 1:
        raise ValueError(f"{len(unrelated)} unrelated questions cannot promise a share of {alpha}")
    threshold = sorted(unrelated, reverse=True)[allowed - 1]
    kept = sum(cosine > threshold for cosine in own) / max(1, len(own))
    return Guard(threshold, alpha, kept)
