"""Until precise: the coverage of the intervals that a run ends with, and which blocks go on."""

from collections.abc import Callable, Iterator
from itertools import product

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from bench.analysis.intervals import LEVEL, half_widths
from bench.analysis.precision import look
from bench.measure.precision import Goal, is_precise, rule
from bench.plan.cells import Block
from bench.plan.contender import Contender
from bench.plan.suite import Experiment, LoadTable, Search
from bench.records.schema import Load, Precision, Record

MakeRecords = Callable[..., list[Record]]
Noise = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float64]]

SPREAD = 0.03  # of a log ratio from repeat to repeat; 0.02 to 0.04 in the suite `quick`
TARGETS = (0.005, 0.0075, 0.01, 0.0125, 0.015, 0.02, 0.025, 0.03, 0.05)  # for which it takes 150 repeats to 5
BUDGETS = (6, 9, 20, 60, 200)  # repeats that there is time for
SAMPLES = 6000  # a coverage of 95 % is found to +- 0.3 % (a standard error)


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Also what the logarithms of lognormal times are."""
    return rng.normal(0, SPREAD, shape)


def of_lognormal_slices(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The median over six rounds of the log ratio of two times that are lognormal around the round's own."""
    slices = rng.normal(0, SPREAD * np.sqrt(2), (*shape, 6)) - rng.normal(0, SPREAD * np.sqrt(2), (*shape, 6))
    return np.asarray(np.median(slices, axis=-1))


