"""Response time against the rate that is offered: flat while a server keeps up, then a wall."""

import pandas as pd
from matplotlib.figure import Figure

from bench.report import units
from bench.report.charts import lines
from bench.report.charts.canvas import Shown

NAME, TITLE = "offered_load", "Response time under offered load"
READ = (
    "Requests come whether or not earlier ones were answered, and a response time counts from the moment at "
    "which its request was due. Where a line turns upwards, the server is near what it can do. A grey ring: "
    "the rate wasn't reached, so times there grow for as long as the load is on."
)
_SHOWN = (
    Shown("p50_ns", "response time", units.TIMES, "median"),
    Shown("p99_ns", "response time", units.TIMES, "99th percentile"),
)


def applies(table: pd.DataFrame) -> bool:
    """Where several rates were offered."""
    answered = table[(table["offered_per_s"] > 0) & (table["p50_ns"] > 0)]
    return bool(answered["offered_per_s"].nunique() > 1)


def draw(table: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """The chart of one experiment; `table` and `labels` are those of `Findings`."""
    figures = table[["p50_ns", "p99_ns"]]
    return lines.figure(table.assign(**figures.where(figures > 0)), labels, *_SHOWN)
