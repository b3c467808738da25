"""The whole distribution of response times: how long the slowest in ten, in a hundred, in a thousand take.

The axis is the one that HdrHistogram's plotter made usual: each step to the right leaves a tenth of the
requests, so a tail has as much room as the middle.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from bench.analysis.findings import CELL_NUMBER, load_of, rows_of
from bench.analysis.frames import LOAD
from bench.analysis.histograms import Histogram
from bench.report import units
from bench.report.charts import canvas, panels, rows
from bench.report.charts.canvas import MAIN_WIDTH
from bench.report.charts.style import GRID, INK, Style, styles
from bench.report.charts.ticks import ticks

NAME, TITLE = "distribution", "Distribution of response times"
READ = (
    "At 50 % is the median; at 99 % is what one request in a hundred exceeds, and each step further right "
    "leaves a tenth of them. A line that stays flat answers all alike, a step upwards is a stall that hits "
    "some. Lines end where fewer than ten requests took longer. Lower is better."
)
_NINES = 4  # 99.99 %
_TICKS_MAX = 10  # beside a panel
_STEPS = 12  # of a line, for each nine
_FASTEST, _ROOM = 0.25, 1.25  # of all requests, and as a factor
_BEYOND_MIN = 10  # requests beyond a percentile that is drawn: it would be luck otherwise


def applies(table: pd.DataFrame) -> bool:
    """Where response time is asked about as connections or a rate grow, and nothing else."""
    silent = (table["idle"] == 0).all() and table["message_bytes"].nunique() == 1
    stays = ((table["newcomers_per_s"] == 0) & (table["requests_per_connection"] == 0)).all()
    is_answered = ((table["p50_ns"] > 0) & (table["requests"] >= _BEYOND_MIN)).any()
    return bool(is_answered and silent and stays and table["variant_of"].isna().all())


def draw(cells: pd.DataFrame, table: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """A panel for the smallest load and one for the largest that most are fit at, of each run.

    `cells` are `Findings.cells` of one experiment, `table` those that are drawn, all repeats together.
    """
    if (table["offered_per_s"] > 0).any():  # what a closed loop does is no offered load
        table = table[table["offered_per_s"] > 0]
    looks = styles(table)
    parts = [
        (", ".join([*([labels[str(run)]] if len(labels) > 1 else []), title]), part)
        for run, own in table.groupby("run", sort=False)
        for title, part in _at_ends(own)
    ]
    histograms = _histograms(cells, pd.concat([part for _, part in parts]))
    with canvas.looks():
        drawn, grid = panels.grid(len(parts), looks, share_y=False)
        for axes, (title, part) in zip(grid, parts, strict=True):
            for number, contender in zip(part[CELL_NUMBER], map(str, part["contender"]), strict=True):
                _draw(axes, histograms[number], contender, looks[contender])
            _scale(axes)
            axes.set_ylim(bottom=_lowest(axes, looks))
            axes.yaxis.set_major_locator(FixedLocator(ticks(*axes.get_ylim(), _TICKS_MAX)))
            axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
            axes.set_xlabel("of all requests take at most so long")
        grid[0].set_ylabel("response time")
        panels.label_outer(grid, share_y=False)
        for axes in grid:
            panels.label_ends(axes, looks)
        if handles := _kinds(table):
            drawn.legend(handles=handles, loc="upper left", ncols=len(handles), frameon=False, fontsize=8.5)
    return drawn


def _at_ends(own: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Title and cells of a run's smallest load, and of the largest at which most contenders are fit."""
    answered = own[(own["p50_ns"] > 0) & (own["requests"] >= _BEYOND_MIN)]
    groups = [group for _, group in answered.groupby(LOAD, sort=True)]
    if not groups:
        return []
    titles = rows.titles([load_of(row) for row in rows_of(own)])
    fit = [group for group in groups if 2 * int(group["disqualified"].map(bool).sum()) < len(group)]
    largest = (fit or groups)[-1]
    chosen = [groups[0], largest] if groups[0] is not largest else [largest]
    loads = [load_of(rows_of(group.head(1))[0]) for group in chosen]
    return [(titles[load].replace("\n", ", "), group) for load, group in zip(loads, chosen, strict=True)]


def _histograms(cells: pd.DataFrame, shown: pd.DataFrame) -> dict[Any, Histogram]:
    """Of each cell in `shown`, all repeats together, by its number."""
    own = cells[(cells["status"] == "measured") & cells[CELL_NUMBER].isin(shown[CELL_NUMBER])]
    return {
        number: Histogram.sum_of(texts.tolist())[0]
        for number, texts in own.groupby(CELL_NUMBER, sort=False)["histogram"]
    }


def _draw(axes: Axes, histogram: Histogram, contender: str, style: Style) -> None:
    nines, times_ns = curve(histogram)
    strokes: Any = {"color": style.colour, "marker": style.marker, "linestyle": "--" if style.dashed else "-"}
    strokes["markerfacecolor"] = "white" if style.hollow else style.colour
    look: Any = {"linewidth": MAIN_WIDTH, "markersize": 5, "markevery": _STEPS, "label": contender}
    panels.belong(axes.plot(nines, times_ns, **strokes, **look), contender)


def curve(histogram: Histogram) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places on the axis, 1 at 90 % and 2 at 99 %, and the response time in ns at each."""
    if histogram.count < _BEYOND_MIN:
        return np.zeros(0), np.zeros(0)
    last = min(_NINES, math.log10(histogram.count / _BEYOND_MIN))
    nines = np.arange(0, math.floor(last * _STEPS) + 1) / _STEPS
    times_ns = histogram.percentiles(list(100 * (1 - 10.0**-nines)))
    return nines, np.array(times_ns, dtype=float)


def _scale(axes: Axes) -> None:
    percents = [0, 50, 90, 99, 99.9, 99.99]
    axes.xaxis.set_major_locator(FixedLocator([-math.log10(1 - percent / 100) for percent in percents]))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda nines, _: f"{100 * (1 - 10**-nines):.6g} %" if nines else "0")
    )
    axes.set_xlim(-0.1, _NINES + 0.1)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: units.tick(value, units.TIMES)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(which="major", color=GRID, linewidth=0.8, zorder=0)
    axes.tick_params(which="both", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.07)


def _lowest(axes: Axes, looks: dict[str, Style]) -> float | None:
    """Below what three quarters take: the few that are fastest would take half of the axis."""
    lines = [np.asarray(one.get_xydata()) for one in axes.get_lines() if str(one.get_label()) in looks]
    quarters = [points[points[:, 0] >= -math.log10(1 - _FASTEST), 1] for points in lines]
    lowest = [float(times_ns[0]) for times_ns in quarters if len(times_ns) and times_ns[0] > 0]
    return min(lowest) / _ROOM if lowest else None


def _kinds(table: pd.DataFrame) -> list[Line2D]:
    if not (table["implementation"] == "c").any():
        return []
    return [Line2D([], [], color=INK, linewidth=MAIN_WIDTH, linestyle="--", label="in C")]
