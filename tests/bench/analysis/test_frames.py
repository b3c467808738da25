"""Tables hold every record, and percentiles of several repeats come from all their requests."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from bench.analysis import frames
from bench.analysis.histograms import Histogram
from bench.records.schema import Record


def without_figures(record: Record, status: Any, reason: str) -> Record:
    return msgspec.structs.replace(record, status=status, reason=reason, load=None, server=None, warnings=[])


def test_every_record_has_a_row(make_records: Callable[..., list[Record]]) -> None:
    records = make_records({"epoll": 4000, "select": 4000}, connections=(10,), repeats=2)
    records[1] = without_figures(records[1], "failed", "it ended")
    table = frames.cells(records, run="mine")
    assert table["status"].tolist() == ["measured", "failed", "measured", "measured"]
    assert table["reason"].tolist()[1] == "it ended"
    assert np.isnan(table.loc[1, "p50_ns"])
    assert table.loc[0, "requests"] == records[0].load.requests  # type: ignore[union-attr]
    assert table.loc[0, "server_busy"] == 0.98
    assert set(table["run"]) == {"mine"}
    assert table["connections"].tolist() == [10] * 4


def test_slices_leave_the_warm_up_round_out(make_records: Callable[..., list[Record]]) -> None:
    records = make_records({"epoll": 4000}, connections=(1, 10), repeats=2, rounds=4)
    assert len(frames.slices(records)) == 2 * 2 * 3
    table = frames.slices(records, warmup=True)
    assert len(table) == 2 * 2 * 4
    assert table.groupby("connections")["round"].apply(list).tolist() == [[0, 1, 2, 3] * 2] * 2


def test_merged_percentiles_are_of_all_requests(make_records: Callable[..., list[Record]]) -> None:
    slow, fast = (
        make_records({"a": 9000}, connections=(100,), repeats=1),
        make_records({"a": 3000}, connections=(100,), repeats=1),
    )
    records = [*slow, *(msgspec.structs.replace(record, repeat=2) for record in fast)]
    row = frames.merged(frames.cells(records)).iloc[0]
    every = Histogram.add(
        Histogram.decode(record.load.response_time.histogram) for record in records if record.load
    )
    assert [row["p50_ns"], row["p99_ns"]] == every.percentiles([50, 99])
    averaged = np.mean([record.load.response_time.p50_ns for record in records if record.load])
    assert abs(row["p50_ns"] / averaged - 1) > 0.2
    requests, duration_s = (
        sum(getattr(record.load, name) for record in records) for name in ("requests", "duration_s")
    )
    assert row["rate_per_s"] == pytest.approx(requests / duration_s)
    assert (row["repeats"], row["requests"]) == (2, requests)


def test_marks_count_the_repeats_that_have_them(make_records: Callable[..., list[Record]]) -> None:
    records = make_records({"a": 4000}, connections=(10,), repeats=3)
    records[1] = msgspec.structs.replace(records[1], warnings=[{"code": "steal", "share": 0.1}])
    assert frames.merged(frames.cells(records)).loc[0, "marks"] == {"steal": 1}


def test_no_records_make_empty_tables() -> None:
    assert frames.cells([]).empty
    assert frames.slices([]).empty
    assert isinstance(frames.merged(frames.cells([])), pd.DataFrame)


def test_fairness_is_of_connections_that_stay(make_records: Callable[..., list[Record]]) -> None:
    (record,) = make_records({"a": 4000}, connections=(10,), repeats=1)
    assert record.load is not None
    counts = msgspec.structs.replace(record.load.requests_per_connection, min=record.load.requests // 40)
    load = msgspec.structs.replace(record.load, requests_per_connection=counts, fairness=0.9)
    uneven = msgspec.structs.replace(record, load=load)
    row = frames.merged(frames.cells([uneven, msgspec.structs.replace(record, repeat=2)])).iloc[0]
    assert row["slowest_share"] == pytest.approx((0.25 + 1) / 2, abs=0.01)
    assert row["fairness"] == pytest.approx((0.9 + 1) / 2)
    assert row["server_cpu_ns_per_request"] == 4000
    churning = msgspec.structs.replace(record.cell.load, requests_per_connection=5)
    cell = msgspec.structs.replace(record.cell, load=churning)
    row = frames.merged(frames.cells([msgspec.structs.replace(uneven, cell=cell)])).iloc[0]
    assert row[["fairness", "slowest_share"]].isna().all()
