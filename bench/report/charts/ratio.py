"""Each contender's ratio to the reference, with its interval: what an experiment is judged by."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from bench.analysis.findings import load_of, rows_of
from bench.analysis.frames import CELL
from bench.report import ratio
from bench.report.charts import rows
from bench.report.charts.rows import Band, Panel, Point, Row
from bench.report.charts.style import styles
from bench.report.judging import Judging
from bench.report.ratio import Ratio

NAME, TITLE = "ratio", "Ratio to the reference"
READ = (
    "Both were measured in the same rounds, so most of the machine's wandering is in neither. A line is a "
    "95 % interval over repeats: one that holds 1 shows no difference. What is grey has a mark that keeps "
    "it out of the answer. Each panel has a scale of its own."
)


def applies(found: pd.DataFrame, table: pd.DataFrame) -> bool:
    """Where intervals of a ratio are known; `found` holds an experiment's ratios in one quantity."""
    others = found.merge(table.loc[~table["is_reference"].astype(bool), CELL], on=CELL)
    return bool(((others["ratio"] > 0) & others["low"].notna()).any())


def draw(found: pd.DataFrame, table: pd.DataFrame, labels: dict[str, str], judging: Judging) -> Figure:
    """The chart of one experiment: `found` are the rows of `Findings.ratios` in what it is judged by."""
    ratios = {tuple(row[name] for name in CELL): one for row in rows_of(found) if (one := ratio.of_row(row))}
    bands = [
        _band(part, ratios, labels[str(run)] if len(labels) > 1 else "", judging)
        for run, part in table.groupby("run", sort=False)
    ]
    codes = sorted({code for codes in table["disqualified"] for code in codes})
    return rows.figure([band for band in bands if band.panels], styles(table), codes)


def _band(part: pd.DataFrame, ratios: Mapping[tuple[Any, ...], Ratio], label: str, judging: Judging) -> Band:
    """A run's contenders, the best on top, and a panel for each load at which something was compared."""
    cells = [(row, ratios.get(tuple(row[name] for name in CELL))) for row in rows_of(part)]
    compared = [(row, one) for row, one in cells if one is not None and one.ratio > 0]
    names = _best_first([(row["contender"], one.ratio) for row, one in compared], judging)
    panels = []
    for load, title in rows.titles([load_of(row) for row, _ in compared], label).items():
        points = [
            Point(names.index(row["contender"]), one, bool(row["disqualified"]))
            for row, one in compared
            if load_of(row) == load
        ]
        panels.append(Panel(title, points))
    return Band([Row(name, name) for name in names], panels, _axis_name(part, judging))


def _axis_name(part: pd.DataFrame, judging: Judging) -> str:
    reference = part.loc[part["is_reference"].astype(bool), "contender"].iloc[0]
    better = "more" if judging.higher_is_better else "less"
    return f"{judging.quantity}, times that of {reference}: {better} is better"


def _best_first(ratios: Sequence[tuple[str, float]], judging: Judging) -> list[str]:
    """Contenders by the mean of their ratios over all loads."""
    table = pd.DataFrame(
        [(name, math.log(value)) for name, value in ratios], columns=["contender", "log_ratio"]
    )
    means = table.groupby("contender", sort=False)["log_ratio"].mean()
    return [
        str(name) for name in means.sort_values(ascending=not judging.higher_is_better, kind="stable").index
    ]
