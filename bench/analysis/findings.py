"""Everything that a page, a table or a sentence is made from, computed once from the runs' records."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd

from bench.analysis import asked_suites, frames
from bench.analysis.capacity import Capacity, capacities
from bench.analysis.frames import CELL, LOAD
from bench.analysis.groups import numbers_of
from bench.analysis.interpreter_tax import taxes, twins
from bench.analysis.intervals import LEVEL
from bench.analysis.marks import WINE, disqualified
from bench.analysis.names import short, with_short_names
from bench.analysis.ratios import JUDGED_COLUMNS, Compared, best, drift, ratios
from bench.analysis.tuning import gains
from bench.errors import Exit, UserError
from bench.plan.suite import Suite
from bench.records.reading import Unread
from bench.records.schema import Load, Record, Run
from bench.records.store import RunFolder

CELL_NUMBER = "cell_number"
UNKNOWN_SYSTEM = "unknown"


class Findings(NamedTuple):
    """Tables of one or several runs, and what each run was asked."""

    folders: Sequence[RunFolder]
    suites: dict[str, Suite]  # by run
    labels: dict[str, str]  # what a run is called where there are several
    cells: pd.DataFrame
    slices: pd.DataFrame
    # These three have `cell_number`, the same in each for rows of the same cell.
    table: pd.DataFrame  # a row for each measured cell, all repeats together: `frames.merged` and more.
    # Its column `wine` tells Windows code under Wine: such cells have neither ratios nor a place in `best`.
    ratios: pd.DataFrame
    best: pd.DataFrame
    gains: pd.DataFrame  # of the best settings of an option, where a contender comes in several
    capacities: list[Capacity]  # of searches, whose trials are in none of the tables
    taxes: pd.DataFrame  # Python over C; without what ran under Wine
    quantities: dict[tuple[str, str], Compared]  # what each experiment of each run is judged by
    unread: dict[str, list[Unread]]  # by run
    levels: dict[
        str, float
    ]  # of each run's intervals: above LEVEL where repeats were added until it was precise


def find(folders: Sequence[RunFolder]) -> Findings:
    """Read and compute; what can't be read is in `unread`. Raises UserError where two runs have one name."""
    names = [folder.path.name for folder in folders]
    if len(set(names)) < len(names):
        raise UserError(f"two runs are called {max(names, key=names.count)}: rename one's folder", Exit.USAGE)
    suite_of: dict[str, Suite] = {}
    unread: dict[str, list[Unread]] = {}
    levels = {folder.path.name: _level(folder.run) for folder in folders}
    cell_parts, slice_parts, ratio_parts, tax_parts = [], [], [], []
    found: list[Capacity] = []
    for folder in folders:
        name = folder.path.name
        read, faults = folder.read()
        suite, more_faults = asked_suites.suite_of(folder.run.suite, read, name)
        suite_of[name], records = with_short_names(suite, read)
        unread[name] = [*faults, *more_faults]
        found += capacities(name, suite_of[name], records)
        records = _without_trials(suite_of[name], records)
        own_cells, own_slices = frames.cells(records, run=name), frames.slices(records, run=name)
        references = {experiment.name: experiment.reference for experiment in suite_of[name].experiment}
        own_cells["system"] = own_cells["system"].fillna(_assumed_system(own_cells, folder.run))
        cell_parts.append(own_cells)
        slice_parts.append(own_slices)
        ratio_parts.append(ratios(own_cells, own_slices, references, levels[name]))
        tax_parts.append(taxes(own_cells, own_slices, twins(records), levels[name]))
    cells, slices = frames.together(cell_parts), frames.together(slice_parts)
    table = _table(cells, suite_of)
    _number_cells(cells, slices, table)
    ratio_table = _without_wine(frames.together(ratio_parts), table)
    _add_marks(table, ratio_table[ratio_table["uneven"]], "uneven")
    drifts = drift(slices)
    _add_marks(table, drifts[drifts["drift"]], "drift")
    table["disqualified"] = [
        disqualified(marks, repeats) for marks, repeats in zip(table["marks"], table["repeats"], strict=True)
    ]
    ranked = table[table["competes"] & (~table["disqualified"].map(bool).astype(bool))]
    quantities = _quantities(suite_of)
    return Findings(
        folders=folders,
        suites=suite_of,
        labels=_labels(folders),
        cells=cells,
        slices=slices,
        table=table,
        ratios=ratio_table,
        best=_best(cells, slices, ranked, quantities, levels),
        gains=gains(cells, slices, ranked, quantities, levels),
        capacities=found,
        taxes=_native_taxes(frames.together(tax_parts), table),
        quantities=quantities,
        unread=unread,
        levels=levels,
    )


