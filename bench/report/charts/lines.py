"""A line for each contender over a load axis: logarithmic axes with real numbers, names at lines' ends."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator
from pandas.api.types import is_numeric_dtype

from bench.analysis.frames import LOAD
from bench.report import units
from bench.report.charts import canvas
from bench.report.charts.canvas import LIGHT, MAIN_WIDTH, Shown
from bench.report.charts.style import GRID, INK, Style, styles

_PANEL_IN = (5.4, 3.9)  # with margins and names about what a page's column holds
_LEFT_IN, _BELOW_IN, _ABOVE_IN = 0.85, 0.55, 0.55
_AXIS_NAMES = {
    "connections": "connections",
    "message_bytes": "message size",
    "depth": "requests in flight on each connection",
    "idle": "idle connections",
    "offered_per_s": "requests offered a second",
    "requests_per_connection": "requests a connection",
    "newcomers_per_s": "newcomers a second",
}
_ZERO_DECADES = 0.6  # how far zero is from the smallest value, where decades are 1
_TICK_GAP = 0.09  # of the axis: four digits at this size
_LABEL_GAP = 0.052  # of the panel's height: a line of text at 9 points


def figure(table: pd.DataFrame, labels: dict[str, str], shown: Shown) -> Figure:
    """A panel for each run and each value of further axes, one line a contender.

    `table` holds the cells of one experiment (`Findings.table`), `labels` what runs are called.
    """
    x = axis(table)
    if x == "offered_per_s" and (table[x] > 0).any():  # what a closed loop does is no offered load
        table = table[table[x] > 0]
    looks = styles(table)
    panels = list(canvas.panels(table, labels, x))
    with canvas.looks():
        drawn, grid = _grid(len(panels), max(map(len, looks)))
        for axes, (title, part) in zip(grid, panels, strict=True):
            for contender, points in part.groupby("contender", sort=False):
                _draw(axes, points.sort_values(x), x, shown, looks[str(contender)])
            _scale(axes, part, x, shown.scale)
            axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
            axes.set_xlabel(_AXIS_NAMES.get(x, x))
            axes.set_ylabel(shown.label)
        for axes in grid:
            axes.label_outer()
            _label_ends(axes, looks)
        canvas.key(drawn, table, _kinds(table, shown))
    return drawn


def axis(table: pd.DataFrame) -> str:
    """The load axis that the experiment is about: the first number that takes several values."""
    numbers = [name for name in LOAD if is_numeric_dtype(table[name])]
    return next((name for name in numbers if table[name].nunique() > 1), numbers[0])


def _draw(axes: Axes, part: pd.DataFrame, x: str, shown: Shown, style: Style) -> None:
    """A contender's lines; a grey ring round points with a disqualifying mark."""
    strokes: Any = {"color": style.colour, "marker": style.marker, "linestyle": "--" if style.dashed else "-"}
    strokes["markerfacecolor"] = "white" if style.hollow else style.colour
    if shown.light:
        axes.plot(part[x], part[shown.light], **strokes, linewidth=1, alpha=LIGHT, markersize=3, zorder=2)
    name = str(part["contender"].iloc[0])
    main: Any = {"linewidth": MAIN_WIDTH, "markersize": 6, "markeredgewidth": 1.4, "label": name}
    axes.plot(part[x], part[shown.main], **strokes, **main, zorder=3)
    marked = part[part["disqualified"].map(bool)]
    axes.plot(marked[x], marked[shown.main], **canvas.RING, zorder=4)


