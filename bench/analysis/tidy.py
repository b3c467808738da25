"""Tables for people: what a notebook or another program gets, units in the names of the columns.

`cells`, `slices`, `series`, `distributions` and `ratios` begin with the same columns, by which they can be
joined and grouped (KEY):

- `run`, `experiment`, `contender`: text.
- a load's fields, `connections` to `generator_processes`: int64; `offered_per_s` and `newcomers_per_s` are
  float64, `arrivals`, `close` and `wait` text.

Text is of the type that pandas reads text as (`TEXT`), `str` from pandas 3 on and object before; figures are
float64, so what wasn't measured is NaN; counts that always are there are int64. Times are in nanoseconds and
sizes in bytes. A table of nothing has all its columns, and their types.
"""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import pandas as pd

from bench.analysis import frames
from bench.analysis.claims import Evidence, Judgement
from bench.analysis.findings import Findings
from bench.analysis.frames import CELL, LOAD_DTYPES
from bench.analysis.histograms import Histogram
from bench.records.schema import Record, SeriesPoint
from bench.records.store import RunFolder

KEY = CELL
TEXT = pd.Series(["text"]).dtype
RESPONSE_TIMES = {
    "p50_ns": "response_time_p50_ns",
    "p90_ns": "response_time_p90_ns",
    "p99_ns": "response_time_p99_ns",
    "p99_9_ns": "response_time_p99_9_ns",
    "max_ns": "response_time_max_ns",
    "mean_ns": "response_time_mean_ns",
    "first_echo_p50_ns": "first_echo_time_p50_ns",
}

_POINT = list(SeriesPoint.__struct_fields__)
_KIND = ["model", "implementation", "options"]  # of a contender
_TEXTS = ["run", "experiment", "contender", *_KIND, "status", "reason", "system", "server_cpus"]
_TEXTS += [
    "generator_cpus",
    "marks",
    "reference",
    "quantity",
    "disqualified",
    "claim",
    "statement",
    "verdict",
]
_TEXTS += ["scope", "why", "rule", "what", "unit", "note"]
_TEXTS += [name for name, dtype in LOAD_DTYPES.items() if dtype == "object"]
_COUNTS = ["repeat", "round", "errors", "count", "repeats"]
_TRUTHS = ["warmup", "uneven", "decides"]
_INTEGERS = {*_COUNTS, *(name for name, dtype in LOAD_DTYPES.items() if dtype == "int64")}
_RATIOS = ["ratio", "low", "high", "totals_ratio", "totals_low", "totals_high"]


def cells(folders: Sequence[RunFolder]) -> pd.DataFrame:
    """One row a cell and repeat, whatever came of it.

    After KEY: `repeat`, from 1; `model` and `implementation`, missing where the contender is a command;
    `options` (`threads=2`; empty where it has none); `status` (measured, unavailable, refused, failed),
    `reason`, `system`, `server_cpus`, `generator_cpus`, `marks` (codes, separated by spaces): text;
    `started_at`: datetime64, UTC; `errors`: int64; the figures from `due` to `steal_share`, which
    docs/results-format.md explains, and `slowest_share`: the slowest connection's requests over an even part.
    """
    table = _all(frames.cells(folder) for folder in folders).rename(columns=RESPONSE_TIMES)
    table["marks"] = table["marks"].map(" ".join)
    table["started_at"] = pd.to_datetime(
        table["started_at"], utc=True, format="ISO8601", errors="coerce"
    ).dt.as_unit("us")
    encoded = [str(name) for name in table if str(name).endswith("histogram")]
    first = [*KEY, "repeat", *_KIND, "status", "reason", "started_at", "system"]
    return _typed(_ordered(table, first, without=["block", *encoded]), others=["started_at"])


def slices(folders: Sequence[RunFolder], *, warmup: bool = False) -> pd.DataFrame:
    """One row a slice of load; those of the warm-up round, where `warmup` is true, only when asked for.

    After KEY: `repeat`, `round`, the contender's `model`, `implementation` and `options`, then the figures of
    a slice. Rows of the same run, experiment, load, repeat and round met the same machine.
    """
    table = _all(frames.slices(folder, warmup=warmup) for folder in folders).rename(columns=RESPONSE_TIMES)
    return _typed(_ordered(table, [*KEY, "repeat", "round", *_KIND], without=["block"]))


def series(folders: Sequence[RunFolder]) -> pd.DataFrame:
    """What happened over time: one row for each 0.1 s of load of a cell and repeat.

    After KEY: `repeat`, `t_s` at the interval's end, `requests`, `in_flight`, `connections_open`,
    `connections_served`, `response_time_p50_ns`, `response_time_p99_ns`.
    """
    parts = [_series(folder.path.name, folder.records()) for folder in folders]
    return _typed(_all(parts).rename(columns=RESPONSE_TIMES))


