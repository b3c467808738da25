"""Requests a second against the load."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report import units
from bench.report.charts import lines
from bench.report.charts.style import Style

NAME, TITLE = "request_rate", "Requests per second"
READ = (
    "Whole echoes a second, over all connections together. Higher is better. Each connection sends its next "
    "message when it has the answer, so slow answers and low rates are two views of the same thing."
)


def draw(table: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """The chart of one experiment; `table` and `labels` are those of `Findings`."""
    return lines.figure(
        table,
        labels,
        _draw_line,
        y_label="requests per second",
        y_scale=units.RATES,
        main_line="over all repeats",
    )


def _draw_line(axes: Axes, part: pd.DataFrame, x: str, style: Style) -> None:
    lines.line(axes, part, x, "rate_per_s", style)
