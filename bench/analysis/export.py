"""Records for other programs: tables as CSV or Parquet, distributions as HdrHistogram's tools read them.

`cells` has a row for each record, `slices` one for each slice; their columns are those of
`bench.analysis.frames`. A distribution is of a cell, all repeats together, in the text form that HdrHistogram
calls percentile distribution and its plotter reads (`.hgrm`), in microseconds.

Source: HdrHistogram, AbstractHistogram.outputPercentileDistribution.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from bench.analysis import frames
from bench.analysis.frames import CELL, LOAD
from bench.analysis.histograms import Histogram
from bench.records.store import RunFolder

Format = Literal["csv", "parquet", "hgrm"]
FORMATS: tuple[Format, ...] = ("csv", "parquet", "hgrm")
NS_PER_US = 1000
SUB_BUCKETS = 2048  # of three digits


def write(folders: Sequence[RunFolder], form: Format, out: Path) -> list[Path]:
    """Write the runs into folder `out`, all into the same tables; the files' paths.

    A distribution is of those repeats whose histograms can be read.
    Raises ImportError where Parquet is asked for and pyarrow isn't there.
    """
    out.mkdir(parents=True, exist_ok=True)
    cells = frames.together([frames.cells(folder) for folder in folders])
    if form == "hgrm":
        return list(_distributions(cells, out))
    tables = {
        "cells": cells,
        "slices": frames.together([frames.slices(folder) for folder in folders]),
    }
    return [_table(table, out / f"{name}.{form}") for name, table in tables.items()]


def _table(table: pd.DataFrame, path: Path) -> Path:
    """Marks as words with spaces between; CSV is without the encoded distributions."""
    if "marks" in table:
        table = table.assign(marks=table["marks"].map(" ".join))
    if path.suffix == ".csv":
        encoded = [name for name in table if str(name).endswith("histogram")]
        table.drop(columns=encoded).to_csv(path, index=False)
    else:
        table.to_parquet(path, index=False)
    return path


def _distributions(cells: pd.DataFrame, out: Path) -> Iterator[Path]:
    measured = cells[(cells["status"] == "measured") & cells["histogram"].notna()]
    varied = [name for name in LOAD if name == "connections" or measured[name].nunique() > 1]
    several_runs = measured["run"].nunique() > 1
    for _, group in measured.groupby(CELL, sort=False):
        row = group.iloc[0]
        parts = [*([row["run"]] if several_runs else []), row["experiment"], row["contender"]]
        parts += [f"{row[name]}-{name}" for name in varied]
        path = out / (re.sub(r"[^A-Za-z0-9_.-]+", ".", "-".join(map(str, parts))) + ".hgrm")
        histogram, unread = Histogram.sum_of(group["histogram"].tolist())
        if len(unread) == len(group):
            continue
        path.write_text(percentile_distribution(histogram))
        yield path


def percentile_distribution(histogram: Histogram) -> str:
    """The text form of a distribution of nanoseconds, in microseconds."""
    lines = [f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}", ""]
    for value, percent, below in histogram.steps():
        line = f"{value / NS_PER_US:12.3f} {percent / 100:2.12f} {below:10d}"
        lines.append(line if percent == 100 else f"{line} {1 / (1 - percent / 100):14.2f}")
    mean, deviation = histogram.mean_and_deviation()
    (highest,) = histogram.percentiles([100])
    lines += [
        f"#[Mean    = {mean / NS_PER_US:12.3f}, StdDeviation   = {deviation / NS_PER_US:12.3f}]",
        f"#[Max     = {(highest or 0) / NS_PER_US:12.3f}, TotalCount     = {histogram.count:12d}]",
        f"#[Buckets = {_buckets(histogram):12d}, SubBuckets     = {SUB_BUCKETS:12d}]",
    ]
    return "\n".join(lines) + "\n"


def _buckets(histogram: Histogram) -> int:
    """How many times the range of values doubles."""
    return max(1, (histogram.layout.highest // SUB_BUCKETS).bit_length() + 1)
