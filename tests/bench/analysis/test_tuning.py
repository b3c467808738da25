"""The best setting and its gain, against runs whose truth is known."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.analysis import frames
from bench.analysis.ratios import Compared, best
from bench.analysis.tuning import gains, settings
from bench.records.schema import Record

MakeRecords = Callable[..., list[Record]]
EQUAL = {f"epoll-threads-{count}": 4000.0 for count in range(1, 9)}


def competing(cells: pd.DataFrame) -> pd.DataFrame:
    """As findings make it: a row a cell, with what it is a setting of."""
    table = frames.merged(cells)
    base = table["contender"].str.partition("-threads-")
    table["variant_of"] = base[0].where(base[2] != "", None)
    table["is_default"] = base[2] == "1"
    return table


def found(
    records: list[Record], quantity: Compared = "rate_per_s", *, without: str | None = None
) -> pd.DataFrame:
    cells, slices = frames.cells(records), frames.slices(records)
    fit = competing(cells)
    return gains(cells, slices, fit[fit["contender"] != without], {("", "connections"): quantity})


@pytest.mark.parametrize("quantity", ["rate_per_s", "p50_ns"])
def test_the_best_is_found_and_its_gain(make_records: MakeRecords, quantity: Compared) -> None:
    services = {"epoll-threads-1": 4000, "epoll-threads-2": 2000, "epoll-threads-4": 3000, "poll": 1000}
    table = found(make_records(services, connections=(100, 1000), repeats=8), quantity)
    assert len(table) == 2  # one for each load; `poll` comes in one setting
    for row in table.to_dict("records"):
        assert row["variant_of"] == "epoll"
        assert (row["default"], row["chosen"]) == ("epoll-threads-1", "epoll-threads-2")
        assert row["best"] == ["epoll-threads-2"]
        assert row["gain"] == pytest.approx(2, rel=0.03)
        assert row["low"] < row["gain"] < row["high"]
        assert row["repeats"] == 4


def test_where_nothing_is_better_the_default_gains_nothing(make_records: MakeRecords) -> None:
    services = {"epoll-threads-1": 2000, "epoll-threads-2": 4000}
    (row,) = found(make_records(services, connections=(100,), repeats=8)).to_dict("records")
    assert row["chosen"] == row["default"] == "epoll-threads-1"
    assert (row["gain"], row["low"], row["high"]) == (1, 1, 1)


def test_of_equal_ones_all_are_best_and_the_gain_holds_no_luck(make_records: MakeRecords) -> None:
    """The one that is ahead of eight is ahead by luck: estimated where it was chosen, that would show."""
    honest, naive, all_best = [], [], 0
    for seed in range(40):
        records = make_records(EQUAL, connections=(100,), repeats=8, noise=0.05, seed=seed)
        (row,) = found(records).to_dict("records")
        honest.append(np.log(row["gain"]))
        all_best += len(row["best"]) >= 6
        cells, slices = frames.cells(records), frames.slices(records)
        ranked = best(cells, slices, competing(cells), "rate_per_s").set_index("contender")
        naive.append(-np.log(ranked.loc["epoll-threads-1", "ratio"]))
    error = np.std(honest) / np.sqrt(len(honest))
    assert abs(np.mean(honest)) < 3 * error
    assert np.mean(naive) > 3 * error
    assert all_best > 30


def test_too_few_repeats_have_a_gain_without_bounds_or_none(make_records: MakeRecords) -> None:
    services: Mapping[str, Any] = {"epoll-threads-1": 4000, "epoll-threads-2": 2000}
    (two,) = found(make_records(services, connections=(100,), repeats=2)).to_dict("records")
    assert two["gain"] == pytest.approx(2, rel=0.1)
    assert np.isnan([two["low"], two["high"]]).all()
    (one,) = found(make_records(services, connections=(100,), repeats=1)).to_dict("records")
    assert one["chosen"] == "epoll-threads-2"
    assert np.isnan(one["gain"])


def test_a_default_that_is_not_fit_leaves_nothing_to_compare_with(make_records: MakeRecords) -> None:
    services = {"epoll-threads-1": 4000, "epoll-threads-2": 2000}
    records = make_records(services, connections=(100,), repeats=4)
    assert found(records, without="epoll-threads-1").empty
    assert found(records, without="epoll-threads-2").empty


@pytest.mark.parametrize("quantity", ["rate_per_s", "p50_ns"])
def test_each_setting_has_its_gain_over_the_default(make_records: MakeRecords, quantity: Compared) -> None:
    services = {"epoll-threads-1": 4000, "epoll-threads-2": 2000, "epoll-threads-4": 8000, "poll": 1000}
    records = make_records(services, connections=(1000,), repeats=5)
    cells = frames.cells(records)
    table = settings(cells, frames.slices(records), competing(cells), {("", "connections"): quantity})
    by_name = table.set_index("contender")
    assert by_name["gain"].to_dict() == pytest.approx(
        {"epoll-threads-1": 1, "epoll-threads-2": 2, "epoll-threads-4": 0.5}, rel=0.03
    )
    others = by_name.drop(index="epoll-threads-1")
    assert (others["low"] < others["gain"]).all()
    assert (others["gain"] < others["high"]).all()


def test_without_its_default_a_setting_has_no_gain(make_records: MakeRecords) -> None:
    records = make_records({"epoll-threads-2": 2000, "epoll-threads-4": 3000}, connections=(100,), repeats=3)
    cells = frames.cells(records)
    quantities: Mapping[tuple[str, str], Compared] = {("", "connections"): "p50_ns"}
    assert settings(cells, frames.slices(records), competing(cells), quantities).empty
