"""Which ratios a run's precision is about, and that what is shown afterwards is what was looked at."""

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from bench.analysis.findings import find
from bench.analysis.intervals import half_widths
from bench.analysis.precision import Reached, look, reached
from bench.measure.precision import Width, rule
from bench.plan.suite import Suite
from bench.records.schema import Record
from bench.records.store import RunFolder

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]
SERVICES = {"epoll": 4000.0, "select": 5000.0, "threads": 9000.0, "epoll:c": 3000.0}
ASKED = rule(0.02, budget_s=300)


def reached_of(run: RunFolder) -> Reached:
    (found,) = reached(find([run]))
    return found


def looked_at(run: RunFolder, records: list[Record]) -> list[Width]:
    suite = msgspec.convert(run.run.suite, Suite)
    return look(records, suite.experiment[0], ASKED)


def test_of_each_competing_contender_at_each_load(make_records: MakeRecords, make_run: MakeRun) -> None:
    """Neither of the reference nor of a yardstick that only joins; shown are those that were looked at."""
    records = make_records(SERVICES, connections=(10, 100), repeats=7)
    run = make_run(records, precision=ASKED)
    found = reached_of(run)
    assert {(one.contender, one.load.connections) for one in found.widths} == {
        (name, count) for name in ("select", "threads") for count in (10, 100)
    }
    assert {one.repeats for one in found.widths} == {7}
    assert found.widths == looked_at(run, records)
    assert (found.asked, found.is_over) == (ASKED, True)
    assert found.wide == sorted(found.wide, key=lambda one: -(one.half_width or 0))
    assert {one.is_precise for one in found.widths if (one.half_width or 1) > 0.02} <= {False}


@pytest.mark.parametrize("quantity", ["response_time", "request_rate"])
def test_shown_intervals_are_those_that_were_looked_at(
    make_records: MakeRecords, make_run: MakeRun, quantity: str
) -> None:
    records = make_records(SERVICES, connections=(100,))
    usual = find([make_run(records, judged_by=quantity)])
    run = make_run(records, judged_by=quantity, precision=ASKED)
    found = find([run])
    column = {"response_time": "p50_ns", "request_rate": "rate_per_s"}[quantity]
    wider = half_widths(1, 5, ASKED.level) / half_widths(1, 5)
    assert wider > 1.05
    for name in ("ratios", "taxes", "best"):
        before, after = (getattr(one, name) for one in (usual, found))
        widths = [np.log(table["high"] / table["low"]) for table in (before, after)]
        if name != "best":  # whose intervals hold together, at a level of their own
            assert widths[1].to_numpy() == pytest.approx(wider * widths[0].to_numpy(), nan_ok=True)
        assert (widths[1].dropna() >= widths[0].dropna()).all()
        assert (widths[1] > widths[0]).any()
    shown = found.ratios[(found.ratios["quantity"] == column) & (found.ratios["contender"] == "threads")]
    (own,) = [one for one in reached_of(run).widths if one.contender == "threads"]
    assert own.half_width == pytest.approx(float(np.sqrt(shown["high"] / shown["low"]).iloc[0]) - 1)


def test_runs_beside_each_other_keep_their_own_levels(make_records: MakeRecords, make_run: MakeRun) -> None:
    records = make_records(SERVICES, connections=(100,))
    runs = [
        make_run(records, precision=ASKED),
        make_run(records, started_at="2026-11-24T00:00:00Z"),
    ]
    found = find(runs)
    widths = np.log(found.ratios["high"] / found.ratios["low"]).groupby(found.ratios["run"]).sum()
    assert widths[runs[0].path.name] > 1.05 * widths[runs[1].path.name]
    assert [one.run for one in reached(found)] == [runs[0].path.name]


def test_what_may_not_be_compared_need_not_be_precise(make_records: MakeRecords, make_run: MakeRun) -> None:
    marks = {("threads", 10): [{"code": "wake-bound"}], ("epoll", 100): [{"code": "generator-bound"}]}
    records = make_records(SERVICES, connections=(10, 100, 1000), marks=marks)
    found = reached_of(make_run(records, precision=ASKED))
    assert {(one.contender, one.load.connections) for one in found.widths} == {
        ("select", 10),
        ("select", 1000),
        ("threads", 1000),
    }


def test_one_that_failed_now_and_then_has_fewer_repeats(make_records: MakeRecords, make_run: MakeRun) -> None:
    """They don't count for it, so it is looked at later."""
    records = [
        msgspec.structs.replace(one, status="failed", load=None, reason="it ended")
        if one.cell.contender == "select" and one.repeat > 4
        else one
        for one in make_records(SERVICES, connections=(100,), noise=0.0001)
    ]
    found = {one.contender: one for one in reached_of(make_run(records, precision=ASKED)).widths}
    assert (found["select"].repeats, found["select"].is_precise) == (4, False)
    assert (found["threads"].repeats, found["threads"].is_precise) == (5, True)


def test_one_repeat_has_no_width(make_records: MakeRecords, make_run: MakeRun) -> None:
    found = reached_of(make_run(make_records(SERVICES, connections=(100,), repeats=1), precision=ASKED))
    assert {(one.half_width, one.is_precise) for one in found.widths} == {(None, False)}


def test_a_run_in_which_everything_failed(make_records: MakeRecords, make_run: MakeRun) -> None:
    records = [
        msgspec.structs.replace(one, status="failed", load=None, reason="port taken")
        for one in make_records(SERVICES, connections=(100,))
    ]
    assert reached_of(make_run(records, precision=ASKED)).widths == []


def test_a_run_without_a_precision_has_none(make_records: MakeRecords, make_run: MakeRun) -> None:
    assert reached(find([make_run(make_records(SERVICES, connections=(100,)))])) == []
