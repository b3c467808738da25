"""Panels of lines beside each other, and the names of the lines where they end.

Margins are computed: matplotlib's own layout takes longer than drawing, and fails where names are long.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.charts.style import Style

_WIDTHS_IN, _HEIGHT_IN = {1: 6.6, 2: 4.4}, 3.9  # of a panel, by how many are beside each other
_LEFT_IN, _BELOW_IN, _ABOVE_IN = 0.85, 0.55, 0.55
_NAME_IN = 0.203  # a line of text at 9 points, and room
_CHARACTER_IN = 0.085
_OF = "of-"  # begins the id of what is drawn for one contender


def grid(count: int, looks: dict[str, Style], *, share_y: bool = True) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels of the same size, each with room at its right for the names in `looks`."""
    columns = min(count, max(_WIDTHS_IN))
    rows = -(-count // columns)
    across_in = _WIDTHS_IN[columns]
    right_in = 0.35 + _CHARACTER_IN * max(map(len, looks))
    between_in = right_in if share_y else right_in + _LEFT_IN - 0.2
    panel_in = max(_HEIGHT_IN, _NAME_IN * (len(looks) + 0.5))
    width_in = _LEFT_IN + columns * across_in + (columns - 1) * between_in + right_in
    height_in = rows * (panel_in + _BELOW_IN) + _ABOVE_IN
    drawn = Figure(figsize=(width_in, height_in))
    all_axes = drawn.subplots(rows, columns, squeeze=False, sharex=True, sharey=share_y)
    drawn.subplots_adjust(
        left=_LEFT_IN / width_in,
        right=1 - right_in / width_in,
        bottom=_BELOW_IN / height_in,
        top=1 - _ABOVE_IN / height_in,
        wspace=between_in / across_in,
        hspace=_BELOW_IN / panel_in,
    )
    for axes in all_axes.flat[count:]:
        axes.remove()
    return drawn, list(all_axes.flat[:count])


def label_outer(grid: list[Axes], *, share_y: bool = True) -> None:
    """Numbers and names of axes only at the edges: below where nothing is below, and left where `share_y`."""
    columns = min(len(grid), max(_WIDTHS_IN))
    for number, axes in enumerate(grid):
        is_lowest = number + columns >= len(grid)
        axes.tick_params(labelbottom=is_lowest)
        if not is_lowest:
            axes.set_xlabel("")
        if share_y and number % columns:
            axes.tick_params(labelleft=False)
            axes.set_ylabel("")


def label_ends(axes: Axes, looks: dict[str, Style]) -> None:
    """Each line's name beside its last point, moved apart where two would overlap."""
    axes.get_xlim(), axes.get_ylim()  # brings pending limits, and with them transData, up to date
    to_panel = axes.transData + axes.transAxes.inverted()
    ends = []
    for one in axes.get_lines():
        points = np.asarray(one.get_xydata(), dtype=float)
        points = points[np.isfinite(points).all(axis=1)]
        if (name := str(one.get_label())) in looks and len(points):
            x, y = to_panel.transform(points[-1])
            ends.append((float(y), float(x), name))
    ends.sort()
    panel_in = axes.get_window_extent().height / axes.figure.dpi
    for height, (y, x, name) in zip(_apart([y for y, _, _ in ends], _NAME_IN / panel_in), ends, strict=True):
        place: Any = {"transform": axes.transAxes, "color": looks[name].colour, "clip_on": False}
        belong(
            axes.plot([x + 0.015, max(x + 0.015, 1.0), 1.03], [y, y, height], linewidth=0.6, **place), name
        )
        belong([axes.text(1.04, height, name, va="center", fontweight="bold", **place)], name)


def belong(artists: Sequence[Artist], contender: str) -> None:
    """Have the drawing tell whose they are, each added to its panel just now: `owner` reads it."""
    for artist in artists:
        axes = artist.axes
        assert axes is not None
        panels = [id(one) for one in axes.figure.axes]
        number = f"{panels.index(id(axes))}-{len(axes.get_children())}"
        artist.set_gid(f"{_OF}{number}-{quote(contender, safe='')}")


def owner(element_id: str) -> str | None:
    """The contender that an element of a chart's SVG file was drawn for."""
    if not element_id.startswith(_OF):
        return None
    return unquote(element_id.removeprefix(_OF).split("-", 2)[2])


def _apart(heights: list[float], gap: float) -> list[float]:
    """Sorted heights, moved as little as a single pass up and one down can, to be a gap apart."""
    moved = list(heights)
    for index in range(1, len(moved)):
        moved[index] = max(moved[index], moved[index - 1] + gap)
    overflow = max(0.0, moved[-1] - 1) if moved else 0.0
    if overflow:
        moved[-1] -= overflow
        for index in range(len(moved) - 2, -1, -1):
            moved[index] = min(moved[index], moved[index + 1] - gap)
    return moved
