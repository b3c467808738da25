"""Records as tidy tables: one row a record, or one row a slice. Everything later is computed from these.

Column names are the records' own, units and all; a load's fields are columns of their own, so each axis of an
experiment can be grouped by.
"""

from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from bench.analysis.histograms import Histogram
from bench.records.schema import Load, Record, Samples, Slice
from bench.records.store import RunFolder

Source = RunFolder | Sequence[Record]

LOAD = list(Load.__struct_fields__)
# Written out, since a table without rows would have none, and such tables can't be joined to others.
LOAD_DTYPES = {
    field.name: {int: "int64", float: "float64"}.get(field.type, "object")
    for field in msgspec.structs.fields(Load)
}
SLICE_DTYPES = {
    field.name: {int: "int64", bool: "bool"}.get(field.type, "float64")
    for field in msgspec.structs.fields(Slice)
}
CELL = ["run", "experiment", "contender", *LOAD]
BLOCK = ["run", "experiment", "block", "repeat", *LOAD]  # what was measured together
PERCENTS = {"p50_ns": 50, "p90_ns": 90, "p99_ns": 99, "p99_9_ns": 99.9, "max_ns": 100}

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


def cells(source: Source, *, run: str = "") -> pd.DataFrame:
    """A row for each record, whatever its status; NaN where nothing was measured.

    `run` names the run where `source` is its records alone. `errors` counts failed requests and connections,
    `marks` holds the codes of the record's warnings, `due` how many requests an open loop's schedule had,
    `histogram` and `first_echo_histogram` the times for `merged`.
    """
    name, records = _read(source, run)
    columns = [*_RECORD, *_LOAD_RESULT.values(), *Samples.__struct_fields__]
    table = pd.DataFrame([_cell_row(name, record) for record in records], columns=columns)
    texts = {*_RECORD, "histogram", "first_echo_histogram"} - {"due"}
    numbers = [column for column in columns if column not in texts]
    return table.astype(
        {**dict.fromkeys(numbers, float), **LOAD_DTYPES, "repeat": "int64", "errors": "int64"}
    )


def slices(source: Source, *, run: str = "", warmup: bool = False) -> pd.DataFrame:
    """A row for each slice of a measured record; slices of the warm-up round only where asked for."""
    name, records = _read(source, run)
    measured = [(_owner(name, record), record.load.slices) for record in records if record.load is not None]
    owners = pd.DataFrame([owner for owner, _ in measured], columns=_OWNER)
    repeated = owners.loc[np.repeat(np.arange(len(measured)), [len(parts) for _, parts in measured])]
    figures = pd.DataFrame(
        [msgspec.structs.astuple(part) for _, parts in measured for part in parts],
        columns=list(Slice.__struct_fields__),
    )
    table = pd.concat([repeated.reset_index(drop=True), figures], axis="columns")
    table = table.astype({**LOAD_DTYPES, **SLICE_DTYPES, "repeat": "int64"})
    return table if warmup else table[~table["warmup"]].reset_index(drop=True)


def merged(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each measured cell of `cells`: all its repeats together.

    Requests and time are summed, percentiles taken from the added histograms; `reached` is requests over
    those that a schedule had; `marks` counts the repeats that carry each code.
    """
    measured = table[table["status"] == "measured"]
    rows = [(*key, *_merged_row(group)) for key, group in measured.groupby(CELL, sort=False, dropna=False)]
    figures = ["model", "implementation", "system", "repeats", "requests", "rate_per_s", *PERCENTS]
    figures += ["first_echo_p50_ns", "first_echo_p99_ns", "reached", "marks"]
    return pd.DataFrame(rows, columns=[*CELL, *figures]).astype(LOAD_DTYPES)


def _merged_row(group: pd.DataFrame) -> tuple[Any, ...]:
    response_time, first_echo_time = (
        Histogram.add(Histogram.decode(text) for text in group[name])
        for name in ("histogram", "first_echo_histogram")
    )
    due = group["due"].sum()
    requests, duration_s = group["requests"].sum(), group["duration_s"].sum()
    marked = {
        (repeat, code)
        for repeat, codes in zip(group["repeat"], group["marks"], strict=True)
        for code in codes
    }
    return (
        *group[["model", "implementation", "system"]].iloc[0],
        group["repeat"].nunique(),
        int(requests),
        requests / duration_s if duration_s else np.nan,
        *(
            np.nan if value is None else float(value)
            for value in (
                *response_time.percentiles([*PERCENTS.values()]),
                *first_echo_time.percentiles([50, 99]),
            )
        ),
        requests / due if due else np.nan,
        dict(sorted(Counter(code for _, code in marked).items())),
    )


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
        tuple(str(mark["code"]) for mark in record.warnings),
        float(record.load.open_loop.due) if record.load and record.load.open_loop else None,
        *(_load_figures(record.load) if record.load else _NO_FIGURES),
        *msgspec.structs.astuple(record.samples),
    )


def _cpu_list(cpus: list[int] | None) -> str:
    return "any" if cpus is None else ",".join(map(str, cpus))