def heavy(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Student's t with three degrees of freedom: one repeat in 70 is more than four deviations off."""
    return rng.standard_t(3, shape) * SPREAD / np.sqrt(3)


def disturbed(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """One repeat in ten was hit by something that spreads it five times as far."""
    spread = np.where(rng.random(shape) < 0.1, 5, 1)
    return rng.normal(0, SPREAD, shape) * spread / np.sqrt(0.9 + 0.1 * 25)


def ended(log_ratios: NDArray[np.float64], asked: Precision) -> Iterator[tuple[int, float, float]]:
    """For each of BUDGETS: it, the share of intervals that hold the truth, 0, and the mean number of repeats.

    `log_ratios` are of samples x contenders x repeats; the contenders of a block get their repeats together.
    """
    counts = np.arange(1, log_ratios.shape[-1] + 1)
    means = log_ratios.cumsum(axis=-1) / counts
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = (log_ratios**2).cumsum(axis=-1) - counts * means**2
        half = half_widths(np.sqrt(np.maximum(squares, 0) / (counts - 1)), counts, asked.level)
    stops = is_precise(np.expm1(half), counts, asked).all(axis=1)
    for budget in BUDGETS:
        within = stops[:, :budget]
        last = np.where(within.any(axis=-1), within.argmax(axis=-1), budget - 1)
        mean, width = (np.take_along_axis(table, last[:, None, None], axis=-1) for table in (means, half))
        yield budget, float((np.abs(mean) <= width).mean()), float(last.mean() + 1)


def coverages(noise: Noise, *, contenders: int = 1, level: float | None = None) -> dict[object, float]:
    """By target and budget."""
    rng = np.random.default_rng(7)
    draws = noise(rng, (SAMPLES // contenders, contenders, max(BUDGETS)))
    found: dict[object, float] = {}
    for target in TARGETS:
        asked = rule(target, budget_s=1)
        asked = asked if level is None else msgspec.structs.replace(asked, level=level)
        found |= {(target, budget): share for budget, share, _ in ended(draws, asked)}
    return found


@pytest.mark.parametrize("noise", [normal, of_lognormal_slices, heavy, disturbed])
@pytest.mark.parametrize("contenders", [1, 6])
def test_intervals_hold_the_truth_as_often_as_they_say(noise: Noise, contenders: int) -> None:
    """At every target and wherever a budget cuts it off: neither too seldom nor, being wide, too often."""
    found = coverages(noise, contenders=contenders)
    assert found.keys() == set(product(TARGETS, BUDGETS))
    most = 0.97 if noise in (normal, of_lognormal_slices) else 0.98  # there any t interval holds too often
    assert {place: share for place, share in found.items() if not 0.93 <= share <= most} == {}


def test_an_interval_for_a_fixed_number_of_repeats_would_not() -> None:
    """What the higher level is for."""
    uncorrected = coverages(normal, level=LEVEL)
    assert min(uncorrected.values()) < 0.935
    assert min(coverages(normal).values()) > min(uncorrected.values()) + 0.01


def test_repeats_are_as_many_as_the_target_needs() -> None:
    """Half as wide takes four times as many, about: less is given up to looking than a tenth."""
    draws = normal(np.random.default_rng(8), (1000, 1, max(BUDGETS)))
    needed = {target: list(ended(draws, rule(target, 1)))[-1][2] for target in TARGETS}
    known = {target: (1.96 * SPREAD / np.log1p(target)) ** 2 for target in TARGETS}
    assert needed[0.005] == pytest.approx(known[0.005], rel=0.25)
    assert needed[0.01] == pytest.approx(known[0.01], rel=0.35)
    assert 5 <= needed[0.05] < 7


def test_nothing_is_precise_before_the_first_look_or_without_an_interval() -> None:
    asked = rule(0.02, 60)
    assert is_precise([0.01, 0.01, 0.021, np.nan], [4, 5, 9, 9], asked).tolist() == [
        False,
        True,
        False,
        False,
    ]


def experiment_of(*names: str) -> Experiment:
    return Experiment(
        name="connections",
        question="",
        claims=[],
        contenders=[Contender(name=name, model=name, implementation="python") for name in names],
        reference=names[0],
        repeats=5,
        rounds=6,
        slice_s=0.05,
        load=LoadTable(connections=[10, 100]),
    )


def block_of(connections: int) -> Block:
    return Block(
        name=f"connections-{connections}",
        experiment="connections",
        load=Load(connections=connections),
        contenders=[],
        repeats=5,
        rounds=6,
        slice_s=0.05,
    )


@pytest.fixture
def goal() -> Callable[..., Goal]:
    def make(records: list[Record], target: float, experiment: Experiment | None = None) -> Goal:
        found = Goal(rule(target, 60), [experiment or experiment_of("epoll", "select")], look)
        found.add(records)
        return found

    return make


def test_only_what_is_too_wide_goes_on(make_records: MakeRecords, goal: Callable[..., Goal]) -> None:
    quiet = make_records({"epoll": 4000, "select": 5000}, connections=(10,), noise=0.001)
    noisy = make_records({"epoll": 4000, "select": 5000}, connections=(100,), noise=0.1)
    found = goal(quiet + noisy, 0.02)
    assert found.is_reached(block_of(10))
    assert not found.is_reached(block_of(100))
    assert not found.is_reached(block_of(100))
    assert {one.load.connections: one.is_precise for one in found.widths} == {10: True, 100: False}
    assert found.is_reached(block_of(1000))  # of which there are no records: nothing that could be precise


def test_repeats_count_one_by_one_as_all_at_once(
    make_records: MakeRecords, goal: Callable[..., Goal]
) -> None:
    """So that a run which is resumed goes on as it would have."""
    records = make_records({"epoll": 4000, "select": 5000}, connections=(100,), repeats=9)
    grown = goal([], 0.001)
    for repeat in range(1, 10):
        grown.add([one for one in records if one.repeat == repeat])
        so_far = [one for one in records if one.repeat <= repeat]
        assert grown.widths == goal(so_far, 0.001).widths
    assert [one.repeats for one in grown.widths] == [9]


def test_a_block_measured_again_counts_once(make_records: MakeRecords, goal: Callable[..., Goal]) -> None:
    records = make_records({"epoll": 4000, "select": 5000}, connections=(100,), repeats=6)
    found = goal(records[:-1], 0.001)
    found.add([one for one in records if one.repeat == 6])
    assert found.widths == goal(records, 0.001).widths


def test_searches_end_by_a_rule_of_their_own(make_records: MakeRecords, goal: Callable[..., Goal]) -> None:
    records = make_records({"epoll": 4000, "select": 5000}, connections=(100,), noise=0.1)
    search = Search(maximise="rate", p99_limit_ns=10**7, precision=0.05, confirmations=5)
    searching = msgspec.structs.replace(experiment_of("epoll", "select"), search=search)
    assert goal(records, 0.001, searching).widths == []
