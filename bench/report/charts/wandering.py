"""How the machine wanders over a run, and what is left of it between two contenders of the same round."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.report.charts import canvas
from bench.report.charts.style import GRID, INK, MARKED

NAME, TITLE = "wandering", "How the machine wanders"
READ = (
    "Above, the yardstick's request rate in each round of the run, against its median at the same load: the "
    "program and the load are the same, so what moves is the machine. Below, the rate of another over the "
    "yardstick's in the same round: what is left of it, and why contenders are compared within rounds. "
    "Strong lines are medians of a block in one repeat; \N{PLUS-MINUS SIGN} is their standard deviation."
)
_WIDTH_IN, _PANEL_IN = 8.2, 1.55
_LEFT_IN, _RIGHT_IN, _ABOVE_IN, _BETWEEN_IN, _BELOW_IN = 0.75, 0.25, 0.35, 0.45, 0.55
_POINTS_MAX = 600
_SPAN_MIN, _SPAN_MAX = 0.1, 0.6  # of the axis to either side
_SHOWN = 0.95  # of all rounds, the others are at the edge: a few that were hit hard would flatten the rest
_PAD = 0.002  # of the axis to either side of a block, so that one of a single round shows
_MINUTES_FROM_S = 240


def applies(found: pd.DataFrame) -> bool:
    """Where there is a stretch of time; `found` is a run's `bench.analysis.wandering.wandering`."""
    return found[["repeat", "block"]].drop_duplicates().shape[0] > 2


def draw(found: pd.DataFrame) -> Figure:
    """The chart of one run."""
    yardstick = found["yardstick"].iloc[0]
    panels = [("machine", yardstick)]
    if found["within"].notna().any():
        others = set(found.loc[found["within"].notna(), "other"])
        name = others.pop() if len(others) == 1 else "another contender"
        panels.append(("within", f"{name} over {yardstick} in the same round"))
    height_in = _ABOVE_IN + len(panels) * _PANEL_IN + (len(panels) - 1) * _BETWEEN_IN + _BELOW_IN
    names = [name for name, _ in panels]
    off = (found[names].stack() - 1).abs()
    span = float(np.clip(1.15 * off.quantile(_SHOWN), _SPAN_MIN, _SPAN_MAX))
    with canvas.looks():
        drawn = Figure(figsize=(_WIDTH_IN + _LEFT_IN + _RIGHT_IN, height_in))
        grid = drawn.subplots(len(panels), squeeze=False, sharex=True, sharey=True)[:, 0]
        drawn.subplots_adjust(
            left=_LEFT_IN / drawn.get_figwidth(),
            right=1 - _RIGHT_IN / drawn.get_figwidth(),
            bottom=_BELOW_IN / height_in,
            top=1 - _ABOVE_IN / height_in,
            hspace=_BETWEEN_IN / _PANEL_IN,
        )
        for axes, (name, title) in zip(grid, panels, strict=True):
            _draw(axes, found.dropna(subset=name), name, span)
            spread = f"\N{PLUS-MINUS SIGN}{100 * _deviation(found, name):.1f} %"
            axes.set_title(f"{title}: {spread}", loc="left", fontsize=9.5, fontweight="bold")
        _scale(grid[-1], found, span)
    return drawn


def _deviation(found: pd.DataFrame, name: str) -> float:
    return float(found.groupby(["repeat", "block"])[name].median().std())


def _draw(axes: Axes, found: pd.DataFrame, name: str, span: float) -> None:
    """A thin line through the rounds of each block, and its median."""
    merged = -(-len(found) // _POINTS_MAX)  # rounds that are drawn as one
    thin: Any = {"color": MARKED, "linewidth": 0.9, "zorder": 2}
    strong: Any = {"color": INK, "linewidth": 2.4, "solid_capstyle": "butt", "zorder": 3}
    pad_s = _PAD * found["time_s"].max()
    lines, medians = [], []
    for _, block in found.groupby(["repeat", "block"], sort=False):
        values = block[["time_s", name]].to_numpy(dtype=float)
        starts = range(0, len(values), merged)
        lines += [np.median(values[start : start + merged], axis=0) for start in starts]
        lines.append(np.full(2, np.nan))
        first_s, last_s, middle = values[0, 0] - pad_s, values[-1, 0] + pad_s, np.median(values[:, 1])
        medians += [[first_s, middle], [last_s, middle], [np.nan, np.nan]]
    for points, look in ((lines, thin), (medians, strong)):
        x, y = np.array(points, dtype=float).T
        axes.plot(x, np.clip(y, 1 - span, 1 + span), **look)
    axes.axhline(1, color=MARKED, linewidth=0.8, zorder=1)
    axes.grid(axis="y", color=GRID, linewidth=0.8, zorder=0)
    axes.tick_params(which="both", length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _scale(axes: Axes, found: pd.DataFrame, span: float) -> None:
    """The axes that both panels share."""
    axes.set_ylim(1 - 1.04 * span, 1 + 1.04 * span)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _percent(value - 1)))
    in_minutes = found["time_s"].max() > _MINUTES_FROM_S
    unit, word = (60.0, "minutes") if in_minutes else (1.0, "seconds")
    locator = MaxNLocator(8, steps=[1, 2, 5, 10])
    axes.set_xticks([unit * tick for tick in locator.tick_values(0, found["time_s"].max() / unit)])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / unit:g}"))
    axes.set_xlim(0, 1.01 * found["time_s"].max())
    axes.set_xlabel(f"{word} since the run was begun")


def _percent(share: float) -> str:
    return "0" if abs(share) < 1e-9 else f"{100 * share:+.3g} %"
