"""Pictures of the grid: quality against size, and quality against steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cartridge_figures import HEAD, mean_of
from evaluation.line_plot import Panel, draw_lines

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
_SETS = ("held_out", "people")


def draw(rows: Sequence[Row], folder: Path) -> None:
    """Writes cartridges.size.png and cartridges.steps.png."""
    up = "share of full context's quality (KL)"
    sizes = [_sizes(rows, part) for part in _SETS]
    steps = [_steps(rows, part) for part in _SETS]
    draw_lines(sizes, up, folder / "cartridges.size.png")
    draw_lines(steps, up, folder / "cartridges.steps.png")


def _sizes(rows: Sequence[Row], part: str) -> Panel:
    lengths = sorted({row["p"] for row in rows})
    lines = {
        label: _known([(p, mean_of(rows, p, way, f"{part}_recovered")) for p in lengths])
        for way, label in _WAYS.items()
    }
    return Panel(part.replace("_", " "), "rows p (context of 1,541 tokens)", lines, in_octaves=True)


def _steps(rows: Sequence[Row], part: str) -> Panel:
    lines = {}
    for start, label in _STARTS.items():
        names = {step: f"distil {step} from {start}" if step else start for step in _STEPS}
        means = [(s, mean_of(rows, HEAD, name, f"{part}_recovered")) for s, name in names.items()]
        lines[label] = _known(means)
    return Panel(part.replace("_", " "), f"steps of 4 conversations, p = {HEAD}", lines)


def _known(points: Sequence[tuple[float, float | None]]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if y is not None]
