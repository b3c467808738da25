"""Ratios with their intervals: the same rows in a panel for each load, and 1 as a line in all of them.

Panels have scales of their own: at one load a tenth may be all that sets contenders apart, at another it is a
factor of thirty.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from bench.analysis.frames import LOAD
from bench.records.schema import Load
from bench.report.charts import canvas
from bench.report.charts.style import GRID, INK, MARKED, Style
from bench.report.charts.ticks import ticks
from bench.report.load_words import describe
from bench.report.ratio import Ratio

_COLUMNS_MAX = 4
_WIDTHS_IN = {1: 6.4, 2: 3.7, 3: 2.6, 4: 2.1}  # of a panel, by how many are beside each other
_ROW_IN, _GROUP_GAP = 0.25, 0.6  # the gap in rows
_KEY_IN, _LINE_IN, _BELOW_IN, _BETWEEN_IN, _RIGHT_IN = 0.38, 0.17, 0.55, 0.3, 0.2
_AXIS_NAME_IN = 0.22
_CHARACTER_IN, _TEXT_CHARACTER_IN = 0.098, 0.082  # of a name, which is bold, and of what is beside it
_SPAN_MIN = 1.1  # of an axis, as a factor: less would show a difference of nothing as one
_ROOM = 0.06  # of an axis to either side
_ARROW: Any = {"marker": ">", "markersize": 6.5}
_FAR = 3.0  # of a bound, as a factor: an interval beyond it runs to the edge
_TICK_IN = 0.42  # a number of four digits, and room


class Row(NamedTuple):
    """What stands beside a row: a contender, and which of its settings."""

    contender: str
    name: str
    text: str = ""


class Point(NamedTuple):
    """A ratio in a row of one panel."""

    row: int
    found: Ratio
    is_disqualified: bool = False
    is_at_least: bool = False


class Panel(NamedTuple):
    """What is drawn for one load."""

    title: str  # its lines, above the panel
    points: list[Point]


class Band(NamedTuple):
    """Panels with the same rows, and what the numbers below them are."""

    rows: list[Row]
    panels: list[Panel]
    axis_name: str


def figure(
    bands: Sequence[Band],
    looks: dict[str, Style],
    codes: Sequence[str],
    name: str = "ratio",
) -> Figure:
    """The chart; `codes` are the marks of what is grey, `name` is what a dot is called."""
    bands = [chunk for band in bands for chunk in _wrapped(band)]
    columns = max(len(band.panels) for band in bands)
    panel_in = _WIDTHS_IN[columns]
    left_in = _left_in([row for band in bands for row in band.rows])
    width_in = left_in + columns * panel_in + (columns - 1) * _BETWEEN_IN + _RIGHT_IN
    above_in = [0.15 + _LINE_IN * _title_lines(band) for band in bands]
    heights_in = [_ROW_IN * (_places(band.rows)[-1] + 1.4) for band in bands]
    below_in = [_BELOW_IN if band.axis_name else _BELOW_IN - _AXIS_NAME_IN for band in bands]
    height_in = _KEY_IN + sum(above_in) + sum(heights_in) + sum(below_in)
    with canvas.looks():
        drawn = Figure(figsize=(width_in, height_in))
        top_in = height_in - _KEY_IN
        for band, title_in, rows_in, ticks_in in zip(bands, above_in, heights_in, below_in, strict=True):
            top_in -= title_in + rows_in
            for number, panel in enumerate(band.panels):
                from_in = left_in + number * (panel_in + _BETWEEN_IN)
                place = (from_in / width_in, top_in / height_in, panel_in / width_in, rows_in / height_in)
                axes = drawn.add_axes(place)
                _draw(axes, panel, band.rows, looks)
                _scale(axes, panel.points, panel_in)
                _label(axes, band.rows, looks, panel_in, left_in if number == 0 else None)
            middle_in = left_in + (len(band.panels) * (panel_in + _BETWEEN_IN) - _BETWEEN_IN) / 2
            drawn.text(middle_in / width_in, (top_in - 0.42) / height_in, band.axis_name, ha="center")
            top_in -= ticks_in
        _key(drawn, bands, looks, codes, name)
    return drawn


def titles(loads: Sequence[Load], label: str = "") -> dict[Load, str]:
    """The lines above each load's panel: in what it differs from the others; `label` is above the first."""
    varying = [name for name in LOAD if len({getattr(load, name) for load in loads}) > 1] or ["connections"]
    found = {load: "\n".join(describe(load, [name]) for name in varying) for load in loads}
    for load in list(found)[: 1 if label else 0]:
        found[load] = f"{label}\n{found[load]}"
    return found