def distributions(folders: Sequence[RunFolder]) -> pd.DataFrame:
    """The distribution of response times of each measured cell, all its repeats together: one row a bucket.

    After KEY: `response_time_ns`, the longest that the bucket stands for, `count`, int64, and `share`: of all
    requests, those that took at most so long.
    """
    columns = [*KEY, "response_time_ns", "count", "share"]
    parts = [pd.DataFrame(columns=columns)]
    for folder in folders:
        table = frames.cells(folder)
        measured = table[table["status"] == "measured"]
        for _, group in measured.groupby(CELL, sort=False):
            histogram, _ = Histogram.sum_of(group["histogram"].tolist())
            buckets = histogram.buckets()
            buckets = buckets.rename(columns={"value_ns": "response_time_ns"})
            buckets["share"] = buckets["count"].cumsum() / buckets["count"].sum()
            own = group[KEY].iloc[[0] * len(buckets)].reset_index(drop=True)
            parts.append(own.join(buckets))
    return _typed(_all(parts))


def ratios(found: Findings) -> pd.DataFrame:
    """Each contender's ratio to its experiment's reference, for each load and quantity.

    After KEY: `reference`, `quantity` (`rate_per_s`, `response_time_p50_ns`, `response_time_p99_ns`,
    `first_echo_time_p50_ns`), `repeats`, `ratio` with the ends of its 95 % interval, `low` and `high`, the
    same of the totals, and `uneven`, where the two disagree: see `bench.analysis.ratios.ratios`.
    `disqualified` has the marks for which neither side's figure may be used, empty where there is none.
    """
    references = {
        (run, experiment.name): experiment.reference
        for run, suite in found.suites.items()
        for experiment in suite.experiment
    }
    table = found.ratios.copy()
    table["quantity"] = table["quantity"].replace(RESPONSE_TIMES)
    table["reference"] = [references[key] for key in zip(table["run"], table["experiment"], strict=True)]
    marks = {
        key: " ".join(codes)
        for key, codes in zip(_keys(found.table), found.table["disqualified"], strict=True)
    }
    table["disqualified"] = [marks.get(key, "") for key in _keys(table)]
    return _typed(_ordered(table, [*KEY, "reference", "quantity", "repeats", *_RATIOS]))


def verdicts(judgements: Sequence[Judgement]) -> pd.DataFrame:
    """One row a claim: `claim`, `statement`, `verdict`, `scope`, `why`, `rule`, all text."""
    rows = [
        (one.claim, one.statement, one.verdict.value, one.scope, "; ".join(one.reasons), one.rule)
        for one in judgements
    ]
    return _typed(pd.DataFrame(rows, columns=["claim", "statement", "verdict", "scope", "why", "rule"]))


def evidence(judgements: Sequence[Judgement]) -> pd.DataFrame:
    """One row a figure that a verdict rests on, or that is shown beside it.

    `claim`, then the fields of `Evidence`: `run`, `what`, `quantity`, `unit`, `note`: text; `value` and the
    ends of its 95 % interval, `low` and `high`; `repeats`: int64; `decides`: bool.
    """
    columns = ["claim", *Evidence.__struct_fields__]
    rows = [(one.claim, *msgspec.structs.astuple(figure)) for one in judgements for figure in one.evidence]
    return _typed(pd.DataFrame(rows, columns=columns))


def runs(folders: Sequence[RunFolder]) -> pd.DataFrame:
    """One row a run: `run`, `status`, `title`, `path`, text; `started_at`, in UTC; `records`, int64."""
    rows = [
        (
            *(one.path.name, one.run.status, one.run.started_at, str(one.run.suite.get("title", ""))),
            *(len(one.records()), str(one.path)),
        )
        for one in folders
    ]
    table = pd.DataFrame(rows, columns=["run", "status", "started_at", "title", "records", "path"])
    table["started_at"] = pd.to_datetime(
        table["started_at"], utc=True, format="ISO8601", errors="coerce"
    ).dt.as_unit("us")
    return table.astype({"run": TEXT, "status": TEXT, "title": TEXT, "path": TEXT, "records": "int64"})


def _series(run: str, records: Sequence[Record]) -> pd.DataFrame:
    owners = frames.cells(records, run=run)[[*KEY, "repeat"]]
    points = [record.load.series if record.load else [] for record in records]
    # One array of floats, in which None becomes NaN.
    values = np.array([msgspec.structs.astuple(one) for own in points for one in own], dtype=float)
    figures = pd.DataFrame(values.reshape(-1, len(_POINT)), columns=_POINT)
    owner = np.repeat(np.arange(len(points)), np.array([len(own) for own in points], dtype=np.int64))
    return owners.iloc[owner].reset_index(drop=True).join(figures)


def _all(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    return frames.together(list(parts))


def _ordered(table: pd.DataFrame, first: Sequence[str], without: Sequence[str] = ()) -> pd.DataFrame:
    return table[[*first, *(name for name in table if name not in {*first, *without})]]


def _typed(table: pd.DataFrame, others: Sequence[str] = ()) -> pd.DataFrame:
    """The table with the types that its columns' names stand for; figures, where they stand for no other."""
    texts = dict.fromkeys(_TEXTS, TEXT)
    kinds = texts | dict.fromkeys(_INTEGERS, "int64") | dict.fromkeys(_TRUTHS, "bool")
    return table.astype({name: kinds.get(str(name), "float64") for name in table if name not in others})


def _keys(table: pd.DataFrame) -> list[tuple[object, ...]]:
    return list(table[KEY].itertuples(index=False, name=None))
