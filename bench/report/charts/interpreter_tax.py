"""Python over C, a row for each model and load: CPU time of the server beside response time."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from bench.report.answer import varying_loads
from bench.report.charts import canvas
from bench.report.charts.style import GRID, INK, MARKED, Style, styles
from bench.report.interpreter_tax import Tax
from bench.report.load_words import describe
from bench.report.ratio import Ratio

NAME, TITLE = "interpreter_tax", "Interpreter tax: Python over its twin in C"
READ = (
    "How many times as much Python takes as the same model in C: the server's CPU time for a request, and "
    "the median response time, which also holds what kernel and generator take for either. Lines are 95 % "
    "intervals; an arrow says that C could do more than the generator asked for."
)
_PANEL_IN, _ROW_IN, _GROUP_GAP = 2.9, 0.25, 0.6  # the gap in rows
_ABOVE_IN, _BELOW_IN, _BETWEEN_IN, _RIGHT_IN = 0.7, 0.55, 0.3, 0.2
_CHARACTER_IN = 0.09
_SPAN_MIN = 1.5  # of an axis, as a factor: less would show a difference of nothing as one


class _Point(NamedTuple):
    """What is drawn in a row of one panel."""

    place: float
    found: Ratio | None
    style: Style
    is_marked: bool
    is_at_least: bool


def draw(taxes: Sequence[Tax], table: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """The chart of one experiment's pairs, as they are ordered; `table` and `labels` are `Findings`'."""
    looks = styles(table)
    places = _places(taxes)
    axes_of_load = varying_loads([one.load for one in taxes])
    loads = [describe(one.load, axes_of_load) for one in taxes]
    names = [f"{labels[one.run]}: {one.contender}" if len(labels) > 1 else one.contender for one in taxes]
    left_in = 0.35 + _CHARACTER_IN * (max(map(len, names)) + max(map(len, loads)))
    width_in = left_in + 2 * _PANEL_IN + _BETWEEN_IN + _RIGHT_IN
    height_in = _ABOVE_IN + _BELOW_IN + _ROW_IN * (places[-1] + 1.2)
    cpu = [
        _Point(place, one.cpu, looks[one.contender], not one.is_cpu_fit, is_at_least=False)
        for one, place in zip(taxes, places, strict=True)
    ]
    response_time = [
        _Point(place, one.response_time, looks[one.contender], not one.is_fit, one.is_bound)
        for one, place in zip(taxes, places, strict=True)
    ]
    with canvas.looks():
        drawn = Figure(figsize=(width_in, height_in))
        grid = drawn.subplots(1, 2, sharey=True)
        drawn.subplots_adjust(
            left=left_in / width_in,
            right=1 - _RIGHT_IN / width_in,
            bottom=_BELOW_IN / height_in,
            top=1 - _ABOVE_IN / height_in,
            wspace=_BETWEEN_IN / _PANEL_IN,
        )
        panels = zip(grid, ("server CPU time for a request", "median response time"), strict=True)
        for (axes, title), points in zip(panels, (cpu, response_time), strict=True):
            for point in points:
                _draw(axes, point)
            _scale(axes, points)
            axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
        _rows(grid[0], places, names, loads, [looks[one.contender] for one in taxes])
        codes = {code for one in taxes if not one.is_fit for code in one.marks if code != "uneven"}
        _key(drawn, sorted(codes), has_bounds=any(one.is_bound for one in taxes))
    return drawn


def _places(taxes: Sequence[Tax]) -> list[float]:
    """A row each, and room between contenders."""
    places: list[float] = []
    for _, group in groupby(taxes, key=lambda one: (one.run, one.contender)):
        first = places[-1] + 1 + _GROUP_GAP if places else 0.0
        places += [first + number for number, _ in enumerate(group)]
    return places


def _draw(axes: Axes, point: _Point) -> None:
    found, place, style = point.found, point.place, point.style
    if found is None or found.ratio <= 0:
        return
    low, high = found.low or found.ratio, found.high or found.ratio
    axes.plot([low, high], [place, place], color=style.colour, linewidth=1.6, solid_capstyle="butt", zorder=2)
    dot: Any = {"color": style.colour, "marker": style.marker, "markersize": 6.5, "linestyle": "none"}
    axes.plot([found.ratio], [place], **dot, zorder=3)
    if point.is_at_least:
        axes.plot([high], [place], color=style.colour, marker=">", markersize=6.5, zorder=3, clip_on=False)
    if point.is_marked:
        axes.plot([found.ratio], [place], **canvas.RING, zorder=4)


def _scale(axes: Axes, points: Sequence[_Point]) -> None:
    """From the smallest bound to the largest, and 1 in any case."""
    found = [point.found for point in points if point.found is not None and point.found.ratio > 0]
    ends = [1.0, *(end for one in found for end in (one.ratio, one.low, one.high) if end)]
    low, high = min(ends), max(ends)
    room = max(_SPAN_MIN / (high / low), 1.0) ** 0.5 * 1.06
    axes.set_xscale("log")
    axes.set_xlim(low / room, high * room)
    subs = (1, 1.2, 1.5, 2, 3, 5, 7) if high / low < 5 else (1, 2, 5)
    axes.xaxis.set_major_locator(LogLocator(10, subs=subs))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("times what it takes in C")
    axes.axvline(1, color=MARKED, linewidth=1.2, zorder=1)
    axes.grid(axis="x", color=GRID, linewidth=0.8, zorder=0)
    axes.tick_params(which="both", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _rows(
    axes: Axes, places: Sequence[float], names: Sequence[str], loads: Sequence[str], looks: Sequence[Style]
) -> None:
    """The load beside each row, and before the first row of a contender its name."""
    axes.set_yticks(places, loads)
    axes.set_ylim(places[-1] + 0.7, -0.7)
    left = -(0.25 + _CHARACTER_IN * (max(map(len, names)) + max(map(len, loads)))) / _PANEL_IN
    before = ""
    for name, place, style in zip(names, places, looks, strict=True):
        if name != before:
            axes.text(
                left,
                place,
                name,
                transform=axes.get_yaxis_transform(),
                color=style.colour,
                fontweight="bold",
                verticalalignment="center",
            )
        before = name


def _key(drawn: Figure, codes: Sequence[str], *, has_bounds: bool) -> None:
    dot: Any = {"color": INK, "marker": "o", "markersize": 6.5}
    handles = [Line2D([], [], **dot, linewidth=1.6, label="Python over C")]
    if has_bounds:
        handles.append(Line2D([], [], color=INK, marker=">", markersize=6.5, linewidth=1.6, label="at least"))
    if codes:
        handles.append(Line2D([], [], **canvas.RING, label=", ".join(codes)))
    drawn.legend(handles=handles, loc="upper left", ncols=len(handles), frameon=False, fontsize=8.5)
