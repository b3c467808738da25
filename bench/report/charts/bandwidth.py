"""Bytes a second against the size of messages: where copying is all there is, it no longer grows."""

import pandas as pd
from matplotlib.figure import Figure

from bench.report import units
from bench.report.charts import by_load
from bench.report.charts.canvas import Shown

NAME, TITLE = "bandwidth", "Bandwidth"
READ = (
    "Bytes a second in each direction: requests a second times their size. Higher is better. It grows with "
    "the message while each request costs the same, and stops growing where copying takes all the time."
)
_COLUMN = "bandwidth_bytes_per_s"
_SHOWN = Shown(_COLUMN, "bytes a second, in each direction", units.SIZES, "over all repeats")


def applies(table: pd.DataFrame) -> bool:
    """Where sizes vary, in a closed loop."""
    closed = table[table["offered_per_s"] == 0]
    return bool(closed["message_bytes"].nunique() > 1)


def draw(table: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """The chart of one experiment; `table` and `labels` are those of `Findings`."""
    moved = table.assign(**{_COLUMN: table["rate_per_s"] * table["message_bytes"]})
    return by_load.figure(moved, labels, _SHOWN, higher_is_better=True)
