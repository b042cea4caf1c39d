"""A heat map is a PNG that follows its cells, on a scale that needs no eye for colour."""

import struct
import sys
from io import BytesIO

import numpy as np
import pytest

from evaluation.heat_map import (
    DARK,
    SCALE,
    MissingExtraError,
    draw_heat_map,
    require_matplotlib,
)

matplotlib = pytest.importorskip("matplotlib")

DEPTHS = ["0", "50", "100"]
LENGTHS = ["4k", "32k"]
CELLS = {(depth, length): 0.5 for depth in DEPTHS for length in LENGTHS}


def draw(cells: dict[tuple[str, str], float], title: str = "crag: answers right") -> bytes:
    return draw_heat_map(cells, DEPTHS, LENGTHS, title, "length", "depth")


def pixels(image: bytes) -> np.ndarray[tuple[int, int, int], np.dtype[np.float32]]:
    from matplotlib.image import imread

    shown: np.ndarray[tuple[int, int, int], np.dtype[np.float32]] = imread(BytesIO(image))
    return shown


def has_colour(image: bytes, colour: str) -> bool:
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    same = np.abs(pixels(image)[..., :3] * 255 - wanted).max(axis=-1) < 2
    return int(same.sum()) > 500  # more than an edge of a letter


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_it_is_a_png_large_enough_to_read() -> None:
    image = draw(CELLS)
    width, height = struct.unpack(">II", image[16:24])

    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    assert 500 < width < 2000
    assert 300 < height < 2000


def test_more_lengths_and_depths_make_it_larger() -> None:
    rows, columns = [str(i) for i in range(20)], [f"{i}k" for i in range(10)]
    many = draw_heat_map({("0", "0k"): 1.0}, rows, columns, "t", "x", "y")

    wide, high = struct.unpack(">II", many[16:24])
    width, height = struct.unpack(">II", draw(CELLS)[16:24])
    assert wide > 1.4 * width
    assert high > 1.4 * height


def test_the_same_cells_give_the_same_bytes_and_a_changed_one_others() -> None:
    assert draw(CELLS) == draw(dict(CELLS))
    assert draw(CELLS) != draw(CELLS | {("50", "32k"): 0.6})


def test_a_cell_lies_in_its_own_row_and_column() -> None:
    shown = pixels(draw({("0", "4k"): 1.0} | {cell: 0.0 for cell in CELLS if cell != ("0", "4k")}))
    green = (shown[..., 1] > 0.9) & (shown[..., 0] < 0.87) & (shown[..., 2] < 0.8)
    rows, columns = np.nonzero(green[:, : int(0.75 * shown.shape[1])])  # without the colour bar

    assert np.median(rows) < 0.4 * shown.shape[0]
    assert np.median(columns) < 0.5 * shown.shape[1]


def test_the_scale_is_fixed_whatever_the_cells_span() -> None:
    low = dict.fromkeys(CELLS, 0.0)
    high = dict.fromkeys(CELLS, 1.0)
    assert draw(low) != draw(high)

    # Were the scale fitted to the cells, 0.4 would be painted as dark as 0.
    assert has_colour(draw(low), SCALE[0])
    assert has_colour(draw(high), SCALE[-1])
    assert has_colour(draw(dict.fromkeys(CELLS, 0.4) | {("0", "4k"): 0.6}), SCALE[2])


def test_a_missing_cell_is_not_painted_as_a_share() -> None:
    absent = {cell: share for cell, share in CELLS.items() if cell != ("50", "4k")}
    assert draw(absent) not in (draw(CELLS), draw(CELLS | {("50", "4k"): 0.0}))
    assert draw({})  # nothing measured is still a picture


def test_the_scale_is_brighter_at_every_step_so_that_it_reads_without_colour() -> None:
    lightness = [116 * luminance(colour) ** (1 / 3) - 16 for colour in SCALE]  # CIE L*, 0..100
    steps = np.diff(lightness)
    assert steps.min() > 12
    assert steps.max() - steps.min() < 2


def test_a_dark_picture_has_dark_paper() -> None:
    dark = draw_heat_map(CELLS, DEPTHS, LENGTHS, "t", "x", "y", theme=DARK)
    wanted = [int(DARK.paper[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    assert pixels(dark)[0, 0, :3] == pytest.approx(wanted, abs=0.01)
    assert pixels(draw(CELLS))[0, 0, :3] == pytest.approx([1.0, 1.0, 1.0])


@pytest.mark.parametrize("title", ["costs $5", r"$\frac{$", r"$\nothing$"])
def test_a_title_is_drawn_as_typed_and_never_read_as_mathematics(title: str) -> None:
    assert draw(CELLS, title) != draw(CELLS, "")


def test_a_grid_without_a_side_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        draw_heat_map({}, [], LENGTHS, "t", "x", "y")


def test_without_matplotlib_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    with pytest.raises(MissingExtraError, match=r"longmemory\[evaluate\].*pip install matplotlib"):
        draw(CELLS)
    with pytest.raises(MissingExtraError):
        require_matplotlib()


def test_drawing_touches_no_global_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    draw(CELLS)
    assert "matplotlib.pyplot" not in sys.modules
