"""Memory for each idle connection: bars of what process and kernel hold, the least on top."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.analysis.memory import Memory
from bench.report import memory, units
from bench.report.charts import canvas
from bench.report.charts.style import GRID, INK, Style, lightened, styles

NAME, TITLE = "memory_per_connection", memory.TITLE
READ = (
    "Solid: in the server's process. Hatched: in the kernel, for its sockets and, where each connection has "
    "a thread, for that. Less is better."
)
_WIDTH_IN, _ROW_IN = 7.0, 0.3
_ABOVE_IN, _BELOW_IN, _RIGHT_IN, _BETWEEN_IN = 0.7, 0.55, 0.3, 0.75
_BAR = 0.62  # of a row
_LABEL_SHARE = 0.16  # of the axis, for the figure beside the longest bar
_KERNEL: Any = {"hatch": "////", "edgecolor": "white", "linewidth": 0}


def draw(found: Sequence[Memory], table: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """The chart of one experiment: `found` are its `memories`, `table` and `labels` those of `Findings`."""
    looks = styles(table)
    sections = memory.titles(found, labels)
    heights_in = [_ROW_IN * (len(own) + 0.4) for own in sections.values()]
    left_in = 0.3 + 0.098 * max(len(one.contender) for one in found)
    width_in = left_in + _WIDTH_IN + _RIGHT_IN
    height_in = _ABOVE_IN + sum(heights_in) + _BETWEEN_IN * (len(sections) - 1) + _BELOW_IN
    most = max(sum(_parts(one)) for one in found)
    with canvas.looks():
        drawn = Figure(figsize=(width_in, height_in))
        top_in = height_in - _ABOVE_IN
        for (title, own), rows_in in zip(sections.items(), heights_in, strict=True):
            top_in -= rows_in
            place = (left_in / width_in, top_in / height_in, _WIDTH_IN / width_in, rows_in / height_in)
            axes = drawn.add_axes(place)
            _bars(axes, own, looks)
            _scale(axes, most)
            axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
            top_in -= _BETWEEN_IN
        axes.set_xlabel("for each connection")
        _key(drawn, has_kernel=any(one.kernel_bytes is not None for one in found))
    return drawn


def _parts(one: Memory) -> tuple[float, float]:
    return (one.process_bytes or 0.0, one.kernel_bytes or 0.0)


def _bars(axes: Axes, found: Sequence[Memory], looks: Mapping[str, Style]) -> None:
    for place, one in enumerate(found):
        colour = looks[one.contender].colour
        process, kernel = _parts(one)
        axes.barh(place, process, _BAR, color=colour, label=one.contender, zorder=2)
        axes.barh(place, kernel, _BAR, left=process, facecolor=lightened(colour), **_KERNEL, zorder=2)
        text: Any = {"va": "center", "fontsize": 8.5, "textcoords": "offset points", "xytext": (5, 0)}
        axes.annotate(units.size(round(process + kernel)), (process + kernel, place), **text)
    axes.set_yticks(range(len(found)), [one.contender for one in found])
    for tick, one in zip(axes.get_yticklabels(), found, strict=True):
        tick.set_color(looks[one.contender].colour)
        tick.set_fontweight("bold")
    axes.set_ylim(len(found) - 0.3, -0.7)


def _scale(axes: Axes, most: float) -> None:
    axes.set_xlim(0, most * (1 + _LABEL_SHARE))
    unit = 1024 if most >= 4096 else 1  # so that ticks are whole numbers of the unit that they are written in
    locator = MaxNLocator(6, steps=[1, 2, 4, 5, 8, 10], integer=True)
    axes.set_xticks(
        [unit * value for value in locator.tick_values(0, most / unit) if value * unit <= most * 1.1]
    )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: units.tick(value, units.SIZES)))
    axes.grid(axis="x", color=GRID, linewidth=0.8, zorder=0)
    axes.tick_params(which="both", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _key(drawn: Figure, *, has_kernel: bool) -> None:
    handles = [Patch(color=INK, label="in the process")]
    if has_kernel:
        handles.append(Patch(facecolor=lightened(INK), **_KERNEL, label="in the kernel"))
    drawn.legend(handles=handles, loc="upper left", ncols=2, frameon=False, fontsize=8.5)
