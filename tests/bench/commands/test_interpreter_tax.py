"""`iocpbench run interpreter-tax` with real servers: every pair that there is here, and what a call costs."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from bench.measure.interpreter import list_models
from bench.records.store import RunFolder

Cli = Callable[..., subprocess.CompletedProcess[str]]
TheRun = Callable[[], RunFolder]
SMALL = ["--repeats", "2", "--rounds", "3", "--connections", "10", "--quiet"]


@pytest.mark.slow
def test_every_model_that_has_a_twin_here_is_compared_with_it(cli: Cli, the_run: TheRun) -> None:
    done = cli("run", "interpreter-tax", *SMALL, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    folder = the_run()
    measured = {one.cell.contender for one in folder.records() if one.status == "measured"}
    pairs = {name: f"{name}:c" for name in measured if f"{name}:c" in measured}
    if sys.platform == "linux":
        available = {one.name for one in list_models() if one.available and "c" in one.implementations}
        assert pairs.keys() == available & {"threads", "select", "poll", "epoll", "io_uring"}
        assert {"threads", "select", "poll", "epoll"} <= pairs.keys()
    system = folder.run.environment["system"]
    expected = {} if system == "windows-wine" else pairs
    assert {one["contender"]: one["twin"] for one in said["taxes"]} == expected
    for one in said["taxes"]:
        assert one["load"]["connections"] == 10
        assert one["is_asked"]
        assert one["repeats"] == 2
        # Windows' clock of CPU time is too coarse for a run as short as this.
        cpu = ["cpu"] if sys.platform == "linux" else []
        for quantity in ("response_time", "rate", *cpu):
            assert one[quantity]["ratio"] > 0
            assert one[quantity]["low"] <= one[quantity]["ratio"] <= one[quantity]["high"]
    calls = folder.run.foreign_calls
    assert [call.arguments > 0 for call in calls][:2] == [False, True]
    assert [call["ctypes"]["p50_ns"] for call in said["foreign_calls"][folder.path.name]] == [
        call.ctypes.p50_ns for call in calls
    ]
    charts = {path.name for path in (folder.path / "charts").iterdir()}
    assert ("interpreter-tax-interpreter_tax.svg" in charts) == bool(expected)


@pytest.mark.slow
@pytest.mark.linux("has epoll")
def test_contenders_given_by_hand_are_joined_by_their_twins(cli: Cli, the_run: TheRun) -> None:
    done = cli("run", "interpreter-tax", *SMALL, "--contenders", "epoll,asyncio_streams")
    assert done.returncode == 0, done.stderr
    assert {one.cell.contender for one in the_run().records()} == {"epoll", "epoll:c", "asyncio_streams"}
    assert "Interpreter tax: Python over its twin in C" in done.stdout
    assert "through ctypes" in done.stdout