def _grid(count: int, name_length: int) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels of the same size, each with room for names of `name_length` at its right.

    Margins are computed: matplotlib's own layout takes longer than drawing, and fails where names are long.
    """
    columns = min(count, 2)
    rows = -(-count // columns)
    right_in = 0.35 + 0.085 * name_length
    width_in = _LEFT_IN + columns * (_PANEL_IN[0] + right_in)
    height_in = rows * (_PANEL_IN[1] + _BELOW_IN) + _ABOVE_IN
    drawn = Figure(figsize=(width_in, height_in))
    grid = drawn.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    drawn.subplots_adjust(
        left=_LEFT_IN / width_in,
        right=1 - right_in / width_in,
        bottom=_BELOW_IN / height_in,
        top=1 - _ABOVE_IN / height_in,
        wspace=right_in / _PANEL_IN[0],
        hspace=_BELOW_IN / _PANEL_IN[1],
    )
    for axes in grid.flat[count:]:
        axes.remove()
    return drawn, list(grid.flat[:count])


def _scale(axes: Axes, part: pd.DataFrame, x: str, y_scale: units.Scale) -> None:
    values = sorted(part[x].unique())
    above = [value for value in values if value > 0]
    if len(above) < len(values) and above:  # none has its place at the left of a logarithmic axis
        axes.set_xscale("symlog", linthresh=above[0], linscale=_ZERO_DECADES)
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_apart_enough(values)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value, x)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: units.tick(value, y_scale)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(which="major", color=GRID, linewidth=0.8, zorder=0)
    axes.tick_params(which="both", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.06, y=0.07)


def _apart_enough(values: list[float]) -> list[float]:
    """Of the ascending `values` those whose names don't run into each other, the last in any case."""
    chosen = values[-1:]
    span = math.log(max(values[-1], 1) / max(values[0], 1)) or 1.0
    for value in reversed(values[:-1]):
        if math.log(max(chosen[0], 1) / max(value, 1)) > _TICK_GAP * span:
            chosen.insert(0, value)
    return chosen


def _tick(value: float, x: str) -> str:
    if value == 0:
        return "none"
    if x == "message_bytes":
        return units.size(int(value))
    return units.rate(value) if x.endswith("_per_s") else f"{value:g}"


def _kinds(table: pd.DataFrame, shown: Shown) -> list[Line2D]:
    """What the kinds of lines mean."""
    kinds = [Line2D([], [], color=INK, linewidth=MAIN_WIDTH, label=shown.main_name)]
    if shown.light:
        kinds.append(Line2D([], [], color=INK, linewidth=1, alpha=LIGHT, label=shown.light_name))
    if (table["implementation"] == "c").any():
        kinds.append(Line2D([], [], color=INK, linewidth=MAIN_WIDTH, linestyle="--", label="in C"))
    return kinds


def _label_ends(axes: Axes, looks: dict[str, Style]) -> None:
    """Each line's name beside its last point, moved apart where two would overlap."""
    axes.get_xlim(), axes.get_ylim()  # brings pending limits, and with them transData, up to date
    to_panel = axes.transData + axes.transAxes.inverted()
    ends = []
    for one in axes.get_lines():
        if (name := str(one.get_label())) in looks:
            points = np.asarray(one.get_xydata(), dtype=float)
            points = points[np.isfinite(points).all(axis=1)]
            if len(points):
                x, y = to_panel.transform(points[-1])
                ends.append((float(y), float(x), name))
    ends.sort()
    for height, (y, x, name) in zip(_apart([y for y, _, _ in ends]), ends, strict=True):
        place: Any = {"transform": axes.transAxes, "color": looks[name].colour, "clip_on": False}
        axes.plot([x + 0.015, 1.0, 1.03], [y, y, height], linewidth=0.6, **place)
        axes.text(1.04, height, name, va="center", fontweight="bold", **place)


def _apart(heights: list[float]) -> list[float]:
    """Sorted heights, moved as little as a single pass up and one down can, to be a gap apart."""
    moved = list(heights)
    for index in range(1, len(moved)):
        moved[index] = max(moved[index], moved[index - 1] + _LABEL_GAP)
    overflow = max(0.0, moved[-1] - 1) if moved else 0.0
    if overflow:
        moved[-1] -= overflow
        for index in range(len(moved) - 2, -1, -1):
            moved[index] = min(moved[index], moved[index + 1] - _LABEL_GAP)
    return moved
