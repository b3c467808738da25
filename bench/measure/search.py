"""The highest load that keeps p99 under a limit: which to try next, and when to stop.

A trial is a block of one contender with fresh processes. A load passes where p99's upper bound is under the
limit, without an error and with its rate reached; it fails where the lower bound is over it, with an error,
or where the rate isn't reached; otherwise the trial goes on with fresh processes. Between the highest load
that passes and the lowest that doesn't the middle is tried until they are close; then both ends are
confirmed, which may move them. What comes next follows from the records alone, so a search can be resumed.
"""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from bench.measure.marks import RATE_TOLERANCE
from bench.plan.suite import Search
from bench.records.schema import Load, Record

SLICES_MIN = 3  # fewer say nothing of how much p99 varies
LEVEL = 0.95
RATE_MIN, CONNECTIONS_MIN = 1.0, 1
DIGITS = 3
_DOUBLINGS = 6  # from where a search begins to the first load that fails: what one takes as a rule
_WANDERING = 0.2  # of p99, from trial to trial


class Verdict(StrEnum):
    """What its trials say of a load."""

    PASSES = "passes"
    FAILS = "fails"
    OPEN = "open"


class Level(NamedTuple):
    """A load that was tried: requests a second, or connections."""

    value: float
    verdict: Verdict
    trials: int
    p99_ns: float | None  # the mean over slices, on a logarithmic scale; its bounds
    low_ns: float | None
    high_ns: float | None
    reason: str | None = None  # why it fails, where p99 doesn't say it


class Bracket(NamedTuple):
    """Where a search stands: the highest level that passes, the lowest above it that doesn't."""

    passes: Level | None
    fails: Level | None


def judge(value: float, trials: Sequence[Record], search: Search) -> Level:
    """The verdict on a load, from all its trials."""
    slices = [one for record in trials if record.load for one in record.load.slices]
    p99s_ns = [one.p99_ns for one in slices if one.p99_ns]
    mean_ns, low_ns, high_ns = _bounds(p99s_ns)
    reason = next(filter(None, map(_fault, trials)), None)
    if reason is not None:
        verdict = Verdict.FAILS
    elif high_ns is not None and high_ns < search.p99_limit_ns:
        verdict = Verdict.PASSES
    elif low_ns is not None and low_ns > search.p99_limit_ns:
        verdict = Verdict.FAILS
    else:
        verdict = Verdict.OPEN
    return Level(value, verdict, len(trials), mean_ns, low_ns, high_ns, reason)


def bracket(levels: Mapping[float, Level], search: Search) -> Bracket:
    """The two ends; what stays open after all its trials doesn't pass."""
    not_passed = [
        one.value
        for one in levels.values()
        if one.verdict is Verdict.FAILS
        or (one.verdict is Verdict.OPEN and one.trials >= search.confirmations)
    ]
    high = min(not_passed, default=math.inf)
    passed = [one.value for one in levels.values() if one.verdict is Verdict.PASSES and one.value < high]
    return Bracket(levels[max(passed)] if passed else None, levels[high] if not_passed else None)


def next_value(levels: Mapping[float, Level], search: Search, start: float) -> float | None:
    """The load to try next; None where the search has ended."""
    for level in levels.values():
        if level.verdict is Verdict.OPEN and level.trials < search.confirmations:
            return level.value
    passes, fails = bracket(levels, search)
    whole = search.maximise == "connections"
    least = CONNECTIONS_MIN if whole else RATE_MIN
    if passes is None and fails is None:
        return _rounded(start, whole=whole)
    if fails is None:
        assert passes is not None
        return _rounded(2 * passes.value, whole=whole)
    if passes is None:
        return None if fails.value <= least else max(least, _rounded(fails.value / 2, whole=whole))
    middle = _rounded(math.sqrt(passes.value * fails.value), whole=whole)
    if fails.value > (1 + search.precision) * passes.value and passes.value < middle < fails.value:
        return middle
    return next((end.value for end in (passes, fails) if end.trials < search.confirmations), None)


def expected_trials(search: Search) -> int:
    """About how many trials a search takes, for a plan: ends found, brought together, both confirmed.

    Levels that are nearer to the limit than the machine wanders are told only by all confirmations. In the
    reference runs searches to 5 % took 25 trials on the average, this says 26; to 20 % 11, this says 12.
    """
    steps = _halvings(search.precision)
    near = max(0, steps - _halvings(_WANDERING))
    return _DOUBLINGS + steps + (2 + near) * (search.confirmations - 1)


def _halvings(precision: float) -> int:
    """How often a bracket from one load to twice that is halved until it is so narrow."""
    return max(0, math.ceil(math.log2(math.log(2) / math.log1p(precision))))


def searched_value(load: Load, search: Search) -> float:
    """Of a trial's load what the search varies."""
    return float(load.connections if search.maximise == "connections" else load.offered_per_s)


def _bounds(values: Sequence[int]) -> tuple[float | None, float | None, float | None]:
    """Mean and t interval on a logarithmic scale; slices follow each other too far apart to be alike."""
    if not values:
        return None, None, None
    logs = np.log(np.asarray(values, dtype=float))
    mean = float(logs.mean())
    if len(values) < SLICES_MIN:
        return math.exp(mean), None, None
    quantile = float(stdtrit(len(values) - 1, 0.5 + LEVEL / 2))
    half_width = quantile * float(logs.std(ddof=1)) / math.sqrt(len(values))
    return math.exp(mean), math.exp(mean - half_width), math.exp(mean + half_width)


def _fault(record: Record) -> str | None:
    """What makes a trial fail whatever its p99 is."""
    if record.load is None:
        return record.reason or record.status
    if errors := {name: count for name, count in record.load.errors.items() if count}:
        return ", ".join(f"{count} {name}" for name, count in errors.items())
    loop = record.load.open_loop
    if loop is not None and loop.reached is not None and loop.reached < 1 - RATE_TOLERANCE:
        return f"{100 * loop.reached:.1f} % of the rate was reached"
    return None


def _rounded(value: float, *, whole: bool) -> float:
    if whole:
        return float(max(1, round(value)))
    digits = DIGITS - 1 - math.floor(math.log10(value))
    return round(value, digits)
