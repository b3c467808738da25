"""Whether a contender is slower than the reference by more than a threshold: a test for changes to a server.

It speaks of all loads of an experiment together. Only an interval that lies beyond the threshold as a whole
says slower; one that holds it says that this run can't tell.
"""

from typing import Any, Literal

import msgspec
import pandas as pd

from bench.analysis.findings import Findings, rows_of
from bench.analysis.ratios import pooled
from bench.plan.suite import Experiment
from bench.report import units
from bench.report.judging import JUDGINGS

# On this machine, for two versions of one program, what waking costs is the same; and a server that waits for
# something has this mark by its nature.
SAME_FOR_BOTH = "wake-bound"
Outcome = Literal["slower", "not slower", "inconclusive"]


class Comparison(msgspec.Struct, frozen=True):
    """How much longer a contender takes than the reference: 1.03 is 3 % slower, also of request rates."""

    run: str
    experiment: str
    contender: str
    reference: str
    quantity: str
    outcome: Outcome
    threshold: float
    loads: int
    repeats: int
    slowdown: float | None
    low: float | None
    high: float | None


def comparisons(findings: Findings, threshold: float) -> list[Comparison]:
    """Every contender against the reference of its experiment; `threshold` 0.03 means 3 %."""
    return [
        _comparison(findings, run, experiment, contender.name, threshold)
        for run, suite in findings.suites.items()
        for experiment in suite.experiment
        if experiment.search is None
        for contender in experiment.contenders
        if contender.name != experiment.reference and contender.unavailable is None
    ]


def _comparison(
    findings: Findings, run: str, experiment: Experiment, contender: str, threshold: float
) -> Comparison:
    judging = JUDGINGS[experiment.judged_by]
    own = _own(findings, run, experiment.name)
    level = findings.levels[run]
    table = pooled(*own, experiment.reference, quantity=judging.column, level=level)
    row: dict[str, Any] = next((row for row in rows_of(table) if row["contender"] == contender), {})
    slowdown, low, high = (row.get(name) for name in ("ratio", "low", "high"))
    if judging.higher_is_better:
        slowdown, low, high = (1 / value if value else None for value in (slowdown, high, low))
    return Comparison(
        run=run,
        experiment=experiment.name,
        contender=contender,
        reference=experiment.reference,
        quantity=judging.long,
        outcome=_outcome(low, high, threshold),
        threshold=threshold,
        loads=row.get("loads", 0),
        repeats=row.get("repeats", 0),
        slowdown=slowdown,
        low=low,
        high=high,
    )


def sentence(one: Comparison) -> str:
    """`head is slower than base by 4.1 % (3.2 to 5.0), more than 3 %`, over what."""
    limit = f"{100 * one.threshold:g}"
    if one.slowdown is None:
        return f"{one.contender}: inconclusive: nothing fit to be compared with {one.reference} was measured"
    over = f"{one.quantity}, {one.loads} load{'s' if one.loads > 1 else ''} together"
    if one.low is None or one.high is None:
        return f"{one.contender}: inconclusive: one repeat has no interval: measure at least 3"
    change = f"{_percent(one.slowdown - 1)} ({_percent(one.low - 1)} to {_percent(one.high - 1)})"
    words = {
        "slower": f"slower than {one.reference} by more than {limit} %",
        "not slower": f"not slower than {one.reference} by {limit} %",
        "inconclusive": f"inconclusive: whether slower than {one.reference} by {limit} % can't be told",
    }
    return f"{one.contender}: {words[one.outcome]}: {change} % in {over}"


def _own(findings: Findings, run: str, experiment: str) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    def own(table: pd.DataFrame) -> pd.DataFrame:
        return table[(table["run"] == run) & (table["experiment"] == experiment)]

    table = own(findings.table)
    unfit = table["disqualified"].map(lambda codes: bool(set(codes) - {SAME_FOR_BOTH})).astype(bool)
    return own(findings.cells), own(findings.slices), table[~unfit]


def _outcome(low: float | None, high: float | None, threshold: float) -> Outcome:
    if low is None or high is None:
        return "inconclusive"
    if low > 1 + threshold:
        return "slower"
    return "not slower" if high < 1 + threshold else "inconclusive"


def _percent(share: float) -> str:
    return units.digits(abs(100 * share)) if share >= 0 else f"-{units.digits(abs(100 * share))}"
