"""First-echo time against the load: how long a new client waits, `accept` and all."""

import pandas as pd
from matplotlib.figure import Figure

from bench.report import units
from bench.report.charts import by_load
from bench.report.charts.canvas import Shown

NAME, TITLE = "first_echo_time", "First-echo time"
READ = (
    "From the moment a client connects until its first echo is whole: the wait for being accepted shows here "
    "and nowhere else. Strong marks are medians, thin ones the 99th percentile. Lower is better."
)
_SHOWN = Shown(
    "first_echo_p50_ns", "first-echo time", units.TIMES, "median", "first_echo_p99_ns", "99th percentile"
)


def applies(table: pd.DataFrame) -> bool:
    """Where clients come while it is measured."""
    come = (table["newcomers_per_s"] > 0) | (table["requests_per_connection"] > 0)
    return bool((come & (table["first_echo_p50_ns"] > 0)).any())


def draw(table: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """The chart of one experiment; `table` and `labels` are those of `Findings`."""
    return by_load.figure(table, labels, _SHOWN, higher_is_better=False)
