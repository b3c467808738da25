"""Records as tidy tables: one row a record, or one row a slice. Everything later is computed from these.

Column names are the records' own, units and all; a load's fields are columns of their own, so each axis of an
experiment can be grouped by.
"""

from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd

from bench.analysis.groups import first_rows, numbers_of, rows_by_group
from bench.analysis.histograms import Histogram
from bench.analysis.marks import NO_REQUESTS, UNREAD
from bench.plan.suite import opens_connections
from bench.records.schema import Load, Record, Samples, Slice
from bench.records.store import RunFolder

Source = RunFolder | Sequence[Record]

LOAD = list(Load.__struct_fields__)
# Written out, since a table without rows would have none, and such tables can't be joined to others.
LOAD_DTYPES = {
    field.name: {int: "int64", float: "float64"}.get(field.type, "object")
    for field in msgspec.structs.fields(Load)
}
CELL = ["run", "experiment", "contender", *LOAD]
BLOCK = ["run", "experiment", "block", "repeat", *LOAD]  # what was measured together
PERCENTS = {"p50_ns": 50, "p90_ns": 90, "p99_ns": 99, "p99_9_ns": 99.9, "max_ns": 100}
_FIRST_ECHO = {"first_echo_p50_ns": 50, "first_echo_p99_ns": 99}

_OWNER = [*BLOCK, "contender", "model", "implementation", "options"]
_LOAD_RESULT = {
    "requests": "requests",
    "duration_s": "duration_s",
    "rate_per_s": "rate_per_s",
    **{f"response_time.{name}": name for name in [*PERCENTS, "mean_ns", "histogram"]},
    "client.busy": "generator_busy",
    "client.cpu_ns_per_request": "generator_cpu_ns_per_request",
    "client.in_client_share": "in_client_share",
    "first_echo_time.p50_ns": "first_echo_p50_ns",
    "first_echo_time.histogram": "first_echo_histogram",
}
_load_figures = attrgetter(*_LOAD_RESULT)
_NO_FIGURES = (None,) * len(_LOAD_RESULT)
_RECORD = [*_OWNER, "status", "reason", "started_at", "system", "server_cpus", "generator_cpus"]
_RECORD += ["errors", "marks", "due"]
_SLICE = list(Slice.__struct_fields__)
_SLICE_DTYPES = {
    field.name: {int: "int64", bool: "bool"}.get(field.type, "float64")
    for field in msgspec.structs.fields(Slice)
}
_EVENNESS = ["fairness", "slowest_share"]
_MEANS = ["server_cpu_ns_per_request", *_EVENNESS]  # in `merged` over repeats, which weigh the same


def cells(source: Source, *, run: str = "") -> pd.DataFrame:
    """A row for each record, whatever its status; NaN where nothing was measured.

    `run` names the run where `source` is its records alone. `errors` counts failed requests and connections,
    `marks` holds the codes of the record's warnings, `due` how many requests an open loop's schedule had,
    `fairness` Jain's index and `slowest_share` the slowest connection's requests over an even share of all,
    `histogram` and `first_echo_histogram` the times for `merged`.
    """
    name, records = _read(source, run)
    columns = [*_RECORD, *_LOAD_RESULT.values(), *_EVENNESS, *Samples.__struct_fields__]
    # Objects as they are: encoded histograms aren't to be copied into arrays of text.
    table = pd.DataFrame([_cell_row(name, record) for record in records], columns=columns, dtype=object)
    texts = {*_RECORD, "histogram", "first_echo_histogram"} - {"due"}
    numbers = [column for column in columns if column not in texts]
    return _typed(table).astype(dict.fromkeys(numbers, float))


def slices(source: Source, *, run: str = "", warmup: bool = False) -> pd.DataFrame:
    """A row for each slice of a measured record; slices of the warm-up round only where asked for."""
    name, records = _read(source, run)
    measured = [record for record in records if record.load is not None]
    parts = [record.load.slices for record in measured if record.load is not None]
    owners = pd.DataFrame([_owner(name, record) for record in measured], columns=_OWNER, dtype=object)
    # One array of floats, in which None becomes NaN: by columns of objects it takes five times as long.
    values = np.array([msgspec.structs.astuple(one) for part in parts for one in part], dtype=float)
    values = values.reshape(-1, len(_SLICE))
    owner = np.repeat(np.arange(len(measured)), np.array([len(part) for part in parts], dtype=np.int64))
    if not warmup:
        counted = values[:, _SLICE.index("warmup")] == 0
        values, owner = values[counted], owner[counted]
    figures = pd.DataFrame(values, columns=_SLICE).astype(_SLICE_DTYPES)
    return pd.concat([_typed(owners).iloc[owner].reset_index(drop=True), figures], axis="columns")


