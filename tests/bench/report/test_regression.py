"""Slower, not slower, or can't be told: only an interval that lies beyond the threshold as a whole fails."""

from collections.abc import Callable
from typing import Any

import pytest

from bench.analysis.findings import find
from bench.records.schema import Record
from bench.records.store import RunFolder
from bench.report.regression import Comparison, comparisons, sentence

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]


@pytest.fixture
def compared(make_records: MakeRecords, make_run: MakeRun) -> Callable[..., Comparison]:
    def of(head_ns: float, threshold: float, judged_by: str = "response_time", **options: Any) -> Comparison:
        records = make_records({"base": 4000, "head": head_ns}, **{"connections": (100, 1000), **options})
        run = make_run(records, reference="base", judged_by=judged_by)
        (one,) = comparisons(find([run]), threshold)
        return one

    return of


@pytest.mark.parametrize("judged_by", ["response_time", "request_rate"])
def test_beyond_the_threshold_as_a_whole_is_slower(
    compared: Callable[..., Comparison], judged_by: str
) -> None:
    one = compared(4800, 0.03, judged_by)
    assert one.outcome == "slower"
    assert one.slowdown == pytest.approx(1.2, rel=0.03)
    assert one.low is not None
    assert one.high is not None
    assert 1.03 < one.low < 1.2 < one.high
    assert sentence(one).startswith("head: slower than base by more than 3 %: 19.7 (18.3 to 21.1) % in ")


def test_below_the_threshold_as_a_whole_is_not(compared: Callable[..., Comparison]) -> None:
    one = compared(4000, 0.1)
    assert one.outcome == "not slower"
    assert sentence(one).startswith("head: not slower than base by 10 %: ")
    assert sentence(one).endswith("% in median, 2 loads together")


def test_faster_is_not_slower(compared: Callable[..., Comparison]) -> None:
    one = compared(3000, 0.03)
    assert one.outcome == "not slower"
    assert ": -25" in sentence(one) or ": -24" in sentence(one)


def test_an_interval_that_holds_the_threshold_tells_nothing(compared: Callable[..., Comparison]) -> None:
    one = compared(4000 * 1.03, 0.03)
    assert one.outcome == "inconclusive"
    assert "can't be told" in sentence(one)


def test_one_repeat_tells_nothing(compared: Callable[..., Comparison]) -> None:
    one = compared(8000, 0.03, repeats=1)
    assert one.outcome == "inconclusive"
    assert sentence(one).endswith("one repeat has no interval: measure at least 3")


def test_without_figures_that_may_be_compared_nothing_is_told(compared: Callable[..., Comparison]) -> None:
    marks = {("head", count): [{"code": "generator-bound"}] for count in (100, 1000)}
    one = compared(8000, 0.03, marks=marks)
    assert (one.outcome, one.loads, one.slowdown) == ("inconclusive", 0, None)
    assert sentence(one) == "head: inconclusive: nothing fit to be compared with base was measured"
