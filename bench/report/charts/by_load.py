"""A quantity against the load: lines where a number of the load varies, otherwise dots."""

import pandas as pd
from matplotlib.figure import Figure

from bench.report import units
from bench.report.charts import dots, lines
from bench.report.charts.canvas import Shown


def figure(table: pd.DataFrame, labels: dict[str, str], shown: Shown, *, higher_is_better: bool) -> Figure:
    """The chart of one experiment: `table` holds its cells (`Findings.table`).

    What has no figure, or 0, has no place on a logarithmic axis.
    """
    if shown.scale != units.SHARES:
        figures = [shown.main, *([shown.light] if shown.light else [])]
        table = table.assign(**{name: table[name].where(table[name] > 0) for name in figures})
    if table[lines.axis(table)].nunique() == 1:
        return dots.figure(table, labels, shown, higher_is_better=higher_is_better)
    return lines.figure(table, labels, shown)
