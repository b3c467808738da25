"""Which contenders are twins, and what Python costs over C where the truth is known."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from bench.analysis import frames
from bench.analysis.interpreter_tax import QUANTITIES, Twins, taxes, twins
from bench.records.schema import Record

MakeRecords = Callable[..., list[Record]]
FOUR = {"epoll": 4800, "epoll:c": 3200, "threads": 9000, "threads:c": 4500}
CPU = "server_cpu_ns_per_request"


def with_ready(record: Record, **fields: Any) -> Record:
    assert record.server is not None
    assert record.server.ready is not None
    ready = msgspec.structs.replace(record.server.ready, **fields)
    return msgspec.structs.replace(record, server=msgspec.structs.replace(record.server, ready=ready))


def with_slices(record: Record, change: Callable[[Any], Any]) -> Record:
    assert record.load is not None
    load = msgspec.structs.replace(record.load, slices=[change(one) for one in record.load.slices])
    return msgspec.structs.replace(record, load=load)


def tax_table(records: Sequence[Record], pairs: Sequence[Twins] | None = None) -> pd.DataFrame:
    found = twins(records) if pairs is None else pairs
    table = taxes(frames.cells(records), frames.slices(records), found)
    return table.set_index(["contender", "connections", "quantity"])


def test_twins_differ_in_the_implementation_alone(make_records: MakeRecords) -> None:
    records = make_records(FOUR, connections=(10,), repeats=1)
    pairs = [Twins("connections", name, f"{name}:c") for name in ("epoll", "threads")]
    assert twins(records) == pairs
    for fields in (
        {"options": {"trigger": "edge"}},
        {"system": "windows-wine"},
        {"model": "poll"},
    ):
        others = [with_ready(one, **fields) if one.cell.contender == "epoll" else one for one in records]
        assert twins(others) == pairs[1:]
    both = [with_ready(one, options={"trigger": "edge"}) for one in records]
    assert twins(both) == pairs


def test_the_twin_is_under_the_same_python_where_there_is_one(make_records: MakeRecords) -> None:
    """The yardstick stays under ours: while it serves it runs no Python."""
    records = make_records({"epoll:c": 3200, "epoll": 4800}, connections=(10,), repeats=1)
    newer = {"interpreter": "CPython 3.14.1", "gil": False}
    python = [with_ready(one, **newer) if one.cell.contender == "epoll" else one for one in records]
    assert twins(python) == [Twins("connections", "epoll", "epoll:c")]
    yardstick = next(one for one in records if one.cell.contender == "epoll:c")
    cell = msgspec.structs.replace(yardstick.cell, contender="beside:c")
    beside = with_ready(msgspec.structs.replace(yardstick, cell=cell), **newer)
    assert twins([*python, beside]) == [Twins("connections", "epoll", "beside:c")]


def test_only_what_was_measured_in_the_same_experiment_is_a_twin(make_records: MakeRecords) -> None:
    records = make_records(FOUR, connections=(10,), repeats=1)
    unmeasured = [
        msgspec.structs.replace(one, status="failed", load=None) if one.cell.contender == "epoll:c" else one
        for one in records
    ]
    elsewhere = [
        msgspec.structs.replace(one, cell=msgspec.structs.replace(one.cell, experiment="other"))
        if one.cell.contender == "epoll:c"
        else one
        for one in records
    ]
    for others in (unmeasured, elsewhere):
        assert twins(others) == [Twins("connections", "threads", "threads:c")]
    assert twins([one for one in records if one.cell.implementation == "python"]) == []


def test_several_of_a_kind_share_a_twin(make_records: MakeRecords) -> None:
    records = make_records({"epoll": 4000, "epoll:c": 3000}, connections=(10,), repeats=1)
    second = [
        msgspec.structs.replace(one, cell=msgspec.structs.replace(one.cell, contender="again"))
        for one in records
        if one.cell.contender == "epoll"
    ]
    assert [(one.contender, one.twin) for one in twins([*records, *second])] == [
        ("epoll", "epoll:c"),
        ("again", "epoll:c"),
    ]


def test_the_truth_is_found_for_every_pair_at_once(make_records: MakeRecords) -> None:
    table = tax_table(make_records(FOUR, connections=(100, 1000), repeats=8))
    assert len(table) == 2 * 2 * len(QUANTITIES)
    for name, truth in (("epoll", 1.5), ("threads", 2.0)):
        for connections in (100, 1000):
            for quantity, expected in (("p50_ns", truth), ("rate_per_s", 1 / truth), (CPU, truth)):
                row = table.loc[(name, connections, quantity)]
                assert row["twin"] == f"{name}:c"
                assert row["experiment"] == "connections"
                assert row["repeats"] == 8
                assert row["ratio"] == pytest.approx(expected, rel=0.06)
                assert row["low"] <= row["ratio"] <= row["high"]
                assert row["high"] / row["low"] < 1.15


def test_cpu_time_is_compared_within_the_round_where_each_slices_is_known(make_records: MakeRecords) -> None:
    """The machine is up to twice as slow in a round, for both: only ratios of slices can't see it."""
    rng = np.random.default_rng(5)
    slowness = {(repeat, number): rng.uniform(1, 2) for repeat in range(1, 6) for number in range(6)}

    def used(record: Record) -> Record:
        def change(one: Any) -> Any:
            ns = FOUR[record.cell.contender] * slowness[record.repeat, one.round]
            return msgspec.structs.replace(one, server_cpu_s=one.requests_total * ns / 1e9)

        samples = msgspec.structs.replace(record.samples, server_cpu_ns_per_request=1.0)
        return msgspec.structs.replace(with_slices(record, change), samples=samples)

    table = tax_table([used(one) for one in make_records(FOUR, connections=(100,))])
    for name, truth in (("epoll", 1.5), ("threads", 2.0)):
        row = table.loc[(name, 100, CPU)]
        assert row["ratio"] == pytest.approx(truth, rel=1e-6)
        assert row["high"] / row["low"] == pytest.approx(1, abs=1e-6)