def together(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table of several; those without rows have no types that should count."""
    filled = [part for part in parts if len(part)]
    return pd.concat(filled or parts[:1], ignore_index=True)


def merged(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each measured cell of `cells`: all its repeats together.

    Requests and time are summed, percentiles taken from the added histograms; `reached` is requests over
    those that a schedule had; `marks` counts the repeats that carry each code, and those in which no request
    was completed or whose histograms can't be read. The server's CPU time for a request, `fairness` and
    `slowest_share` are means over the repeats.
    """
    measured = table[(table["status"] == "measured") & table["requests"].notna()].reset_index(drop=True)
    numbers = numbers_of(measured, CELL)
    grouped = measured.groupby(numbers, sort=False)
    sums = grouped[["requests", "duration_s", "due"]].sum()
    columns = {name: measured[name].to_numpy(dtype=object) for name in _OF_DISTRIBUTIONS}
    distributions = [
        _distributions({name: column[rows].tolist() for name, column in columns.items()})
        for rows in rows_by_group(numbers)
    ]
    percentiles = np.array([one.percentiles for one in distributions], dtype=float)
    about = [*CELL, "model", "implementation", "system"]
    result = measured[about].iloc[first_rows(numbers)].reset_index(drop=True)
    result["repeats"] = grouped["repeat"].nunique().astype("int64")
    result["requests"] = sums["requests"].astype("int64")
    result["rate_per_s"] = sums["requests"] / sums["duration_s"].where(sums["duration_s"] > 0)
    result[[*PERCENTS, *_FIRST_ECHO]] = percentiles.reshape(-1, len(PERCENTS) + len(_FIRST_ECHO))
    result[_MEANS] = grouped[_MEANS].mean()
    result["reached"] = sums["requests"] / sums["due"].where(sums["due"] > 0)
    result["marks"] = pd.Series([one.marks for one in distributions], dtype=object)
    return result.astype(LOAD_DTYPES)


def mark_counts(cells: pd.DataFrame) -> dict[str, int]:
    """In how many repeats each code marks a cell, whose rows of `cells` are given."""
    marked = {
        (repeat, code)
        for repeat, codes in zip(cells["repeat"], cells["marks"], strict=True)
        for code in codes
    }
    return dict(sorted(Counter(code for _, code in marked).items()))


_OF_DISTRIBUTIONS = ("repeat", "requests", "marks", "histogram", "first_echo_histogram")


class _Distributions(NamedTuple):
    """Of a cell: PERCENTS and _FIRST_ECHO of all repeats together, and its marks."""

    percentiles: list[float | None]
    marks: dict[str, int]


def _distributions(own: dict[str, list[Any]]) -> _Distributions:
    """Of a cell from _OF_DISTRIBUTIONS of its repeats."""
    response_time, unread = Histogram.sum_of(own["histogram"])
    first_echo_time, unread_too = Histogram.sum_of(own["first_echo_histogram"])
    repeats, requests = own["repeat"], own["requests"]
    marked = {(repeat, code) for repeat, codes in zip(repeats, own["marks"], strict=True) for code in codes}
    marked |= {(repeats[place], UNREAD) for place in (*unread, *unread_too)}
    marked |= {(repeat, NO_REQUESTS) for repeat, done in zip(repeats, requests, strict=True) if not done}
    return _Distributions(
        [
            *response_time.percentiles([*PERCENTS.values()]),
            *first_echo_time.percentiles([*_FIRST_ECHO.values()]),
        ],
        dict(sorted(Counter(code for _, code in marked).items())),
    )


def _typed(owners: pd.DataFrame) -> pd.DataFrame:
    return owners.astype({"repeat": "int64", **LOAD_DTYPES})


def _read(source: Source, run: str) -> tuple[str, Sequence[Record]]:
    if isinstance(source, RunFolder):
        return run or source.path.name, source.records()
    return run, source


def _owner(run: str, record: Record) -> tuple[Any, ...]:
    cell = record.cell
    load = msgspec.structs.astuple(cell.load)
    block = (run, cell.experiment, record.block, record.repeat, *load)
    options = ", ".join(f"{name}={value}" for name, value in sorted(cell.options.items()))
    return (*block, cell.contender, cell.model, cell.implementation, options)


def _cell_row(run: str, record: Record) -> tuple[Any, ...]:
    ready = record.server.ready if record.server else None
    return (
        *_owner(run, record),
        *(record.status, record.reason, record.started_at, ready.system if ready else None),
        *(_cpu_list(record.cpus.server), _cpu_list(record.cpus.generator)),
        sum(record.load.errors.values()) if record.load else 0,
        tuple(str(mark.get("code", "unknown")) for mark in record.warnings),
        float(record.load.open_loop.due) if record.load and record.load.open_loop else None,
        *(_load_figures(record.load) if record.load else _NO_FIGURES),
        *_evenness(record),
        *msgspec.structs.astuple(record.samples),
    )


def _evenness(record: Record) -> tuple[float | None, float | None]:
    """How evenly connections were served; None of both where they come and go, and so have no even share."""
    load, result = record.cell.load, record.load
    if result is None or not result.requests or opens_connections(load):
        return None, None
    return result.fairness, result.requests_per_connection.min * load.connections / result.requests


def _cpu_list(cpus: list[int] | None) -> str:
    return "any" if cpus is None else ",".join(map(str, cpus))
