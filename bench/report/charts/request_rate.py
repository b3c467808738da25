"""Requests a second against the load."""

import pandas as pd
from matplotlib.figure import Figure

from bench.report import units
from bench.report.charts import by_load
from bench.report.charts.canvas import Shown

NAME, TITLE = "request_rate", "Requests per second"
READ = (
    "Whole echoes a second, over all connections together. Higher is better. Each connection sends its next "
    "message when it has the answer, so slow answers and low rates are two views of the same thing."
)
_SHOWN = Shown("rate_per_s", "requests per second", units.RATES, "over all repeats")


def applies(table: pd.DataFrame) -> bool:
    """In a closed loop: in an open one the rate is what was offered."""
    return bool(((table["offered_per_s"] == 0) & (table["rate_per_s"] > 0)).any())


def draw(table: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """The chart of one experiment; `table` and `labels` are those of `Findings`."""
    return by_load.figure(table, labels, _SHOWN, higher_is_better=True)
