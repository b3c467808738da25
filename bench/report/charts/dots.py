"""A row for each contender at one load, the best on top: nothing varies that a line could be drawn over."""

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.report import units
from bench.report.charts import canvas
from bench.report.charts.canvas import LIGHT, Shown
from bench.report.charts.style import GRID, INK, Style, styles
from bench.report.charts.ticks import ticks

_WIDTH_IN, _ROW_IN = 6.4, 0.32
_ABOVE_IN, _TITLE_IN, _BELOW_IN, _RIGHT_IN = 0.75, 0.25, 0.6, 0.35
_TICKS_MAX = 8
_DECADES_MIN = 0.5  # of the axis: less would show a difference of nothing as one


def figure(table: pd.DataFrame, labels: dict[str, str], shown: Shown, *, higher_is_better: bool) -> Figure:
    """A panel for each run; `table` holds the cells of one experiment at one load (`Findings.table`)."""
    looks = styles(table)
    panels = list(canvas.panels(table, labels))
    above_in = _ABOVE_IN if any(title for title, _ in panels) else _ABOVE_IN - _TITLE_IN
    heights = [_ROW_IN * (len(part) + 0.5) for _, part in panels]
    left_in = 0.3 + 0.095 * max(map(len, looks))
    width_in = left_in + _WIDTH_IN + _RIGHT_IN
    height_in = sum(heights) + above_in + _BELOW_IN + (_ABOVE_IN - 0.3) * (len(panels) - 1)
    with canvas.looks():
        drawn = Figure(figsize=(width_in, height_in))
        grid = drawn.subplots(
            len(panels), squeeze=False, sharex=True, gridspec_kw={"height_ratios": heights}
        )[:, 0]
        drawn.subplots_adjust(
            left=left_in / width_in,
            right=1 - _RIGHT_IN / width_in,
            bottom=_BELOW_IN / height_in,
            top=1 - above_in / height_in,
            hspace=(_ABOVE_IN - 0.3) / (sum(heights) / len(heights)),
        )
        for axes, (title, part) in zip(grid, panels, strict=True):
            rows = part.sort_values(shown.main, ascending=higher_is_better, ignore_index=True)
            for place, row in rows.iterrows():
                _row(axes, int(str(place)), row, shown, looks[str(row["contender"])])
            _names(axes, rows, looks)
            axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
        _scale(grid[-1], table, shown)
        canvas.key(drawn, table, _kinds(table, shown))
    return drawn


def _row(axes: Axes, place: int, row: "pd.Series[float]", shown: Shown, style: Style) -> None:
    if shown.light:
        ends = [row[shown.main], row[shown.light]]
        axes.plot(ends, [place, place], color=style.colour, linewidth=1, alpha=LIGHT, zorder=2)
        axes.plot(ends[1:], [place], color=style.colour, marker="|", markersize=9, alpha=0.8, zorder=2)
    axes.plot(
        [row[shown.main]],
        [place],
        linestyle="none",
        color=style.colour,
        marker=style.marker,
        markersize=7.5,
        markerfacecolor="white" if style.hollow else style.colour,
        markeredgewidth=1.4,
        label=str(row["contender"]),
        zorder=3,
    )
    if row["disqualified"]:
        axes.plot([row[shown.main]], [place], **canvas.RING, zorder=4)


def _names(axes: Axes, rows: pd.DataFrame, looks: dict[str, Style]) -> None:
    axes.set_yticks(range(len(rows)), list(rows["contender"]))
    for tick, name in zip(axes.get_yticklabels(), rows["contender"], strict=True):
        tick.set_color(looks[str(name)].colour)
        tick.set_fontweight("bold")
    axes.set_ylim(-0.75, len(rows) - 0.25)
    axes.grid(axis="both", color=GRID, linewidth=0.8, zorder=0)
    axes.tick_params(which="both", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _scale(axes: Axes, table: pd.DataFrame, shown: Shown) -> None:
    """The axis that all panels share."""
    columns = [shown.main, *([shown.light] if shown.light else [])]
    values = table[columns].to_numpy(dtype=float)
    values = values[values > 0]
    axes.set_xlabel(shown.label)
    if shown.scale == units.SHARES:
        axes.set_xlim(-0.03, 1.03)
    elif values.size:
        axes.set_xscale("log")
        low, high = math.log10(values.min()), math.log10(values.max())
        room = max(_DECADES_MIN - (high - low), 0) / 2 + 0.06 * max(high - low, _DECADES_MIN)
        ends = (10 ** (low - room), 10 ** (high + room))
        axes.set_xlim(*ends)
        axes.xaxis.set_major_locator(FixedLocator(ticks(*ends, _TICKS_MAX)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: units.tick(value, shown.scale)))
    axes.xaxis.set_minor_locator(NullLocator())


def _kinds(table: pd.DataFrame, shown: Shown) -> list[Line2D]:
    """What the kinds of marks mean."""
    dot: Any = {"color": INK, "linestyle": "none", "marker": "o", "markersize": 7}
    kinds = [Line2D([], [], **dot, label=shown.main_name)]
    if shown.light:
        bar = Line2D([], [], color=INK, linewidth=1, alpha=LIGHT, marker="|", markersize=9)
        bar.set_label(str(shown.light_name))
        kinds.append(bar)
    if (table["implementation"] == "c").any():
        hollow: Any = {"markerfacecolor": "white", "markeredgewidth": 1.4}
        kinds.append(Line2D([], [], **dot, **hollow, label="in C"))
    return kinds
