"""Tables for people: what a notebook or another program gets, units in the names of the columns.

`cells`, `slices`, `series` and `distributions` begin with the same columns, by which they can be joined:

- `run`, `experiment`, `contender`, `model`, `implementation`, `options` (`threads=2`; empty where it has
  none): text. A command has no model: then model and implementation are missing.
- a load's fields, `connections` to `generator_processes`: integers; `offered_per_s` and `newcomers_per_s`
  are floats, `arrivals`, `close` and `wait` text.
- `repeat`: integer, from 1. Not in `distributions`, which are of all repeats together.

All figures are float64, so what wasn't measured is NaN. Times are in nanoseconds and sizes in bytes.
"""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import pandas as pd

from bench.analysis import frames
from bench.analysis.frames import CELL, LOAD
from bench.analysis.histograms import Histogram
from bench.records.schema import SeriesPoint
from bench.records.store import RunFolder

OWNER = ["run", "experiment", "contender", "model", "implementation", "options", *LOAD]
_NAMES = {
    "p50_ns": "response_time_p50_ns",
    "p90_ns": "response_time_p90_ns",
    "p99_ns": "response_time_p99_ns",
    "p99_9_ns": "response_time_p99_9_ns",
    "max_ns": "response_time_max_ns",
    "mean_ns": "response_time_mean_ns",
    "first_echo_p50_ns": "first_echo_time_p50_ns",
}
_POINT = list(SeriesPoint.__struct_fields__)
_TEXT = ["run", "experiment", "contender", "model", "implementation", "options"]


def cells(folders: Sequence[RunFolder]) -> pd.DataFrame:
    """One row a cell and repeat, whatever came of it.

    Beside the columns above: `status` (measured, unavailable, refused, failed), `reason`, `system`,
    `server_cpus`, `generator_cpus`, `marks` (codes, separated by spaces): text; `started_at`: datetime64,
    UTC; `errors`: integer; figures from `requests` to `steal_share`, those of `docs/results-format.md`.
    """
    table = _all(frames.cells(folder) for folder in folders).rename(columns=_NAMES)
    table["marks"] = table["marks"].map(" ".join).astype("str")
    table["started_at"] = pd.to_datetime(table["started_at"], utc=True, format="ISO8601", errors="coerce")
    encoded = [name for name in table if str(name).endswith("histogram")]
    others = [name for name in table if name not in {*OWNER, "repeat", "block", *encoded}]
    return table[[*OWNER, "repeat", *others]].astype({"errors": "int64"})


def slices(folders: Sequence[RunFolder], *, warmup: bool = False) -> pd.DataFrame:
    """One row a slice, those of the warm-up round only where asked for.

    Beside the columns above `round`, integer, and the figures of a slice.
    """
    table = _all(frames.slices(folder, warmup=warmup) for folder in folders).rename(columns=_NAMES)
    known = {*OWNER, "repeat", "block", "response_time_p50_ns"}
    others = [str(name) for name in table if name not in known]
    return table[[*OWNER, "repeat", *_first(others, "round"), "response_time_p50_ns"]]


def series(folders: Sequence[RunFolder]) -> pd.DataFrame:
    """What happened over time: one row for each 0.1 s of load of a cell and repeat.

    Beside the columns above `t_s`, at the interval's end, `requests`, `in_flight`, `connections_open`,
    `connections_served`, `p50_ns`, `p99_ns`.
    """
    parts = []
    for folder in folders:
        records = folder.records()
        own = frames.cells(records, run=folder.path.name)[[*OWNER, "repeat"]]
        points = [record.load.series if record.load else [] for record in records]
        # One array of floats, in which None becomes NaN.
        values = np.array([msgspec.structs.astuple(one) for part in points for one in part], dtype=float)
        figures = pd.DataFrame(values.reshape(-1, len(_POINT)), columns=_POINT)
        owner = np.repeat(np.arange(len(points)), np.array([len(part) for part in points], dtype=np.int64))
        parts.append(own.iloc[owner].reset_index(drop=True).join(figures))
    return _all(parts)


def distributions(folders: Sequence[RunFolder]) -> pd.DataFrame:
    """The distribution of response times of each measured cell, all its repeats together: one row a bucket.

    Beside the columns above `value_ns`, the largest value that the bucket stands for, `count`, integer, and
    `share`: of all requests, those that took at most so long.
    """
    parts = []
    for folder in folders:
        table = frames.cells(folder)
        measured = table[table["status"] == "measured"]
        for _, group in measured.groupby(CELL, sort=False, dropna=False):
            histogram, _ = Histogram.sum_of(group["histogram"].tolist())
            buckets = histogram.buckets()
            counts = buckets["count"]
            buckets["share"] = counts.cumsum() / counts.sum()
            own = group[OWNER].iloc[[0] * len(buckets)].reset_index(drop=True)
            parts.append(own.join(buckets))
    return _all(parts) if parts else pd.DataFrame(columns=[*OWNER, "value_ns", "count", "share"])


def _all(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    table = frames.together(list(parts))
    return table.astype({name: "str" for name in _TEXT if name in table and table[name].notna().all()})


def _first(names: Sequence[str], name: str) -> list[str]:
    return [name, *(one for one in names if one != name)]