def _wrapped(band: Band) -> list[Band]:
    """At most so many panels beside each other, in lines of about the same length."""
    lines = -(-len(band.panels) // _COLUMNS_MAX)
    columns = -(-len(band.panels) // lines)
    chunks = [band.panels[start : start + columns] for start in range(0, len(band.panels), columns)]
    return [Band(band.rows, chunk, band.axis_name if chunk is chunks[-1] else "") for chunk in chunks]


def _left_in(rows: Sequence[Row]) -> float:
    names = max(len(row.name) for row in rows) * _CHARACTER_IN
    texts = max(len(row.text) for row in rows) * _TEXT_CHARACTER_IN
    return 0.3 + names + (0.15 + texts if texts else 0.0)


def _title_lines(band: Band) -> int:
    return max(panel.title.count("\n") + 1 if panel.title else 0 for panel in band.panels)


def _places(rows: Sequence[Row]) -> list[float]:
    """A row each, and room before a name where several rows have one."""
    has_groups = any(row.text for row in rows)
    places: list[float] = []
    for number, row in enumerate(rows):
        is_new = number > 0 and row.name != rows[number - 1].name
        places.append(places[-1] + 1 + (_GROUP_GAP if has_groups and is_new else 0.0) if places else 0.0)
    return places


def _draw(axes: Axes, panel: Panel, rows: Sequence[Row], looks: dict[str, Style]) -> None:
    """Few artists: of hundreds of rows one for each would take most of a report's time."""
    places = _places(rows)
    dots: dict[tuple[str, str, bool], list[tuple[float, float]]] = {}
    intervals, colours = [], []
    for point in panel.points:
        style, place, found = looks[rows[point.row].contender], places[point.row], point.found
        colour = MARKED if point.is_disqualified else style.colour
        low, high = found.low or found.ratio, found.high or found.ratio
        intervals.append([(low, place), (high, place)])
        colours.append(colour)
        dots.setdefault((colour, style.marker, style.hollow), []).append((found.ratio, place))
        if point.is_at_least:
            axes.plot([high], [place], color=colour, **_ARROW, zorder=3, clip_on=False)
    axes.add_collection(LineCollection(intervals, colors=colours, linewidths=1.8, zorder=2))
    for (colour, marker, is_hollow), middles in dots.items():
        look: Any = {"color": colour, "marker": marker, "markersize": 6.5, "markeredgewidth": 1.3}
        look["markerfacecolor"] = "white" if is_hollow else colour
        axes.plot(*zip(*middles, strict=True), **look, linestyle="none", zorder=3)
    axes.hlines(places, 0, 1, GRID, linewidth=0.8, zorder=0, transform=axes.get_yaxis_transform())
    axes.set_title(panel.title, loc="left", fontsize=9.5, fontweight="bold", y=1.0)
    axes.set_ylim(places[-1] + 0.7, -0.7)
    for axis in (axes.xaxis, axes.yaxis):  # they have no names, whose places would be worked out
        axis.set_label_coords(0, 0)


def _scale(axes: Axes, points: Sequence[Point], width_in: float) -> None:
    """From the smallest bound to the largest, and 1 in any case."""
    ends = [1.0, *(end for point in points for end in _ends(point.found))]
    low, high = min(ends), max(ends)
    missing = max(math.log(_SPAN_MIN) - math.log(high / low), 0.0) / 2
    room = missing + _ROOM * math.log(max(high / low, _SPAN_MIN))
    low, high = low * math.exp(-room), high * math.exp(room)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(ticks(low, high, int(width_in / _TICK_IN))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.axvline(1, color=MARKED, linewidth=1.2, zorder=1)
    axes.grid(axis="x", color=GRID, linewidth=0.8, zorder=0)
    axes.tick_params(which="both", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _ends(found: Ratio) -> list[float]:
    """What has to be on the axis: of bounds that two repeats make endless only so much."""
    bounds = (found.low or 0.0, found.high or 0.0)
    near = (bound for bound in bounds if found.ratio / _FAR < bound < found.ratio * _FAR)
    return [found.ratio, *near]


def _label(
    axes: Axes, rows: Sequence[Row], looks: dict[str, Style], width_in: float, left_in: float | None
) -> None:
    """Names and settings beside the first panel of a line, nothing beside the others."""
    places = _places(rows)
    has_texts = any(row.text for row in rows)
    if left_in is None or not has_texts:
        axes.set_yticks([])
    else:
        axes.set_yticks(places, [row.text for row in rows])
    if left_in is None:
        return
    for number, (row, place) in enumerate(zip(rows, places, strict=True)):
        if has_texts and number > 0 and rows[number - 1].name == row.name:
            continue
        from_left = -(left_in - 0.12) / width_in if has_texts else -0.08 / width_in
        look: Any = {"color": looks[row.contender].colour, "fontweight": "bold", "va": "center"}
        side = "left" if has_texts else "right"
        axes.text(from_left, place, row.name, ha=side, transform=axes.get_yaxis_transform(), **look)


def _key(
    drawn: Figure, bands: Sequence[Band], looks: dict[str, Style], codes: Sequence[str], name: str
) -> None:
    dot: Any = {"marker": "o", "markersize": 6.5, "linewidth": 1.8}
    handles = [Line2D([], [], **dot, color=INK, label=f"{name}, 95 % interval")]
    if any(point.is_at_least for band in bands for panel in band.panels for point in panel.points):
        handles.append(Line2D([], [], **_ARROW, linewidth=1.8, color=INK, label="at least"))
    if any(looks[row.contender].hollow for band in bands for row in band.rows):
        hollow: Any = {"linestyle": "none", "marker": "o", "markersize": 6.5, "markeredgewidth": 1.3}
        handles.append(Line2D([], [], **hollow, color=INK, markerfacecolor="white", label="in C"))
    if codes:
        handles.append(Line2D([], [], **dot, color=MARKED, label=", ".join(codes)))
    drawn.legend(handles=handles, loc="upper left", ncols=len(handles), frameon=False, fontsize=8.5)
