"""Lines over a shared scale of shares, a panel each, as one picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.heat_map import require_matplotlib

LOWEST = -0.1  # shares may fall a little below nothing


@dataclass(frozen=True, slots=True)
class Panel:
    """One set of axes: points (x, share) of every line by its label."""

    title: str
    across: str  # what x counts
    lines: Mapping[str, Sequence[tuple[float, float]]]
    in_octaves: bool = False  # x grows by doubling


def draw_lines(panels: Sequence[Panel], up: str, path: Path) -> None:
    """Writes a PNG; `up` says what the shares are of. Raises MissingExtraError without matplotlib."""
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(panels), 3.6), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, panel in zip(axes, panels, strict=True):
        for label, points in panel.lines.items():
            axis.plot([x for x, _ in points], [y for _, y in points], marker="o", label=label)
        if panel.in_octaves:
            axis.set_xscale("log", base=2)
        axis.set_ylim(LOWEST, 1.0)
        axis.set_xlabel(panel.across)
        axis.set_title(panel.title)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(up)
    axes[-1].legend(fontsize=7)
    figure.savefig(path, dpi=120)
