"""Response time against the load: the median strong, the 99th percentile thin and light beside it."""

import pandas as pd
from matplotlib.figure import Figure

from bench.report import units
from bench.report.charts import by_load
from bench.report.charts.canvas import Shown

NAME, TITLE = "response_time", "Response time"
READ = (
    "Strong marks are medians, thin ones the 99th percentile: one request in a hundred takes "
    "longer. Lower is better. Axes are logarithmic, so equal distances are equal factors."
)
_SHOWN = Shown("p50_ns", "response time", units.TIMES, "median", "p99_ns", "99th percentile")


def applies(table: pd.DataFrame) -> bool:
    """Where a request was completed: each has one."""
    return bool((table["p50_ns"] > 0).any())


def draw(table: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """The chart of one experiment; `table` and `labels` are those of `Findings`."""
    return by_load.figure(table, labels, _SHOWN, higher_is_better=False)
