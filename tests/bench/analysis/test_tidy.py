"""Tables for notebooks: every record is in them, and columns and their types are always the same."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from bench.analysis import tidy
from bench.analysis.claims import judge
from bench.analysis.findings import find
from bench.analysis.histograms import Histogram
from bench.records.schema import Record, Samples, SeriesPoint
from bench.records.store import RunFolder

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]
FIRST = ["run", "experiment", "contender", "connections", "idle", "message_bytes", "depth", "offered_per_s"]
TABLES: dict[str, Callable[[list[RunFolder]], pd.DataFrame]] = {
    "cells": tidy.cells,
    "slices": tidy.slices,
    "series": tidy.series,
    "distributions": tidy.distributions,
    "ratios": lambda folders: tidy.ratios(find(folders)),
    "verdicts": lambda folders: tidy.verdicts(judge(find(folders))),
    "evidence": lambda folders: tidy.evidence(judge(find(folders))),
    "runs": tidy.runs,
}


def without_figures(record: Record, status: Any, reason: str) -> Record:
    nothing: dict[str, Any] = {"load": None, "server": None, "samples": Samples(), "warnings": []}
    return msgspec.structs.replace(record, status=status, reason=reason, **nothing)


def of_a_command(record: Record) -> Record:
    cell = msgspec.structs.replace(record.cell, contender="mine", model=None, implementation=None)
    return msgspec.structs.replace(record, cell=cell)


def with_series(record: Record, p50_ns: list[int | None]) -> Record:
    points = [
        SeriesPoint(
            t_s=0.1 * number,
            requests=100,
            in_flight=10,
            connections_open=10,
            connections_served=10,
            p50_ns=value,
            p99_ns=None,
        )
        for number, value in enumerate(p50_ns, 1)
    ]
    assert record.load is not None
    return msgspec.structs.replace(record, load=msgspec.structs.replace(record.load, series=points))


@pytest.fixture(scope="module")
def mixed(make_records: MakeRecords, make_run: MakeRun) -> RunFolder:
    """`epoll`, a command, and a contender that failed in the second repeat and had a mark in the first."""
    marks = {("poll", 10): [{"code": "steal"}, {"code": "foreign-load"}]}
    services = {"epoll": 4000, "select": 5000, "poll": 4500, "epoll:c": 3000}
    records = make_records(services, connections=(10, 100), repeats=2, rounds=4, marks=marks)
    records = [of_a_command(one) if one.cell.contender == "select" else one for one in records]
    records = [
        without_figures(one, "failed", "it ended") if (one.cell.contender, one.repeat) == ("poll", 2) else one
        for one in records
    ]
    records[0] = with_series(records[0], [120_000, None, 130_000])
    return make_run(records, contenders=["epoll", "mine", "poll"])


@pytest.fixture(scope="module")
def empty(make_run: MakeRun) -> RunFolder:
    """A run that was interrupted before its first block ended."""
    return make_run([], contenders=["epoll"], started_at="2026-11-24T00:00:00Z")


@pytest.fixture(scope="module")
def failed(make_records: MakeRecords, make_run: MakeRun) -> RunFolder:
    """A run of which nothing was measured."""
    records = make_records({"epoll": 4000, "poll": 5000}, connections=(10,), repeats=2)
    records = [without_figures(one, "failed", "it ended") for one in records]
    return make_run(records, started_at="2026-11-25T00:00:00Z")


def test_cells_have_a_row_for_each_record(mixed: RunFolder) -> None:
    table, records = tidy.cells([mixed]), mixed.records()
    assert table[["contender", "repeat", "status"]].to_numpy().tolist() == [
        [record.cell.contender, record.repeat, record.status] for record in records
    ]
    first = records[0].load
    assert first is not None
    assert table.loc[0, "response_time_p99_ns"] == first.response_time.p99_ns
    assert table.loc[0, "requests"] == first.requests
    assert table.loc[0, "connections"] == 10
    assert table["started_at"].dt.tz is not None
    assert table["started_at"].iloc[0].isoformat() == "2026-11-23T14:01:10+00:00"
    assert list(table)[: len(FIRST)] == FIRST
    assert not [name for name in table if "histogram" in name or name == "block"]


def test_what_has_no_value_is_missing(mixed: RunFolder) -> None:
    table = tidy.cells([mixed])
    assert table.loc[table["contender"] == "mine", ["model", "implementation"]].isna().all(axis=None)
    assert table.loc[table["contender"] != "mine", ["model", "implementation"]].notna().all(axis=None)
    failed = table[table["status"] == "failed"]
    assert failed["reason"].tolist() == ["it ended"] * 2
    assert failed[["rate_per_s", "response_time_p50_ns", "server_busy"]].isna().all(axis=None)
    assert table.loc[table["status"] == "measured", "reason"].isna().all()


def test_marks_are_words(mixed: RunFolder) -> None:
    table = tidy.cells([mixed])
    marked = table[(table["contender"] == "poll") & (table["connections"] == 10)]
    assert marked["marks"].tolist() == ["steal foreign-load", ""]


def test_slices_are_those_of_the_measured_rounds(mixed: RunFolder) -> None:
    table = tidy.slices([mixed])
    cells = tidy.cells([mixed])
    assert len(table) == 3 * (cells["status"] == "measured").sum()
    assert set(table["round"]) == {1, 2, 3}
    assert not table["warmup"].any()
    assert len(tidy.slices([mixed], warmup=True)) == 4 * (cells["status"] == "measured").sum()
    first = mixed.records()[0].load
    assert first is not None
    assert table.loc[0, "response_time_p50_ns"] == first.slices[1].p50_ns
    assert table.loc[table["contender"] == "mine", "model"].isna().all()


def test_slices_of_a_round_can_be_compared(mixed: RunFolder) -> None:
    """What a notebook would do: one column a contender, one row what met the same machine."""
    table = tidy.slices([mixed])
    rounds = table.pivot_table(
        index=["connections", "repeat", "round"], columns="contender", values="rate_per_s"
    )
    assert rounds.shape == (2 * 2 * 3, 4)
    assert (rounds["mine"] / rounds["epoll"]).loc[100].median() == pytest.approx(4 / 5, abs=0.05)


def test_series_have_a_row_for_each_point(mixed: RunFolder) -> None:
    table = tidy.series([mixed])
    assert table["t_s"].tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert set(table["contender"]) == {"epoll"}
    assert table["repeat"].tolist() == [1, 1, 1]
    assert table["response_time_p50_ns"].fillna(0).tolist() == [120_000, 0, 130_000]


def test_distributions_are_of_all_repeats(mixed: RunFolder) -> None:
    table = tidy.distributions([mixed])
    own = table[(table["contender"] == "epoll") & (table["connections"] == 100)]
    encoded = [
        record.load.response_time.histogram
        for record in mixed.records()
        if record.load and (record.cell.contender, record.cell.load.connections) == ("epoll", 100)
    ]
    every = Histogram.add(map(Histogram.decode, encoded))
    assert len(encoded) == 2
    assert own["count"].sum() == every.count
    assert own["response_time_ns"].is_monotonic_increasing
    median = own.loc[own["share"] >= 0.5, "response_time_ns"].iloc[0]
    assert median == every.percentiles([50])[0]
    assert own["share"].iloc[-1] == 1


def test_ratios_say_what_they_are_to_and_what_speaks_against_them(mixed: RunFolder) -> None:
    table = tidy.ratios(find([mixed]))
    assert set(table["reference"]) == {"epoll"}
    assert {"rate_per_s", "response_time_p50_ns", "response_time_p99_ns"} <= set(table["quantity"])
    own = table.query("contender == 'mine' and connections == 100 and quantity == 'response_time_p50_ns'")
    assert own["ratio"].item() == pytest.approx(5 / 4, abs=0.06)
    assert own["low"].item() < own["ratio"].item() < own["high"].item()
    assert own["disqualified"].item() == ""
    assert own["repeats"].item() == 2


def test_a_disqualifying_mark_stands_beside_the_ratio(make_records: MakeRecords, make_run: MakeRun) -> None:
    marks = {("select", 10): [{"code": "generator-bound"}]}
    records = make_records({"epoll": 4000, "select": 5000}, connections=(10, 100), repeats=2, marks=marks)
    table = tidy.ratios(find([make_run(records)]))
    marked = table[table["disqualified"] == "generator-bound"]
    assert set(zip(marked["contender"], marked["connections"], strict=True)) == {("select", 10)}
    assert (table["disqualified"] == "").sum() == len(table) - len(marked)


def test_evidence_is_a_row_for_each_figure_of_a_verdict(make_records: MakeRecords, make_run: MakeRun) -> None:
    run = make_run(make_records(repeats=3))
    suite = run.run.suite
    suite["experiment"][0]["claims"] = ["C1", "C2"]  # type: ignore[index]
    found = judge(find([run]))
    verdicts, evidence = tidy.verdicts(found), tidy.evidence(found)
    assert verdicts["claim"].tolist() == ["C1", "C2"]
    assert verdicts["verdict"].tolist() == [one.verdict.value for one in found]
    assert evidence["claim"].value_counts().to_dict() == {
        one.claim: len(one.evidence) for one in found if one.evidence
    }


@pytest.mark.parametrize("name", TABLES)
def test_columns_and_types_do_not_depend_on_what_was_measured(
    name: str, mixed: RunFolder, empty: RunFolder, failed: RunFolder
) -> None:
    expected = TABLES[name]([mixed])
    for folders in ([empty], [failed], [mixed, empty, failed], [empty, mixed]):
        table = TABLES[name](folders)
        assert table.dtypes.to_dict() == expected.dtypes.to_dict()
        assert list(table) == list(expected)


def test_types_are_those_that_are_documented(mixed: RunFolder) -> None:
    for table in (tidy.cells([mixed]), tidy.slices([mixed]), tidy.ratios(find([mixed]))):
        dtypes = table.dtypes
        texts = [name for name in ("run", "contender", "model", "options", "wait", "marks") if name in table]
        assert {str(dtypes[name]) for name in texts} == {str(tidy.TEXT)}
        assert {str(dtypes[name]) for name in ("connections", "idle", "message_bytes")} == {"int64"}
        assert str(dtypes["offered_per_s"]) == "float64"
        figures = [name for name in table if str(name).endswith(("_ns", "_s", "ratio", "_share"))]
        assert {str(dtypes[name]) for name in figures} == {"float64"}


def test_a_run_without_records_has_no_rows(empty: RunFolder, mixed: RunFolder) -> None:
    for name in ("cells", "slices", "series", "distributions", "ratios"):
        assert TABLES[name]([empty]).empty
        assert len(TABLES[name]([mixed, empty])) == len(TABLES[name]([mixed]))


def test_what_failed_is_in_cells_and_nowhere_else(failed: RunFolder) -> None:
    assert tidy.cells([failed])["status"].tolist() == ["failed"] * 4
    for name in ("slices", "series", "distributions", "ratios"):
        assert TABLES[name]([failed]).empty


def test_several_runs_keep_their_names(mixed: RunFolder, failed: RunFolder) -> None:
    table = tidy.cells([mixed, failed])
    assert table["run"].value_counts().to_dict() == {mixed.path.name: 16, failed.path.name: 4}


def test_runs_say_how_many_records_they_have(mixed: RunFolder, empty: RunFolder) -> None:
    table = tidy.runs([mixed, empty])
    assert table["records"].tolist() == [16, 0]
    assert table["status"].tolist() == ["finished"] * 2
    assert table["path"].tolist() == [str(mixed.path), str(empty.path)]
    assert np.issubdtype(table["started_at"].dt.tz_convert(None).dtype, np.datetime64)
