"""A run in short: rows for a table, the answer, and what is missing and why."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from bench.analysis.capacity import Capacity
from bench.analysis.claims import Judgement, Verdict, judge
from bench.analysis.findings import Findings, find, load_of, rows_of
from bench.analysis.frames import CELL, LOAD
from bench.analysis.marks import WINE
from bench.analysis.memory import Memory, memories
from bench.analysis.precision import Reached, reached
from bench.plan.suite import Quantity, opens_connections
from bench.records.reading import Unread
from bench.records.schema import ForeignCall, Load
from bench.records.store import RunFolder
from bench.report import claims, interpreter_tax, ratio, units
from bench.report.answer import Answer, answers
from bench.report.interpreter_tax import Tax
from bench.report.marks import faults
from bench.report.ratio import Ratio
from bench.report.tuning import Tuned, tuned


class Row(msgspec.Struct, frozen=True):
    """One cell, all repeats together."""

    run: str
    system: str
    experiment: str
    contender: str
    model: str | None
    implementation: str | None
    load: Load
    p50_ns: float | None
    p99_ns: float | None
    rate_per_s: float | None
    first_echo_p50_ns: float | None
    first_echo_p99_ns: float | None
    reached: float | None  # of the requests that a schedule had
    requests: int
    repeats: int
    competes: bool  # False: the yardstick, which is there to compare runs by
    is_reference: bool
    wine: bool  # Windows code under Wine: without ratios
    in_best: bool  # can't be told from the fastest at this load
    response_time: Ratio | None  # medians
    rate: Ratio | None
    first_echo_time: Ratio | None  # medians; None where no clients come
    judged_by: Quantity
    marks: dict[str, int]  # code: in how many repeats
    disqualified: list[str]

    @property
    def judged(self) -> Ratio | None:
        """The ratio of what its experiment is judged by."""
        return self.ratio_of(self.judged_by)

    def ratio_of(self, quantity: Quantity) -> Ratio | None:
        """The ratio of a quantity to the reference's."""
        found: dict[Quantity, Ratio | None] = {
            "response_time": self.response_time,
            "request_rate": self.rate,
            "first_echo_time": self.first_echo_time,
        }
        return found[quantity]


class Column(NamedTuple):
    """A column that only some experiments need."""

    header: str
    text: Callable[[Row], str]


def columns_asked_for(rows: Sequence[Row]) -> list[Column]:
    """What an experiment's loads ask about beyond response time and rate."""
    loads = [row.load for row in rows]
    found = []
    if any(map(opens_connections, loads)):
        found += [
            Column("first echo", lambda row: units.time(row.first_echo_p50_ns)),
            Column("first echo p99", lambda row: units.time(row.first_echo_p99_ns)),
        ]
    if len({load.message_bytes for load in loads}) > 1:
        found.append(Column("bytes/s", lambda row: units.bandwidth(row.rate_per_s, row.load.message_bytes)))
    if any(load.offered_per_s for load in loads):
        found.append(Column("reached", lambda row: units.share(row.reached)))
    return found


class Problem(msgspec.Struct, frozen=True):
    """Cells without figures, for one reason."""

    run: str
    experiment: str
    contender: str
    status: str
    reason: str
    loads: list[Load]
    records: int
    elsewhere: list[str] = []  # the systems that it belongs to, where it can't be measured here
    variant_of: str | None = None  # the contender whose settings it is one of


class Summary(msgspec.Struct, frozen=True):
    """What one or several runs say."""

    title: str
    answers: list[Answer]
    rows: list[Row]
    problems: list[Problem]
    tuned: list[Tuned]
    memories: list[Memory]
    capacities: list[Capacity]
    references: dict[str, dict[str, str]]  # run: experiment: contender
    labels: dict[str, str]  # run: what it is called where there are several
    taxes: list[Tax]
    foreign_calls: dict[str, list[ForeignCall]]  # run: what calls cost its servers' Python
    judgements: list[Judgement]  # of the claims that the suites ask about
    hosts: str  # in what the hosts of several runs differ
    unread: dict[str, list[Unread]]  # run: what of it could not be read
    precision: list[Reached]  # of the runs that were to be measured until they are precise


