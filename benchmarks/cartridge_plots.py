"""Pictures of the grid: quality against size, and quality against steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.cartridge_figures import HEAD, mean_of

Row = Mapping[str, Any]
_WAYS = {
    "truncate": "first p tokens",
    "summary": "summary of p tokens",
    "retrieved": "retrieved, p tokens",
    "match": "closed form",
    "match, refined": "closed form, refined",
    "distil 300 from match, refined": "distilled, 300 steps",
}
_STARTS = {"truncate": "from the first tokens", "match, refined": "from the closed form"}
_STEPS = (0, 30, 100, 300)


def draw(rows: Sequence[Row], folder: Path) -> None:
    """Writes cartridges.size.png and cartridges.steps.png."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, part in zip(axes, ("held_out", "people"), strict=True):
        _sizes(axis, rows, part)
    axes[0].set_ylabel("share of full context's quality (KL)")
    axes[1].legend(fontsize=7)
    figure.savefig(folder / "cartridges.size.png", dpi=120)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, part in zip(axes, ("held_out", "people"), strict=True):
        _steps(axis, rows, part)
    axes[0].set_ylabel("share of full context's quality (KL)")
    axes[1].legend(fontsize=7)
    figure.savefig(folder / "cartridges.steps.png", dpi=120)


def _sizes(axis: Axes, rows: Sequence[Row], part: str) -> None:
    lengths = sorted({row["p"] for row in rows})
    for way, label in _WAYS.items():
        points = [(p, mean_of(rows, p, way, f"{part}_recovered")) for p in lengths]
        known = [(p, value) for p, value in points if value is not None]
        axis.plot([p for p, _ in known], [value for _, value in known], marker="o", label=label)
    axis.set_xscale("log", base=2)
    axis.set_ylim(-0.1, 1.0)
    axis.set_xlabel("rows p (context of 1,541 tokens)")
    axis.set_title(part.replace("_", " "))
    axis.grid(alpha=0.3)


def _steps(axis: Axes, rows: Sequence[Row], part: str) -> None:
    for start, label in _STARTS.items():
        names = [start if not step else f"distil {step} from {start}" for step in _STEPS]
        points = [mean_of(rows, HEAD, name, f"{part}_recovered") for name in names]
        known = [(s, v) for s, v in zip(_STEPS, points, strict=True) if v is not None]
        axis.plot([s for s, _ in known], [v for _, v in known], marker="o", label=label)
    axis.set_ylim(-0.1, 1.0)
    axis.set_xlabel(f"steps of 4 conversations, p = {HEAD}")
    axis.set_title(part.replace("_", " "))
    axis.grid(alpha=0.3)
