"""How evenly connections are served: the slowest one's share of what each would have, and Jain's index."""

import pandas as pd
from matplotlib.figure import Figure

from bench.report import units
from bench.report.charts import by_load
from bench.report.charts.canvas import Shown

NAME, TITLE = "fairness", "Fairness over connections"
READ = (
    "How many requests the slowest connection had, of what each would have had in an even split: at 20 % it "
    "had a fifth of its share while others had more. Thin marks are Jain's index over all connections, "
    "which is 100 % where all had the same. Higher is fairer."
)
_SHOWN = Shown(
    "slowest_share", "share of an even split", units.SHARES, "slowest connection", "fairness", "Jain's index"
)
_UNEVEN = 0.5
_REQUESTS_MIN = 10  # for each connection: of fewer, one more or less would be a tenth


def applies(table: pd.DataFrame) -> bool:
    """Where several connections compete, and somebody's slowest had less than half of its share."""
    each = table["requests"] / table["repeats"] / table["connections"]
    asked = table["competes"].astype(bool) & (table["connections"] > 1) & (table["offered_per_s"] == 0)
    is_uneven = table["slowest_share"] < _UNEVEN
    return bool((asked & is_uneven & (each >= _REQUESTS_MIN)).any())


def draw(table: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """The chart of one experiment; `table` and `labels` are those of `Findings`."""
    several = table[(table["connections"] > 1) & (table["offered_per_s"] == 0)]
    return by_load.figure(several.dropna(subset="slowest_share"), labels, _SHOWN, higher_is_better=True)
