"""What Python costs a model over C: pairs of contenders that differ in nothing but the implementation.

Such a pair has the same model, the same options as the servers told them, the same system, Python and load;
`bench.analysis.ratios` compares the two as it compares any contenders. The yardstick is the exception: with
`--server-python` it stays under the Python that runs this program. While it serves, a server in C runs no
Python, so it is a twin nevertheless where none ran under the same.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.analysis.frames import BLOCK, CELL
from bench.analysis.groups import first_rows, joined, numbers_of, rows_by_group
from bench.analysis.intervals import LEVEL
from bench.analysis.ratios import SERVER_CPU, cpu_ratios, ratios
from bench.records.schema import Record

_SEEN = ("rate_per_s", "p50_ns")  # by clients
QUANTITIES = (*_SEEN, SERVER_CPU)
_COLUMNS = [*CELL, "twin", "quantity", "repeats", "ratio", "low", "high"]
_COLUMNS += ["totals_ratio", "totals_low", "totals_high", "uneven"]


class Twins(NamedTuple):
    """A contender in Python and its twin in C."""

    experiment: str
    contender: str
    twin: str


def twins(records: Sequence[Record]) -> list[Twins]:
    """The pairs of a run, in the order of its records; of several twins in C the first."""
    kinds: dict[tuple[str, str], tuple[str, object, object]] = {}
    for one in records:
        ready = one.server.ready if one.server and one.load else None
        if ready is not None:
            options = frozenset((name, str(value)) for name, value in ready.options.items())
            same = (one.cell.experiment, ready.model, options, ready.system)
            under = (ready.interpreter, ready.gil)
            kinds.setdefault((one.cell.experiment, one.cell.contender), (ready.implementation, same, under))
    in_c: dict[object, str] = {}
    for (_, contender), (implementation, kind, python) in kinds.items():
        if implementation == "c":
            in_c.setdefault((kind, python), contender)
            in_c.setdefault(kind, contender)
    return [
        Twins(experiment, contender, in_c.get((kind, python), in_c[kind]))
        for (experiment, contender), (implementation, kind, python) in kinds.items()
        if implementation == "python" and kind in in_c
    ]


def taxes(
    cells: pd.DataFrame, slices: pd.DataFrame, pairs: Sequence[Twins], level: float = LEVEL
) -> pd.DataFrame:
    """Python over C for each pair, load and one of `QUANTITIES`; `contender` is the one in Python.

    `cells` and `slices` are a run's. Columns are those of `bench.analysis.ratios.ratios`, and `twin`; what a
    request costs in CPU time has no `totals`.
    """
    if not pairs:
        return pd.DataFrame(columns=_COLUMNS)
    # An experiment for each pair, so that each has a reference of its own: all are computed at once.
    numbered = {str(number): pair for number, pair in enumerate(pairs)}
    own_cells, own_slices = _of_pairs(cells, numbered), _of_pairs(slices, numbered)
    references = {number: pair.twin for number, pair in numbered.items()}
    by_rounds = ratios(own_cells, own_slices, references, level, _SEEN)
    cpu = cpu_ratios(own_cells, own_slices, references, level).assign(
        quantity=SERVER_CPU, totals_ratio=np.nan, totals_low=np.nan, totals_high=np.nan, uneven=False
    )
    table = pd.concat([by_rounds, cpu], ignore_index=True)
    of_rows = [numbered[number] for number in table["experiment"]]
    is_python = [pair.contender == name for pair, name in zip(of_rows, table["contender"], strict=True)]
    table = table.assign(
        experiment=[pair.experiment for pair in of_rows], twin=[pair.twin for pair in of_rows]
    )
    return table.loc[is_python, _COLUMNS].reset_index(drop=True)


def _of_pairs(table: pd.DataFrame, numbered: dict[str, Twins]) -> pd.DataFrame:
    """The rows of each pair, and of those through which what was in different blocks is compared."""
    between = _in_several_blocks(table)
    numbers = numbers_of(table, ["experiment", "contender"])
    names = table[["experiment", "contender"]].iloc[first_rows(numbers)].itertuples(index=False, name=None)
    places = dict(zip(names, rows_by_group(numbers), strict=True))
    nowhere = np.zeros(0, dtype=np.int64)
    rows = [
        np.sort(
            np.concatenate(
                [
                    places.get((pair.experiment, name), nowhere)
                    for name in {pair.contender, pair.twin, *between}
                ]
            )
        )
        for pair in numbered.values()
    ]
    owners = np.repeat(list(numbered), [own.size for own in rows]).astype(object)
    return table.iloc[np.concatenate(rows)].reset_index(drop=True).assign(experiment=owners)


def _in_several_blocks(table: pd.DataFrame) -> set[str]:
    in_repeat = numbers_of(table, [*(name for name in BLOCK if name != "block"), "contender"])
    in_blocks = joined(in_repeat, table["block"])
    blocks = np.bincount(in_repeat[first_rows(in_blocks)])
    return set(table["contender"].iloc[first_rows(in_repeat)[blocks > 1]])
