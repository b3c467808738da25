"""What has changed from one run to another: a row for each contender and load, with its interval."""

from itertools import groupby
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.answer import varying_loads
from bench.report.changes import Change, Changes, heading
from bench.report.charts import canvas
from bench.report.charts.style import GRID, MARKED, Style, styles
from bench.report.load_words import describe

NAME, TITLE = "changes", "What has changed"
_WIDTH_IN, _ROW_IN, _GROUP_GAP = 5.2, 0.25, 0.6  # the gap in rows
_ABOVE_IN, _BELOW_IN, _RIGHT_IN = 0.55, 0.6, 0.3
_CHARACTER_IN = 0.09
_SPAN_MIN = 0.05  # of the axis to either side: less would show a difference of nothing as one


def draw(found: Changes) -> Figure:
    """How much longer each takes than before, in percent; those that have surely changed are solid."""
    axes_of_load = varying_loads([one.load for one in found.changes])
    ordered = sorted(found.changes, key=lambda one: (one.experiment, one.contender))
    named = [(one.contender, one.model, one.implementation) for one in ordered]
    looks = styles(pd.DataFrame(named, columns=["contender", "model", "implementation"]))
    loads = [describe(one.load, axes_of_load) for one in ordered]
    places: list[float] = []
    for _, group in groupby(ordered, key=lambda one: (one.experiment, one.contender)):
        first = places[-1] + 1 + _GROUP_GAP if places else 0.0
        places += [first + number for number, _ in enumerate(group)]
    left_in = 0.4 + _CHARACTER_IN * (max(map(len, loads)) + max(len(one.contender) for one in ordered))
    width_in = left_in + _WIDTH_IN + _RIGHT_IN
    height_in = _ABOVE_IN + _BELOW_IN + _ROW_IN * (places[-1] + 1.4)
    with canvas.looks():
        drawn = Figure(figsize=(width_in, height_in))
        axes = drawn.subplots()
        drawn.subplots_adjust(
            left=left_in / width_in,
            right=1 - _RIGHT_IN / width_in,
            bottom=_BELOW_IN / height_in,
            top=1 - _ABOVE_IN / height_in,
        )
        before = None
        for one, place in zip(ordered, places, strict=True):
            style = looks[one.contender]
            _row(axes, one, place, style)
            if (one.experiment, one.contender) != before:
                left = -(left_in - 0.1) / _WIDTH_IN
                name: Any = {"color": style.colour, "fontweight": "bold", "verticalalignment": "center"}
                axes.text(left, place, one.contender, transform=axes.get_yaxis_transform(), **name)
            before = (one.experiment, one.contender)
        axes.set_yticks(places, loads)
        axes.set_ylim(places[-1] + 0.7, -0.7)
        _scale(axes, ordered)
        axes.set_title(heading(found), loc="left", fontsize=10, fontweight="bold")
    return drawn


def _row(axes: Axes, one: Change, place: float, style: Style) -> None:
    colour = style.colour
    if one.low is not None and one.high is not None:
        ends = [100 * (end - 1) for end in (one.low, one.high)]
        axes.plot(ends, [place, place], color=colour, linewidth=1.6, solid_capstyle="butt", zorder=2)
    has_changed = one.direction != "no change can be told"
    axes.plot(
        [100 * (one.slowdown - 1)],
        [place],
        color=colour,
        marker=style.marker,
        markersize=6.5,
        linestyle="none",
        markerfacecolor=colour if has_changed else "white",
        markeredgewidth=1.3,
        zorder=3,
    )


def _scale(axes: Axes, found: list[Change]) -> None:
    ends = [end - 1 for one in found for end in (one.slowdown, one.low, one.high) if end is not None]
    span = 106 * max([_SPAN_MIN, *map(abs, ends)])
    axes.set_xlim(-span, span)
    axes.set_xlabel("takes longer by (%), against the yardstick; solid: a change that can be told")
    axes.axvline(0, color=MARKED, linewidth=1.2, zorder=1)
    axes.grid(axis="x", color=GRID, linewidth=0.8, zorder=0)
    axes.tick_params(which="both", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
