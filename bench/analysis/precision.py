"""How wide the intervals of ratios are: what `bench.measure.precision` decides by, and what came of it."""

import math
from collections.abc import Iterable, Iterator, Sequence

import msgspec
import numpy as np
import pandas as pd

from bench.analysis import frames
from bench.analysis.findings import Findings
from bench.analysis.frames import CELL, LOAD
from bench.analysis.marks import disqualified
from bench.analysis.ratios import JUDGED_COLUMNS, against
from bench.measure.precision import Width, is_precise
from bench.plan.suite import Experiment
from bench.records.schema import Load, Precision, Record


class Reached(msgspec.Struct, kw_only=True, frozen=True):
    """What came of a run that was to be measured until it is precise."""

    run: str
    asked: Precision
    elapsed_s: float
    is_over: bool  # otherwise it was interrupted, or goes on
    widths: list[Width]

    @property
    def wide(self) -> list[Width]:
        """Those that aren't precise, the widest first."""
        return widest_first(one for one in self.widths if not one.is_precise)


def reached(findings: Findings) -> list[Reached]:
    """One for each run that was given a precision."""
    return [
        Reached(
            run=folder.path.name,
            asked=asked,
            elapsed_s=folder.run.elapsed_s or 0.0,
            is_over=folder.run.status == "finished",
            widths=list(_of_run(findings, folder.path.name, asked)),
        )
        for folder in findings.folders
        if (asked := folder.run.precision) is not None
    ]


def look(records: Sequence[Record], experiment: Experiment, asked: Precision) -> list[Width]:
    """`widths` of records of `experiment`."""
    return widths(frames.cells(records), frames.slices(records), experiment, asked)


def widths(
    cells: pd.DataFrame, slices: pd.DataFrame, experiment: Experiment, asked: Precision
) -> list[Width]:
    """Of each competing contender's ratio to the reference, in what the experiment is judged by.

    `cells` and `slices` are those of `experiment` in one run. A contender that has a disqualifying mark, or
    whose reference has one at that load, or that completed nothing, has no ratio to make precise.
    """
    measured = cells[cells["status"] == "measured"]
    if measured.empty:
        return []
    fit = {
        key
        for key, group in measured.groupby(CELL, sort=False)
        if not disqualified(frames.mark_counts(group), group["repeat"].nunique())
    }
    competing = {one.name for one in experiment.contenders} - {experiment.reference}
    quantity = JUDGED_COLUMNS[experiment.judged_by]
    table = against(measured, slices, experiment.reference, quantity, asked.level)
    found = []
    table["half_width"] = np.sqrt(table["high"] / table["low"]) - 1
    for row in table.to_dict("records"):
        own = tuple(row[name] for name in CELL)
        of_reference = tuple(experiment.reference if name == "contender" else row[name] for name in CELL)
        if row["contender"] in competing and {own, of_reference} <= fit and 0 < row["ratio"] < math.inf:
            found.append(
                Width(
                    experiment=experiment.name,
                    contender=row["contender"],
                    load=msgspec.convert({name: row[name] for name in LOAD}, Load),
                    repeats=row["repeats"],
                    half_width=None if math.isnan(row["half_width"]) else row["half_width"],
                    is_precise=bool(is_precise(row["half_width"], row["repeats"], asked)),
                )
            )
    return found


def widest_first(found: Iterable[Width]) -> list[Width]:
    """What can't be told at all before the others."""
    return sorted(found, key=lambda one: -math.inf if one.half_width is None else -one.half_width)


def _of_run(findings: Findings, run: str, asked: Precision) -> Iterator[Width]:
    for experiment in findings.suites[run].experiment:
        if experiment.search is None:
            cells, slices = (
                table[(table["run"] == run) & (table["experiment"] == experiment.name)]
                for table in (findings.cells, findings.slices)
            )
            yield from widths(cells, slices, experiment, asked)