def apart(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """`rows` of an experiment in two: what is compared, and what is shown under Wine's heading.

    The yardstick goes with its run's contenders: where all of those ran under Wine it has none to be compared
    with.
    """
    native = {row.run for row in rows if row.competes and not row.wine}
    with_wine = {row.run for row in rows if row.competes and row.wine}
    compared: list[Row] = []
    under_wine: list[Row] = []
    for row in rows:
        is_apart = row.wine or (row.run in with_wine and row.run not in native)
        (under_wine if is_apart else compared).append(row)
    return compared, under_wine


def shown_judgements(found: "Summary") -> list[Judgement]:
    """All verdicts where at least one claim has one: a suite that only names claims has nothing to say."""
    has_verdict = any(one.verdict is not Verdict.NOT_MEASURED for one in found.judgements)
    return found.judgements if has_verdict else []


def shown_marks(rows: Sequence[Row]) -> list[str]:
    """The codes that tables of `rows` show, each once."""
    return list(marked_cells(rows))


def marked_cells(rows: Sequence[Row]) -> dict[str, int]:
    """In how many cells tables of `rows` show each code; under Wine's heading only faults, and itself."""
    compared, under_wine = apart(rows)
    codes = [WINE for row in under_wine if row.wine]
    codes += [code for row in compared for code in row.marks]
    codes += [code for row in under_wine for code in faults(row.marks)]
    return Counter(codes)


def problems_apart(found: "Summary") -> tuple[list[Problem], dict[str, list[str]]]:
    """What has no figures and should have; and of what is another system's, the systems by contender.

    What was measured in another of the runs, on its own system, isn't missing at all.
    """
    measured = {row.contender for row in found.rows}
    elsewhere = {
        problem.variant_of or problem.contender: problem.elsewhere
        for problem in found.problems
        if problem.elsewhere and problem.contender not in measured
    }
    return [problem for problem in found.problems if not problem.elsewhere], elsewhere


def summary(folders: Sequence[RunFolder]) -> Summary:
    """Sum up the runs; several are put beside each other."""
    return of(find(folders))


def of(findings: Findings) -> Summary:
    """Sum up what was found."""
    titles = dict.fromkeys(suite.title for suite in findings.suites.values())
    return Summary(
        title=" · ".join(titles),
        answers=answers(findings),
        rows=_rows(findings),
        problems=_problems(findings),
        tuned=tuned(findings),
        memories=memories(findings),
        capacities=findings.capacities,
        references={
            run: {experiment.name: experiment.reference for experiment in suite.experiment}
            for run, suite in findings.suites.items()
        },
        labels=findings.labels,
        taxes=interpreter_tax.taxes(findings),
        foreign_calls={folder.path.name: folder.run.foreign_calls for folder in findings.folders},
        judgements=judge(findings),
        hosts=claims.hosts([folder.run for folder in findings.folders]),
        unread=findings.unread,
        precision=reached(findings),
    )


def _rows(findings: Findings) -> list[Row]:
    best = findings.best[findings.best["in_best"] & (findings.best["repeats"] > 1)]
    in_best = set(best[CELL].itertuples(index=False, name=None))
    ratios = {
        (quantity, key): ratio.of_row(row)
        for row in rows_of(findings.ratios)
        for quantity, key in [(row["quantity"], tuple(row[name] for name in CELL))]
    }
    judged_by = {
        (run, experiment.name): experiment.judged_by
        for run, suite in findings.suites.items()
        for experiment in suite.experiment
    }
    rows = []
    for cell in rows_of(findings.table):
        key = tuple(cell[name] for name in CELL)
        own = {
            "load": load_of(cell),
            "in_best": key in in_best,
            "response_time": ratios.get(("p50_ns", key)),
            "rate": ratios.get(("rate_per_s", key)),
            "first_echo_time": ratios.get(("first_echo_p50_ns", key)),
            "judged_by": judged_by[cell["run"], cell["experiment"]],
        }
        rows.append(msgspec.convert(cell | own, Row))
    return rows


def _problems(findings: Findings) -> list[Problem]:
    missing = findings.cells[findings.cells["status"] != "measured"]
    missing = missing.assign(reason=missing["reason"].fillna("no reason was recorded"))
    contenders = {
        (run, experiment.name, contender.name): contender
        for run, suite in findings.suites.items()
        for experiment in suite.experiment
        for contender in experiment.contenders
    }
    problems = []
    for _, group in missing.groupby(["run", "experiment", "contender", "status", "reason"], sort=False):
        found = rows_of(group)
        row = found[0]
        contender = contenders.get((row["run"], row["experiment"], row["contender"]))
        is_unavailable = contender is not None and row["status"] == "unavailable"
        own = {
            "elsewhere": contender.elsewhere if contender and is_unavailable else [],
            "variant_of": contender.variant_of if contender else None,
            "loads": list(dict.fromkeys(load_of(row) for row in rows_of(group.sort_values(LOAD)))),
            "records": len(found),
        }
        problems.append(msgspec.convert(row | own, Problem))
    return [*problems, *_without_requests(findings)]


def _without_requests(findings: Findings) -> list[Problem]:
    """Cells that were measured, and of which no request was ever completed."""
    table = findings.table[findings.table["requests"] == 0]
    return [
        Problem(
            run=str(run),
            experiment=str(experiment),
            contender=str(contender),
            status="measured",
            reason="no request was completed",
            loads=[load_of(row) for row in rows_of(group)],
            records=int(group["repeats"].sum()),
        )
        for (run, experiment, contender), group in table.groupby(
            ["run", "experiment", "contender"], sort=False
        )
    ]
