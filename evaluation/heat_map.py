"""A grid of shares as a picture: numbers in the cells, and one colour scale for all pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from evaluation.summary import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

DOTS_PER_INCH = 160

# Red over amber to green, because nobody has to be told which end is good; and brighter at every
# step, in even steps of lightness, because hue alone is lost in greyscale and to the colour-blind.
# Right cells are pale, so that the few wrong ones are what the eye meets.
SCALE = ("#721127", "#a42f2c", "#c65e2d", "#da9037", "#dbc75b", "#d1f5c1")
DARK_INK_FROM = 0.45  # the share from which dark figures read better on the scale than light ones


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours around the cells."""

    paper: str
    ink: str
    muted: str
    absent: str


LIGHT = Theme(paper="#ffffff", ink="#1d2430", muted="#5d6878", absent="#eceef2")
DARK = Theme(paper="#171c24", ink="#e4e8ee", muted="#98a3b3", absent="#262d38")


class MissingExtraError(Exception):
    """A package of an optional extra is not installed; the message says how to get it."""


def require_matplotlib() -> None:
    """Raises MissingExtraError when pictures cannot be drawn, best before a run and not after it."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "heat maps need matplotlib, which is not installed; "
            "pip install 'longmemory[evaluate]', or pip install matplotlib"
        ) from error


def draw_heat_map(
    cells: Mapping[tuple[str, str], float],
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    x_label: str,
    y_label: str,
    theme: Theme = LIGHT,
) -> bytes:
    """A PNG of shares 0..1 by (row, column), first row on top; absent cells are grey and hatched.

    Raises MissingExtraError without matplotlib, ValueError without a row or a column.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if not rows or not columns:
        raise ValueError("a heat map needs at least one row and one column")
    shares = np.array([[cells.get((row, column), np.nan) for column in columns] for row in rows])
    # A figure of its own rather than pyplot, which keeps every figure alive in global state.
    figure = Figure(
        figsize=(max(3.0, 0.8 * len(columns)) + 2.0, max(1.2, 0.36 * len(rows)) + 1.4),
        dpi=DOTS_PER_INCH,
        facecolor=theme.paper,
        layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1),
    )
    axes = figure.add_subplot()
    axes.set_title(title, color=theme.ink, fontsize=11, pad=10, loc="left", parse_math=False)
    axes.set_xlabel(x_label, color=theme.muted, labelpad=6, parse_math=False)
    axes.set_ylabel(y_label, color=theme.muted, labelpad=6, parse_math=False)
    mesh = _draw_cells(axes, shares, theme)
    _name_ticks(axes, rows, columns, theme)
    _draw_scale(figure, axes, mesh, theme)
    image = BytesIO()
    FigureCanvasAgg(figure)  # becomes the figure's canvas
    figure.savefig(image, format="png")
    return image.getvalue()


def _draw_cells(axes: Axes, shares: NDArray[np.float64], theme: Theme) -> QuadMesh:
    """The coloured cells and their figures; `shares` is [rows, columns], NaN where absent."""
    from matplotlib.colors import LinearSegmentedColormap

    # Absent cells are not drawn, so the ground under them is what shows.
    axes.patch.set(facecolor=theme.absent, edgecolor=theme.muted, hatch="////", linewidth=0.0)
    mesh = axes.pcolormesh(
        np.ma.masked_invalid(shares),
        cmap=LinearSegmentedColormap.from_list("shares", SCALE),
        vmin=0.0,
        vmax=1.0,
        edgecolors=theme.paper,
        linewidth=1.5,
    )
    for (row, column), share in np.ndenumerate(shares):
        if not np.isnan(share):
            axes.text(
                column + 0.5,
                row + 0.5,
                percent(share).removesuffix(" %"),
                ha="center",
                va="center",
                fontsize=9,
                color=LIGHT.ink if share >= DARK_INK_FROM else "#ffffff",
            )
    axes.invert_yaxis()
    return mesh


def _name_ticks(axes: Axes, rows: Sequence[str], columns: Sequence[str], theme: Theme) -> None:
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, parse_math=False)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows, parse_math=False)
    axes.tick_params(length=0, colors=theme.ink, labelsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_scale(figure: Figure, axes: Axes, mesh: QuadMesh, theme: Theme) -> None:
    ticks = np.linspace(0.0, 1.0, 5)
    bar = figure.colorbar(mesh, ax=axes, ticks=ticks, pad=0.03, aspect=18)
    bar.ax.set_yticklabels([percent(tick) for tick in ticks])
    bar.ax.tick_params(length=0, colors=theme.muted, labelsize=8)
    bar.outline.set_visible(False)