def _number_cells(*tables: pd.DataFrame) -> None:
    """Add `cell_number` to each."""
    numbers = numbers_of(frames.together([table[CELL] for table in tables]), CELL)
    ends = np.cumsum([len(table) for table in tables])[:-1]
    for table, own in zip(tables, np.split(numbers, ends), strict=True):
        table[CELL_NUMBER] = own


def _level(run: Run) -> float:
    return LEVEL if run.precision is None else run.precision.level


def _quantities(suite_of: dict[str, Suite]) -> dict[tuple[str, str], Compared]:
    """What each experiment of each run is judged by."""
    return {
        (run, experiment.name): JUDGED_COLUMNS[experiment.judged_by]
        for run, suite in suite_of.items()
        for experiment in suite.experiment
    }


def _best(
    cells: pd.DataFrame,
    slices: pd.DataFrame,
    ranked: pd.DataFrame,
    quantities: dict[tuple[str, str], Compared],
    levels: dict[str, float],
) -> pd.DataFrame:
    """The best of each load, by what its experiment is judged by."""
    judged_by: dict[tuple[Compared, float], list[tuple[str, str]]] = {}
    for key, quantity in quantities.items():
        judged_by.setdefault((quantity, levels[key[0]]), []).append(key)
    parts = []
    for (quantity, level), keys in judged_by.items():
        own_cells, own_slices, own_ranked = (
            table if len(judged_by) == 1 else _of_experiments(table, keys)
            for table in (cells, slices, ranked)
        )
        parts.append(best(own_cells, own_slices, own_ranked, quantity, level))
    return frames.together(parts or [best(cells, slices, ranked)])