def test_a_slice_without_a_request_is_borne(make_records: MakeRecords) -> None:
    def change(one: Any) -> Any:
        requests = 0 if one.round == 3 else one.requests_total
        return msgspec.structs.replace(one, requests_total=requests, server_cpu_s=requests * 4e-6)

    records = [with_slices(one, change) for one in make_records(FOUR, connections=(100,))]
    row = tax_table(records).loc[("epoll", 100, CPU)]
    assert row["ratio"] == pytest.approx(1)


def test_without_cpu_times_there_is_no_ratio_of_them(make_records: MakeRecords) -> None:
    records = [
        msgspec.structs.replace(
            one, samples=msgspec.structs.replace(one.samples, server_cpu_ns_per_request=None)
        )
        for one in make_records(FOUR, connections=(100,))
    ]
    table = tax_table(records)
    assert np.isnan(table.loc[("epoll", 100, CPU), "ratio"])
    assert table.loc[("epoll", 100, "p50_ns"), "ratio"] == pytest.approx(1.5, rel=0.06)


def test_one_repeat_has_no_interval(make_records: MakeRecords) -> None:
    table = tax_table(make_records(FOUR, connections=(100,), repeats=1))
    assert table[["low", "high"]].isna().all(axis=None)
    assert table["ratio"].notna().all()


def test_a_load_at_which_the_twin_failed_has_no_row(make_records: MakeRecords) -> None:
    records = [
        one
        for one in make_records(FOUR, connections=(10, 100), repeats=2)
        if (one.cell.contender, one.cell.load.connections) != ("threads:c", 100)
    ]
    table = tax_table(records)
    assert set(table.index.droplevel("quantity")) == {("epoll", 10), ("epoll", 100), ("threads", 10)}


def test_twins_of_different_blocks_are_compared_through_what_was_in_both(make_records: MakeRecords) -> None:
    first = [one for one in make_records(FOUR, connections=(100,), seed=1) if one.cell.contender != "threads"]
    second = [
        msgspec.structs.replace(one, block="connections-100-alone")
        for one in make_records(FOUR, connections=(100,), seed=2)
        if one.cell.contender in ("threads", "epoll:c")
    ]
    row = tax_table([*first, *second]).loc[("threads", 100, "p50_ns")]
    assert row["repeats"] == 5
    assert row["low"] < 2 < row["high"]


def test_without_pairs_the_table_is_empty_and_has_its_columns(make_records: MakeRecords) -> None:
    records = make_records({"epoll": 4000}, connections=(10,), repeats=1)
    table = taxes(frames.cells(records), frames.slices(records), twins(records))
    assert table.empty
    assert {"contender", "twin", "quantity", "ratio", "connections"} <= set(table)
