"""A line for each contender over a load axis: logarithmic axes with real numbers, names at lines' ends."""

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MultipleLocator,
    NullLocator,
)
from pandas.api.types import is_numeric_dtype

from bench.analysis.frames import LOAD
from bench.report import units
from bench.report.charts import canvas, panels
from bench.report.charts.canvas import LIGHT, MAIN_WIDTH, Shown
from bench.report.charts.style import GRID, INK, Style, styles
from bench.report.charts.ticks import ticks

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
_ENDLESS = "requests_per_connection"  # an axis on which 0 means without end
_TICKS_MAX = 10  # beside a panel
_TICK_GAP, _TICK_GAPS = 0.1, {"message_bytes": 0.13}  # of the axis: room for five digits, or a unit


def figure(table: pd.DataFrame, labels: dict[str, str], *shown: Shown) -> Figure:
    """A panel for each run, each value of further axes and each of `shown`, one line a contender.

    `table` holds the cells of one experiment (`Findings.table`), `labels` what runs are called.
    """
    x = axis(table)
    if x == "offered_per_s" and (table[x] > 0).any():  # what a closed loop does is no offered load
        table = table[table[x] > 0]
    table, names = _placed(table, x)
    looks = styles(table)
    parts = [
        (", ".join(filter(None, (title, one.main_name if len(shown) > 1 else ""))), part, one)
        for title, part in canvas.panels(table, labels, x)
        for one in shown
    ]
    with canvas.looks():
        drawn, grid = panels.grid(len(parts), looks)
        for axes, (title, part, one) in zip(grid, parts, strict=True):
            for contender, points in part.groupby("contender", sort=False):
                _draw(axes, points.sort_values(x), x, one, looks[str(contender)])
            _scale_x(axes, sorted(table[x].unique()), x, names)
            axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
            axes.set_xlabel(_AXIS_NAMES.get(x, x))
            axes.set_ylabel(one.label)
        for axes, (_, _, one) in zip(grid, parts, strict=True):  # they share limits, known when all are drawn
            _scale_y(axes, one.scale)
        panels.label_outer(grid)
        for axes in grid:
            panels.label_ends(axes, looks)
        canvas.key(drawn, table, _kinds(table, shown))
    return drawn


def axis(table: pd.DataFrame) -> str:
    """The load axis that the experiment is about: the first number that takes several values."""
    numbers = [name for name in LOAD if is_numeric_dtype(table[name])]
    return next((name for name in numbers if table[name].nunique() > 1), numbers[0])


def _placed(table: pd.DataFrame, x: str) -> tuple[pd.DataFrame, dict[float, str]]:
    """`table` with its values of `x` where they belong on the axis, and names of what is no number."""
    if x != _ENDLESS or not (table[x] == 0).any():
        return table, {0: "none"}
    endless = 5 * table[x].max()
    return table.assign(**{x: table[x].replace(0, endless)}), {endless: "no end"}


def _draw(axes: Axes, part: pd.DataFrame, x: str, shown: Shown, style: Style) -> None:
    """A contender's lines; a grey ring round points with a disqualifying mark."""
    strokes: Any = {"color": style.colour, "marker": style.marker, "linestyle": "--" if style.dashed else "-"}
    strokes["markerfacecolor"] = "white" if style.hollow else style.colour
    name = str(part["contender"].iloc[0])
    if shown.light:
        light: Any = {"linewidth": 1, "alpha": LIGHT, "markersize": 3}
        panels.belong(axes.plot(part[x], part[shown.light], **strokes, **light, zorder=2), name)
    main: Any = {"linewidth": MAIN_WIDTH, "markersize": 6, "markeredgewidth": 1.4, "label": name}
    panels.belong(axes.plot(part[x], part[shown.main], **strokes, **main, zorder=3), name)
    marked = part[part["disqualified"].map(bool)]
    if not marked.empty:
        panels.belong(axes.plot(marked[x], marked[shown.main], **canvas.RING, zorder=4), name)


def _scale_x(axes: Axes, values: list[float], x: str, names: dict[float, str]) -> None:
    """`values` are those of all panels, which share the axis."""
    if (
        x == "offered_per_s"
    ):  # rates near what a server can do lie close together: equal steps tell them apart
        axes.set_xlim(0, values[-1] * 1.03)
        _finish(axes)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value, x, {0: "0"})))
        return
    above = [value for value in values if value > 0]
    if len(above) < len(values) and above:  # none has its place at the left of a logarithmic axis
        axes.set_xscale("symlog", linthresh=above[0], linscale=_ZERO_DECADES)
    else:
        axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_apart_enough(values, _TICK_GAPS.get(x, _TICK_GAP))))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value, x, names)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.06)
    _finish(axes)


def _scale_y(axes: Axes, scale: units.Scale) -> None:
    """Logarithmic, from the smallest value to the largest; of shares all that there can be."""
    if scale == units.SHARES:
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_locator(MultipleLocator(0.2))
    else:
        axes.set_yscale("log")
        axes.margins(y=0.07)
        low, high = axes.get_ylim()
        is_of_sizes = scale == units.SIZES  # which are powers of 2
        axes.yaxis.set_major_locator(
            LogLocator(4) if is_of_sizes else FixedLocator(ticks(low, high, _TICKS_MAX))
        )
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: units.tick(value, scale)))
    axes.yaxis.set_minor_locator(NullLocator())


def _finish(axes: Axes) -> None:
    axes.grid(which="major", color=GRID, linewidth=0.8, zorder=0)
    axes.tick_params(which="both", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def _apart_enough(values: list[float], gap: float) -> list[float]:
    """Of the ascending `values` those whose names don't run into each other, the last in any case."""
    chosen = values[-1:]
    span = math.log(max(values[-1], 1) / max(values[0], 1)) or 1.0
    for value in reversed(values[:-1]):
        if math.log(max(chosen[0], 1) / max(value, 1)) > gap * span:
            chosen.insert(0, value)
    return chosen


def _tick(value: float, x: str, names: dict[float, str]) -> str:
    if value in names:
        return names[value]
    if x == "message_bytes":
        return units.size(int(value))
    return units.tick(value, units.RATES) if x.endswith("_per_s") else f"{value:g}"


def _kinds(table: pd.DataFrame, shown: tuple[Shown, ...]) -> list[Line2D]:
    """What the kinds of lines mean; panels that show one each say it in their titles."""
    kinds = []
    if len(shown) == 1:
        kinds.append(Line2D([], [], color=INK, linewidth=MAIN_WIDTH, label=shown[0].main_name))
        if shown[0].light:
            light: Any = {"linewidth": 1, "alpha": LIGHT, "label": shown[0].light_name}
            kinds.append(Line2D([], [], color=INK, **light))
    if (table["implementation"] == "c").any():
        kinds.append(Line2D([], [], color=INK, linewidth=MAIN_WIDTH, linestyle="--", label="in C"))
    return kinds
