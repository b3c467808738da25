"""What runs have measured for a claim: the tables of the experiments that name it."""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.analysis.findings import Findings
from bench.analysis.frames import CELL
from bench.analysis.intervals import LEVEL, over_repeats
from bench.analysis.marks import WINE
from bench.records.schema import Value

UNDER_WINE = "under Wine, which ranks nothing"


class Asked(NamedTuple):
    """Tables of the experiments that ask about a claim, as in `Findings`."""

    table: pd.DataFrame  # and `note`: why a cell decides nothing, "" where it does
    cells: pd.DataFrame
    slices: pd.DataFrame
    level: float  # of intervals: the highest of the runs'

    def where(self, keep: pd.Series) -> "Asked":
        """What belongs to the rows of `table` that are to be kept."""
        table = self.table[keep.to_numpy(dtype=bool)]
        cells, slices = (part.merge(table[CELL], on=CELL) for part in (self.cells, self.slices))
        return Asked(table, cells, slices, self.level)

    @property
    def notes(self) -> dict[tuple[Hashable, ...], str]:
        """`note` by CELL."""
        keys = self.table[CELL].itertuples(index=False, name=None)
        return dict(zip(keys, self.table["note"], strict=True))


def asked(found: Findings, claim: str) -> Asked:
    """All that was measured by experiments that name `claim`."""
    names = [
        (run, experiment.name)
        for run, suite in found.suites.items()
        for experiment in suite.experiment
        if claim in experiment.claims
    ]
    parts = []
    for table in (found.table, found.cells, found.slices):
        keys = pd.MultiIndex.from_frame(table[["run", "experiment"]])
        parts.append(table[keys.isin(names)].reset_index(drop=True))
    table, cells, slices = parts
    notes = [
        UNDER_WINE if wine else ", ".join(code for code in codes if code != WINE)
        for wine, codes in zip(table["wine"], table["disqualified"], strict=True)
    ]
    measured = cells[cells["status"] == "measured"].reset_index(drop=True)
    level = max(found.levels.values())
    return Asked(table.assign(note=pd.Series(notes, dtype=object)), measured, slices, level)


def options(found: Findings, row: dict[Any, Any]) -> dict[str, Value]:
    """The options that a cell's contender was given by the suite."""
    for experiment in found.suites[row["run"]].experiment:
        if experiment.name == row["experiment"]:
            for contender in experiment.contenders:
                if contender.name == row["contender"]:
                    return contender.options
    return {}


def slopes(table: pd.DataFrame, x: str, y: str, keys: Sequence[str], level: float = LEVEL) -> pd.DataFrame:
    """The slope of `y` over `x` in each repeat of each group of `keys`, then its interval over repeats.

    Columns: keys, repeats, mean, low, high, and `points`, the values of `x`. Groups with one value of `x`
    have no slope and are left out, and so are repeats that have fewer than others. Least squares.
    """
    rows = []
    for key, group in table.dropna(subset=[x, y]).groupby([*keys, "repeat"], sort=False):
        xs, ys = group[x].to_numpy(dtype=float), group[y].to_numpy(dtype=float)
        spread = xs - xs.mean()
        if np.any(spread):
            rows.append((*key[:-1], float(spread @ ys / (spread @ spread)), len(set(xs))))
    columns = [*keys, "slope", "points"]
    per_repeat = pd.DataFrame(rows, columns=columns)
    if per_repeat.empty:
        return pd.DataFrame(columns=[*keys, "repeats", "mean", "low", "high", "points"])
    most = per_repeat.groupby(list(keys), sort=False)["points"].transform("max")
    per_repeat = per_repeat[per_repeat["points"] == most]
    result = over_repeats(per_repeat, list(keys), "slope", level)
    points = per_repeat.groupby(list(keys), sort=False)["points"].max().reset_index()
    return result.merge(points, on=list(keys))


def number(value: Any) -> float | None:
    """A finite number as Python's, None for one that isn't."""
    return float(value) if value is not None and np.isfinite(float(value)) else None
