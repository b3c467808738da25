"""What runs have measured for a claim: the tables of the experiments that name it."""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.analysis.findings import CELL_NUMBER, Findings
from bench.analysis.frames import CELL
from bench.analysis.groups import first_rows, joined, numbers_of
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
        kept = table[CELL_NUMBER]
        parts = (part[part[CELL_NUMBER].isin(kept)] for part in (self.cells, self.slices))
        cells, slices = (part.reset_index(drop=True) for part in parts)
        return Asked(table, cells, slices, self.level)

    @property
    def notes(self) -> dict[tuple[Hashable, ...], str]:
        """`note` by CELL."""
        keys = self.table[CELL].itertuples(index=False, name=None)
        return dict(zip(keys, self.table["note"], strict=True))


def asking(found: Findings, claim: str) -> set[tuple[str, str]]:
    """Run and name of each experiment that names `claim`."""
    return {
        (run, experiment.name)
        for run, suite in found.suites.items()
        for experiment in suite.experiment
        if claim in experiment.claims
    }


def asked(found: Findings, claim: str) -> Asked:
    """All that was measured by experiments that name `claim`."""
    names = sorted(asking(found, claim))
    parts = []
    for table in (found.table, found.cells):
        keys = pd.MultiIndex.from_frame(table[["run", "experiment"]])
        parts.append(table[keys.isin(names)].reset_index(drop=True))
    table, cells = parts
    slices = found.slices[found.slices[CELL_NUMBER].isin(cells[CELL_NUMBER])].reset_index(drop=True)
    notes = [
        UNDER_WINE if wine else ", ".join(code for code in codes if code != WINE)
        for wine, codes in zip(table["wine"], table["disqualified"], strict=True)
    ]
    measured = cells[cells["status"] == "measured"].reset_index(drop=True)
    level = max(found.levels.values())
    return Asked(table.assign(note=pd.Series(notes, dtype=object)), measured, slices, level)


def options(found: Findings) -> dict[tuple[str, str, str], dict[str, Value]]:
    """The options that the suites give, by run, experiment and contender."""
    return {
        (run, experiment.name, contender.name): contender.options
        for run, suite in found.suites.items()
        for experiment in suite.experiment
        for contender in experiment.contenders
    }


def slopes(table: pd.DataFrame, x: str, y: str, keys: Sequence[str], level: float = LEVEL) -> pd.DataFrame:
    """The slope of `y` over `x` in each repeat of each group of `keys`, then its interval over repeats.

    Columns: keys, repeats, mean, low, high, and `points`, the values of `x`. Groups with one value of `x`
    have no slope and are left out, and so are repeats that have fewer than others. Least squares.
    """
    points = table.dropna(subset=[*keys, x, y]).reset_index(drop=True)
    groups = numbers_of(points, keys)
    repeats = joined(groups, points["repeat"])
    xs, ys = (points[name].astype(float) for name in (x, y))
    spread = xs - xs.groupby(repeats).transform("mean")
    sums = pd.DataFrame({"product": spread * ys, "square": spread**2}).groupby(repeats, sort=False).sum()
    per_repeat = points[list(keys)].iloc[first_rows(repeats)].reset_index(drop=True)
    per_repeat["slope"] = sums["product"] / sums["square"]
    per_repeat["points"] = xs.groupby(repeats, sort=False).nunique()
    per_repeat = per_repeat[sums["square"] > 0]
    most = per_repeat["points"].groupby(numbers_of(per_repeat, keys), sort=False).transform("max")
    per_repeat = per_repeat[per_repeat["points"] == most]
    result = over_repeats(per_repeat, keys, "slope", level)
    most = per_repeat["points"].groupby(numbers_of(per_repeat, keys), sort=False).max()
    return result.assign(points=most.to_numpy(dtype="int64"))


def number(value: Any) -> float | None:
    """A finite number as Python's, None for one that isn't."""
    return float(value) if value is not None and np.isfinite(float(value)) else None
