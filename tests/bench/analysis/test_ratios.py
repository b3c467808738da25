"""Ratios against runs whose truth is known."""

from collections.abc import Callable, Iterable

import msgspec
import numpy as np
import pandas as pd
import pytest

from bench.analysis import frames
from bench.analysis.ratios import best, drift, pooled, ratios
from bench.records.schema import Record

MakeRecords = Callable[..., list[Record]]
TWO = {"a": 4000, "b": 5000}


def tables(runs: Iterable[list[Record]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cells and slices of several runs, each under its number."""
    parts = [(frames.cells(one, run=str(n)), frames.slices(one, run=str(n))) for n, one in enumerate(runs)]
    cells, slices = zip(*parts, strict=True)
    return pd.concat(cells, ignore_index=True), pd.concat(slices, ignore_index=True)


def ratio_table(records: list[Record], reference: str = "a") -> pd.DataFrame:
    table = ratios(frames.cells(records), frames.slices(records), reference)
    return table.set_index(["contender", "quantity"])


@pytest.mark.slow
def test_the_true_ratio_is_found_in_any_weather(make_records: MakeRecords) -> None:
    runs = 60
    cells, slices = tables(make_records(TWO, connections=(100,), seed=seed) for seed in range(runs))
    table = ratios(cells, slices, "a").query("contender == 'b'")
    for quantity, truth in (("rate_per_s", 0.8), ("p50_ns", 1.25)):
        found = table[table["quantity"] == quantity]
        assert len(found) == runs
        assert ((found["low"] <= truth) & (truth <= found["high"])).mean() >= 0.85
        half_widths = np.log(found["high"] / found["low"]) / 2
        assert half_widths.median() < 0.04  # the weather alone spreads slices by 10 %


def test_the_reference_is_1_and_every_quantity_has_a_row(make_records: MakeRecords) -> None:
    table = ratio_table(make_records(TWO, connections=(1, 10), repeats=3))
    assert (table.loc["a", ["ratio", "low", "high"]] == 1).all(axis=None)
    assert table.loc["b"].index.value_counts().to_dict() == {"rate_per_s": 2, "p50_ns": 2, "p99_ns": 2}
    assert (table["repeats"] == 3).all()  # no clients came: nobody waited for a first echo
    assert table.xs("p99_ns", level="quantity")["totals_ratio"].isna().all()


def test_one_repeat_has_a_ratio_and_no_interval(make_records: MakeRecords) -> None:
    row = ratio_table(make_records(TWO, connections=(100,), repeats=1)).loc[("b", "rate_per_s")]
    assert row["ratio"] == pytest.approx(0.8, rel=0.1)
    assert np.isnan([row["low"], row["high"]]).all()
    assert not row["uneven"]


def test_the_warm_up_round_counts_nowhere(make_records: MakeRecords) -> None:
    records = make_records(TWO, connections=(100,))

    def spoilt(record: Record) -> Record:
        assert record.load is not None
        first = msgspec.structs.replace(record.load.slices[0], requests=1, rate_per_s=20.0, p50_ns=10**9)
        load = msgspec.structs.replace(record.load, slices=[first, *record.load.slices[1:]])
        return msgspec.structs.replace(record, load=load)

    spoilt_records = [spoilt(record) if record.cell.contender == "b" else record for record in records]
    pd.testing.assert_frame_equal(ratio_table(spoilt_records), ratio_table(records))


def test_stalls_that_a_median_does_not_see_are_uneven(make_records: MakeRecords) -> None:
    service_ns = {"a": 4000, "b": 4000, "c": 4000}
    table = ratio_table(make_records(service_ns, connections=(100,), rounds=24, stalls={"b": 0.25}))
    stalling, steady = table.loc[("b", "rate_per_s")], table.loc[("c", "rate_per_s")]
    assert stalling["uneven"]
    assert not steady["uneven"]
    assert stalling["totals_high"] < stalling["low"]


@pytest.mark.slow
def test_steady_contenders_are_seldom_called_uneven_or_drifting(make_records: MakeRecords) -> None:
    cells, slices = tables(make_records(TWO, connections=(100,), seed=seed) for seed in range(40))
    assert (
        ratios(cells, slices, "a").query("contender == 'b' and quantity != 'p99_ns'")["uneven"].mean() <= 0.1
    )
    assert drift(slices)["drift"].mean() <= 0.1


def test_drift_is_found_with_its_direction(make_records: MakeRecords) -> None:
    records = make_records(
        {"a": 4000, "b": 4000, "c": 4000, "d": 4000},
        connections=(100,),
        rounds=24,
        drift={"b": -0.2},
        repeats=8,
    )
    found = drift(frames.slices(records)).set_index("contender")
    assert found.loc["b", "drift"]
    assert found.loc["b", "movement"] == pytest.approx(
        0.8**0.75, rel=0.06
    )  # against a mean that it is a quarter of


def test_who_cannot_be_told_from_the_top_is_among_the_best(make_records: MakeRecords) -> None:
    records = make_records({"slow": 8000, "a": 4000, "b": 4004}, connections=(10, 100), repeats=5)
    table = frames.merged(frames.cells(records))
    for quantity in ("p50_ns", "rate_per_s"):
        found = best(frames.cells(records), frames.slices(records), table, quantity)
        assert (
            found[found["in_best"]].groupby("connections")["contender"].apply(set).tolist()
            == [{"a", "b"}] * 2
        )
        assert found["top"].sum() == 2
    only = best(frames.cells(records), frames.slices(records), table[table["contender"] == "slow"])
    assert only["contender"].tolist() == ["slow", "slow"]


@pytest.mark.slow
def test_loads_together_say_more_than_each(make_records: MakeRecords) -> None:
    """A server 3 % slower at each of three loads: the truth is in the interval, which is narrower."""
    runs, service_ns = 40, {"base": 4000, "head": 4000 * 1.03}
    cells, slices = tables(
        make_records(service_ns, connections=(50, 100, 1000), seed=seed) for seed in range(runs)
    )
    table = pooled(cells, slices, frames.merged(cells), "base").query("contender == 'head'")
    assert (table["loads"] == 3).all()
    assert ((table["low"] <= 1.03) & (table["high"] >= 1.03)).mean() >= 0.85
    each = ratios(cells, slices, "base").query("contender == 'head' and quantity == 'p50_ns'")
    widths = [np.log(one["high"] / one["low"]).median() for one in (table, each)]
    assert widths[0] < 0.75 * widths[1]
    same = pooled(cells, slices, frames.merged(cells), "base").query("contender == 'base'")
    assert (same[["ratio", "low", "high"]] == 1).all(axis=None)


def test_only_loads_at_which_both_are_fit_are_pooled(make_records: MakeRecords) -> None:
    records = make_records({"base": 4000, "head": 8000, "other": 4000}, connections=(10, 100, 1000))
    cells, slices = frames.cells(records), frames.slices(records)
    fit = frames.merged(cells).query("not (contender == 'base' and connections == 10)")
    fit = fit.query("not (contender == 'head' and connections == 1000)")
    table = pooled(cells, slices, fit, "base").set_index("contender")
    assert table["loads"].to_dict() == {"base": 2, "head": 1, "other": 2}
    assert table.loc["head", "ratio"] == pytest.approx(2, rel=0.1)
    rates = pooled(cells, slices, fit, "base", quantity="rate_per_s").set_index("contender")
    assert rates.loc["head", "ratio"] == pytest.approx(0.5, rel=0.1)
    assert "head" not in set(pooled(cells, slices, fit.query("contender != 'head'"), "base")["contender"])


def test_loads_with_more_repeats_than_others_are_pooled_without_bias(make_records: MakeRecords) -> None:
    """As a run leaves them that was measured until it is precise: two loads, at which head is not as slow."""
    held, runs = 0, 30
    for seed in range(runs):
        few, many = (
            make_records({"base": 4000, "head": ns}, connections=(count,), seed=2 * seed + n, repeats=repeats)
            for n, (ns, count, repeats) in enumerate([(4400, 100, 5), (4000, 1000, 12)])
        )
        cells, slices = frames.cells(few + many), frames.slices(few + many)
        (row,) = (
            pooled(cells, slices, frames.merged(cells), "base")
            .query("contender == 'head'")
            .to_dict("records")
        )
        assert (row["loads"], row["repeats"]) == (2, 5)
        held += row["low"] <= np.sqrt(1.1) <= row["high"]
        assert row["high"] / row["low"] < 1.1  # the loads' own difference isn't part of its width
    assert held >= 0.85 * runs


def test_first_echo_times_are_compared_where_clients_come(make_records: MakeRecords) -> None:
    waits_ns = {"a": 200_000, "b": 50_000_000, "c": 201_000}
    records = make_records(TWO | {"c": 9000}, connections=(100,), first_echo_ns=waits_ns)
    rows = ratio_table(records)
    waiting = rows.loc[("b", "first_echo_p50_ns")]
    assert waiting["low"] < 250 < waiting["high"]
    assert np.log(waiting["high"] / waiting["low"]) / 2 < 0.05
    assert rows.loc[("b", "p50_ns"), "ratio"] == pytest.approx(1.25, rel=0.05)
    tables = frames.cells(records), frames.slices(records), frames.merged(frames.cells(records))
    found = best(*tables, "first_echo_p50_ns")
    assert set(found[found["in_best"]]["contender"]) == {"a", "c"}
    assert set(best(*tables)[best(*tables)["in_best"]]["contender"]) == {"a"}


def test_with_one_repeat_all_are_among_the_best(make_records: MakeRecords) -> None:
    records = make_records({"slow": 8000, "a": 4000}, connections=(100,), repeats=1)
    assert best(frames.cells(records), frames.slices(records), frames.merged(frames.cells(records)))[
        "in_best"
    ].all()


def test_contenders_of_different_blocks_are_compared_through_what_was_in_both(
    make_records: MakeRecords,
) -> None:
    service_ns = {"a": 4000, "b": 6000, "epoll:c": 3000}
    first = [one for one in make_records(service_ns, connections=(100,), seed=1) if one.cell.contender != "b"]
    second = [
        one for one in make_records(service_ns, connections=(100,), seed=2) if one.cell.contender != "a"
    ]
    records = first + [msgspec.structs.replace(one, block="connections-100-2") for one in second]
    row = ratio_table(records).loc[("b", "p50_ns")]
    assert row["repeats"] == 5
    assert row["low"] < 1.5 < row["high"]
    assert np.log(row["high"] / row["low"]) / 2 < 0.08
    found = best(
        frames.cells(records),
        frames.slices(records),
        frames.merged(frames.cells(records)).query("contender != 'epoll:c'"),
    )
    assert found[found["in_best"]]["contender"].tolist() == ["a"]


def test_a_slice_that_completed_nothing_is_borne_by_the_median(make_records: MakeRecords) -> None:
    records = make_records(TWO, connections=(100,))

    def stopped(record: Record) -> Record:
        assert record.load is not None
        nothing = msgspec.structs.replace(
            record.load.slices[2], requests=0, rate_per_s=0.0, p50_ns=None, p99_ns=None
        )
        slices = [*record.load.slices[:2], nothing, *record.load.slices[3:]]
        return msgspec.structs.replace(record, load=msgspec.structs.replace(record.load, slices=slices))

    table = ratio_table([stopped(one) if one.cell.contender == "b" else one for one in records])
    assert table.loc[("b", "rate_per_s"), "ratio"] == pytest.approx(0.8, rel=0.1)
    assert table.loc[("b", "rate_per_s"), "totals_ratio"] == pytest.approx(0.8 * 0.8, rel=0.1)
    assert table.loc[("b", "p50_ns"), "ratio"] == pytest.approx(1.25, rel=0.1)