def _of_experiments(table: pd.DataFrame, keys: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """The rows of these experiments, each named with its run."""
    named = pd.MultiIndex.from_frame(table[["run", "experiment"]])
    return table[named.isin(keys)]


def _without_trials(suite: Suite, records: Sequence[Record]) -> list[Record]:
    """A trial is one contender alone under a load of its own: nothing to compare. What failed stays."""
    searches = {experiment.name for experiment in suite.experiment if experiment.search is not None}
    return [
        one
        for one in records
        if one.cell.experiment not in searches or one.status in ("unavailable", "failed")
    ]


def rows_of(table: pd.DataFrame) -> list[dict[Any, Any]]:
    """The table's rows in plain Python types, None where there is no value."""
    columns = [_plain(table[name]) for name in table.columns]
    return [dict(zip(table.columns, row, strict=True)) for row in zip(*columns, strict=True)]


def _plain(column: "pd.Series[Any]") -> list[Any]:
    """Its values. Pandas' own ways copy whole tables several times, which many small ones make slow."""
    values = column.tolist()
    if column.dtype.kind in "iub":
        return values
    if column.dtype.kind == "f":
        return [value if value == value else None for value in values]  # noqa: PLR0124 - NaN isn't itself
    return [None if pd.api.types.is_scalar(value) and pd.isna(value) else value for value in values]


def load_of(row: dict[Any, Any]) -> Load:
    """The load that one of `rows_of` is about."""
    return msgspec.convert({name: row[name] for name in LOAD}, Load)


def _table(cells: pd.DataFrame, suite_of: dict[str, Suite]) -> pd.DataFrame:
    """The merged cells in the suite's order, with `competes`, `is_reference` and `wine`."""
    table = frames.merged(cells)
    is_marked = table["marks"].map(lambda marks: WINE in marks).astype(bool)
    table["wine"] = (table["system"] == WINE) | is_marked
    places = {
        (run, experiment.name, contender.name): (number, contender.name == experiment.reference)
        for run, suite in suite_of.items()
        for experiment in suite.experiment
        for number, contender in enumerate(experiment.contenders)
    }
    variants = {
        (run, experiment.name, contender.name): (contender.variant_of, contender.is_default)
        for run, suite in suite_of.items()
        for experiment in suite.experiment
        for contender in experiment.contenders
    }
    keys = list(zip(table["run"], table["experiment"], table["contender"], strict=True))
    competes = [key in places for key in keys]  # otherwise the yardstick, which is in every block
    table["competes"] = np.array(competes, dtype=bool)
    table["is_reference"] = np.array([places.get(key, (0, False))[1] for key in keys], dtype=bool)
    table["variant_of"] = pd.Series([variants.get(key, (None, False))[0] for key in keys], dtype=object)
    table["is_default"] = np.array([variants.get(key, (None, False))[1] for key in keys], dtype=bool)
    table["place"] = [places.get(key, (len(places), False))[0] for key in keys]
    order = [*dict.fromkeys(experiment for _, experiment, _ in places)]
    table["experiment_place"] = table["experiment"].map({name: number for number, name in enumerate(order)})
    by = ["experiment_place", *LOAD, "run", "place"]
    return table.sort_values(by, kind="stable", ignore_index=True).drop(columns=["place", "experiment_place"])


def _assumed_system(cells: pd.DataFrame, run: Run) -> pd.Series:
    """What servers ran on that didn't say it: commands, and what failed before it listened."""
    own = str(run.environment.get("system") or UNKNOWN_SYSTEM)
    of_models = run.server_python.system if run.server_python else own
    return cells["model"].map(lambda model: of_models if isinstance(model, str) else own)


def _without_wine(ratio_table: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Only ratios of what ran on a system of its own, to a reference that did: Wine ranks nothing."""
    under_wine = set(table.loc[table["wine"], CELL].itertuples(index=False, name=None))
    at_load = [name for name in CELL if name != "contender"]
    references = table.loc[table["wine"] & table["is_reference"], at_load]
    lost = set(references.itertuples(index=False, name=None))
    kept = [
        cell not in under_wine and load not in lost
        for cell, load in zip(
            ratio_table[CELL].itertuples(index=False, name=None),
            ratio_table[at_load].itertuples(index=False, name=None),
            strict=True,
        )
    ]
    return ratio_table[np.array(kept, dtype=bool)].reset_index(drop=True)


def _native_taxes(tax_table: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Both of a pair run on the same system, so one of them tells whether that is Wine."""
    under_wine = set(table.loc[table["wine"], CELL].itertuples(index=False, name=None))
    is_native = [key not in under_wine for key in tax_table[CELL].itertuples(index=False, name=None)]
    return tax_table[np.array(is_native, dtype=bool)].reset_index(drop=True)


def _add_marks(table: pd.DataFrame, marked: pd.DataFrame, code: str) -> None:
    """Add a mark that analysis found, in all repeats, to the rows of `table` that are in `marked`."""
    keys = set(marked[CELL].itertuples(index=False, name=None))
    for key, marks, repeats in zip(
        table[CELL].itertuples(index=False, name=None), table["marks"], table["repeats"], strict=True
    ):
        if key in keys:
            marks[code] = repeats


def _labels(folders: Sequence[RunFolder]) -> dict[str, str]:
    """The system of the servers where that tells the runs apart, otherwise the run's name."""
    systems = [
        python.system if (python := folder.run.server_python) else folder.run.environment.get("system")
        for folder in folders
    ]
    names = [folder.path.name for folder in folders]
    tells_apart = all(systems) and len(set(map(str, systems))) == len(systems)
    labels = map(str, systems) if tells_apart else names
    return dict(zip(names, map(short, labels), strict=True))
