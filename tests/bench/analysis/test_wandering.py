"""The machine's wandering and what is left of it, against runs whose truth is known."""

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from bench.analysis.findings import find
from bench.analysis.wandering import COLUMNS, wandering
from bench.records.schema import Record
from bench.records.store import RunFolder

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]
SERVICE_NS = {"epoll": 4000, "threads": 9000, "epoll:c": 3000}


def test_what_all_have_in_common_is_the_machines(make_records: MakeRecords, make_run: MakeRun) -> None:
    noise = 0.02  # of a slice; the machine's is five times as large
    found = wandering(find([make_run(make_records(SERVICE_NS, connections=(100,), noise=noise, rounds=60))]))
    assert set(found["yardstick"]) == {"epoll:c"}
    assert len(found) == 5 * 59
    machine, within = (np.log(found[name]).std() for name in ("machine", "within"))
    assert machine == pytest.approx(5 * noise, rel=0.25)
    assert within == pytest.approx(noise * 2**0.5, rel=0.3)


def test_time_goes_on_through_blocks_and_rounds(make_records: MakeRecords, make_run: MakeRun) -> None:
    found = wandering(find([make_run(make_records(SERVICE_NS, connections=(10, 100), repeats=2, rounds=4))]))
    assert found["time_s"].is_monotonic_increasing
    # Repeats start a minute apart, blocks as many seconds as they have connections, modulo 60.
    assert found.groupby(["repeat", "block"], sort=False)["time_s"].min().tolist() == [0, 30, 60, 90]
    steps = found.groupby(["repeat", "block"])["time_s"].diff().dropna()
    assert steps.tolist() == pytest.approx([3 * 0.05] * 8)  # three contenders, a slice each


def test_levels_of_other_loads_are_no_wandering(make_records: MakeRecords, make_run: MakeRun) -> None:
    found = wandering(find([make_run(make_records(SERVICE_NS, connections=(1, 1000)))]))
    assert found["machine"].between(0.5, 2).all()
    assert found.groupby("block")["machine"].median().tolist() == pytest.approx([1, 1])


def test_a_yardstick_alone_has_nothing_beside_it(make_records: MakeRecords, make_run: MakeRun) -> None:
    records = make_records({"epoll": 4000, "epoll:c": 3000}, connections=(10, 1000))
    refused = [one for one in records if (one.cell.contender, one.cell.load.connections) != ("epoll", 1000)]
    found = wandering(find([make_run(refused)])).set_index("block")
    assert found["machine"].notna().all()
    assert found.loc["connections-1000", "within"].isna().all()
    assert found.loc["connections-10", "within"].notna().all()


def test_an_open_loop_tells_nothing_of_the_machine(make_records: MakeRecords, make_run: MakeRun) -> None:
    offered = [
        msgspec.structs.replace(
            one,
            cell=msgspec.structs.replace(
                one.cell, load=msgspec.structs.replace(one.cell.load, offered_per_s=1000.0)
            ),
        )
        for one in make_records(SERVICE_NS, connections=(10,))
    ]
    found = wandering(find([make_run(offered)]))
    assert found.empty
    assert list(found.columns) == COLUMNS


def test_without_a_yardstick_there_is_none(make_records: MakeRecords, make_run: MakeRun) -> None:
    run = make_run(make_records({"epoll": 4000, "threads": 9000}, connections=(10,)))
    assert wandering(find([run])).empty
