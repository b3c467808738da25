"""Response time against the load: the median as a line, the 99th percentile thin and light above it."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report import units
from bench.report.charts import lines
from bench.report.charts.style import Style

NAME, TITLE = "response_time", "Response time"
READ = (
    "Strong lines are medians, thin ones above them the 99th percentile: one request in a hundred takes "
    "longer. Lower is better. Both axes are logarithmic, so equal distances are equal factors."
)


def draw(table: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """The chart of one experiment; `table` and `labels` are those of `Findings`."""
    return lines.figure(
        table,
        labels,
        _draw_line,
        y_label="response time",
        y_scale=units.TIMES,
        main_line="median",
        light_line="99th percentile",
    )


def _draw_line(axes: Axes, part: pd.DataFrame, x: str, style: Style) -> None:
    axes.plot(
        part[x],
        part["p99_ns"],
        color=style.colour,
        linewidth=1,
        alpha=lines.LIGHT,
        linestyle="--" if style.dashed else "-",
        marker=style.marker,
        markersize=3,
        markerfacecolor="white" if style.hollow else style.colour,
        zorder=2,
    )
    lines.line(axes, part, x, "p50_ns", style)
