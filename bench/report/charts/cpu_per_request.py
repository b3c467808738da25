"""The server's CPU time for a request against the load."""

import pandas as pd
from matplotlib.figure import Figure

from bench.analysis.ratios import SERVER_CPU
from bench.report import units
from bench.report.charts import by_load
from bench.report.charts.canvas import Shown
from bench.report.interpreter_tax import CPU_STILL_GOOD

NAME, TITLE = "cpu_per_request", "Server CPU time for a request"
READ = (
    "CPU time that the server's process used, in user code and in the kernel, over the requests that it "
    "answered. Lower is better. It is the server's own also where the generator was the bottleneck. Over "
    "idle connections, a line that rises belongs to a server that looks at all of them to find the few that "
    "work."
)
_SHOWN = Shown(SERVER_CPU, "server's CPU time for a request", units.TIMES, "mean over repeats")


def applies(table: pd.DataFrame) -> bool:
    """Where idle connections are added, where the generator was what limited the rate, or where it spins."""
    competing = table[table["competes"].astype(bool) & (table[SERVER_CPU] > 0)]
    is_bound = competing["disqualified"].map(lambda codes: "generator-bound" in codes).astype(bool)
    asks = competing["idle"].nunique() > 1 or competing["wait"].nunique() > 1
    return bool(asks or is_bound.any())


def draw(table: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """The chart of one experiment; `table` and `labels` are those of `Findings`."""
    fit = table[table[SERVER_CPU] > 0].copy()
    fit["disqualified"] = [
        [code for code in codes if code not in CPU_STILL_GOOD] for codes in fit["disqualified"]
    ]
    return by_load.figure(fit, labels, _SHOWN, higher_is_better=False)
