"""Changes between runs whose truth is known."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from bench.analysis import frames
from bench.analysis.compare import Measured, changes, discovery_rates
from bench.analysis.frames import CELL
from bench.records.schema import Record

MakeRecords = Callable[..., list[Record]]
SERVICES = {"epoll": 4000.0, "select": 5000.0, "epoll:c": 3000.0}


def measured(records: list[Record], *, without: str | None = None) -> Measured:
    cells, slices = frames.cells(records, run="r"), frames.slices(records, run="r")
    fit = frames.merged(cells)[CELL]
    return Measured(cells, slices, fit[fit["contender"] != without], {"connections": "epoll:c"})


def found(before: Measured, after: Measured, quantity: str = "p50_ns") -> pd.DataFrame:
    table = changes(before, after, {"connections": quantity})  # type: ignore[dict-item]
    return table.set_index(["contender", "connections"])


@pytest.mark.parametrize(("quantity", "truth"), [("p50_ns", 1.2), ("rate_per_s", 1 / 1.2)])
def test_a_change_is_found_though_the_machine_is_another(
    make_records: MakeRecords, quantity: str, truth: float
) -> None:
    """The second run meets a machine that is half as fast: the yardstick meets it, too."""
    before = measured(make_records(SERVICES, connections=(100, 1000)))
    slower = {name: 2 * ns * (1.2 if name == "select" else 1) for name, ns in SERVICES.items()}
    after = measured(make_records(slower, connections=(100, 1000), seed=2))
    table = found(before, after, quantity)
    assert set(table.index) == {(name, count) for name in ("epoll", "select") for count in (100, 1000)}
    for count in (100, 1000):
        changed, same = table.loc[("select", count)], table.loc[("epoll", count)]
        assert changed["ratio"] == pytest.approx(truth, rel=0.03)
        assert changed["low"] < changed["ratio"] < changed["high"]
        assert (changed["q"] < 0.01, same["low"] < 1.01, same["high"] > 0.99) == (True, True, True)


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say(make_records: MakeRecords) -> None:
    """Where nothing has changed 95 % of the intervals hold 1, and seldom is anything called a change."""
    tables = []
    for seed in range(60):
        runs = [
            measured(make_records(SERVICES, connections=(10, 100, 1000), seed=2 * seed + n)) for n in (0, 1)
        ]
        tables.append(found(*runs))
    table = pd.concat(tables)
    holds = (table["low"] <= 1) & (table["high"] >= 1)
    assert 0.92 <= holds.mean() <= 0.985
    families_with_a_discovery = np.mean([bool((one["q"] < 0.05).any()) for one in tables])
    assert families_with_a_discovery <= 0.12


def test_one_repeat_has_a_ratio_alone(make_records: MakeRecords) -> None:
    runs = [measured(make_records(SERVICES, connections=(100,), repeats=n)) for n in (1, 5)]
    row = found(*runs).loc[("select", 100)]
    assert row["ratio"] == pytest.approx(1, rel=0.1)
    assert np.isnan([row["low"], row["high"], row["p"], row["q"]]).all()


def test_what_either_run_has_not_is_left_out(make_records: MakeRecords) -> None:
    before = measured(make_records(SERVICES, connections=(10, 100)))
    after = measured(make_records({"epoll": 4000, "poll": 4000, "epoll:c": 3000}, connections=(100, 1000)))
    assert list(found(before, after).index) == [("epoll", 100)]
    assert found(before, measured(make_records(SERVICES, connections=(10,)), without="epoll:c")).empty
    assert found(before, before._replace(yardsticks={})).empty


def test_rates_of_discovery_are_benjamini_and_hochbergs() -> None:
    """The example of their paper: fifteen tests, of which four are found at 5 %."""
    p = np.array([1, 4, 19, 95, 201, 278, 298, 344, 459, 3240, 4262, 5719, 6528, 7590, 10000]) / 10000
    q = discovery_rates(p)
    assert (q < 0.05).sum() == 4
    assert q[3] == pytest.approx(0.0095 * 15 / 4)
    assert (np.diff(q) >= 0).all()
    shuffled = np.random.default_rng(1).permutation(15)
    assert discovery_rates(p[shuffled]) == pytest.approx(q[shuffled])


def test_what_has_no_p_value_has_no_rate_and_counts_for_none() -> None:
    q = discovery_rates(np.array([0.01, np.nan, 0.04]))
    assert q[[0, 2]] == pytest.approx([0.02, 0.04])
    assert np.isnan(q[1])
    assert discovery_rates(np.array([])).size == 0
