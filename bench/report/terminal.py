"""A summary where the run was started: a table that fits 80 columns, or plain aligned text in a pipe."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.analysis.capacity import Capacity
from bench.analysis.claims import Verdict
from bench.analysis.memory import Memory
from bench.plan.suite import Quantity
from bench.report import capacity, claims, memory, precision, ratio, tax_section, tuning, units, unread
from bench.report.answer import varying_loads
from bench.report.interpreter_tax import BOUNDS
from bench.report.judging import JUDGINGS
from bench.report.load_words import describe
from bench.report.marks import faults, meaning
from bench.report.summary import (
    Problem,
    Row,
    Summary,
    apart,
    columns_asked_for,
    problems_apart,
    shown_judgements,
    shown_marks,
)
from bench.report.tables import Line, print_plain, print_sections

BEST = "*"
# What a narrow terminal does without, the first of these first.
SPARED: dict[Quantity, tuple[str, ...]] = {
    "response_time": ("first echo p99", "first echo", "p99", "reached", "bytes/s", "req/s"),
    "request_rate": ("first echo p99", "p99", "first echo", "reached", "bytes/s", "median"),
    "first_echo_time": ("p99", "median", "reached", "req/s", "bytes/s", "first echo p99"),
}
_VERDICT_STYLES = {
    Verdict.SUPPORTED: "bold green",
    Verdict.NOT_SUPPORTED: "bold red",
    Verdict.INCONCLUSIVE: "bold yellow",
    Verdict.NOT_MEASURED: "dim",
}
TAX = "Interpreter tax: Python over its twin in C"
TAX_HEADERS = ("contender", "CPU/request", "median", "req/s", "marks")
UNDER_WINE = "Under Wine: shows that the Windows code works, and ranks nothing"


def show(summary: Summary, console: Console) -> None:
    """Print table, marks, what is missing, and last the answer."""
    questions = {answer.experiment: answer.question or answer.experiment for answer in summary.answers}
    for number, (experiment, rows) in enumerate(groupby(summary.rows, key=lambda row: row.experiment)):
        if len(questions) > 1 and console.is_terminal:
            console.print(Text(("\n" if number else "") + questions[experiment], style="underline"))
        compared, under_wine = apart(list(rows))
        if compared:
            _print_table(summary, experiment, compared, console)
        if under_wine:
            _print_wine(summary, under_wine, console, is_first=not compared)
        if tuned := [one for one in summary.tuned if one.experiment == experiment]:
            _print_tuned(tuned, summary.labels, console)
        if memories := [one for one in summary.memories if one.experiment == experiment]:
            _print_memories(memories, summary.labels, console)
        _print_taxes(summary, experiment, console)
    for _, found in groupby(summary.capacities, key=lambda one: (one.run, one.experiment)):
        _print_capacities(list(found), console)
    _print(console, _footnotes(summary.rows), "dim")
    _print_judgements(summary, console)
    problems, elsewhere = problems_apart(summary)
    _print(console, [*map(_problem, problems), *not_of_this_system(elsewhere)], "")
    if unread_lines := unread.sentences(summary.unread, summary.labels):
        _print(console, [f"{unread.TITLE}:", *(f"  {line}" for line in unread_lines)], "")
    _print_precision(summary, console)
    console.print()
    several = len({answer.experiment for answer in summary.answers}) > 1
    for answer in summary.answers:
        where = f"{answer.experiment}: " if several else ""
        run = f"{summary.labels[answer.run]}: " if len(summary.labels) > 1 else ""
        console.print(Text(run + where + answer.sentence, style="bold"), soft_wrap=not console.is_terminal)


def not_of_this_system(elsewhere: Mapping[str, Sequence[str]]) -> list[str]:
    """`not of this system: iocp, overlapped (windows)`: one line for all, none where there is none."""
    names: dict[str, list[str]] = {}
    for contender, systems in elsewhere.items():
        names.setdefault(" or ".join(systems), []).append(contender)
    parts = [f"{', '.join(own)} ({systems})" for systems, own in names.items()]
    return [f"not of this system: {'; '.join(parts)}"] if parts else []


def as_json(summary: Summary) -> dict[str, Any]:
    """The summary for a program."""
    built: dict[str, Any] = msgspec.to_builtins(summary)
    return built


def marks(row: Row) -> str:
    """`wake-bound 2/5`: how many of the repeats; without the figure where all have it."""
    return ", ".join(
        code if count >= row.repeats else f"{code} {count}/{row.repeats}" for code, count in row.marks.items()
    )


def _print_table(summary: Summary, experiment: str, rows: Sequence[Row], console: Console) -> None:
    runs = {row.run for row in rows}
    references = {own[experiment] for run, own in summary.references.items() if run in runs}
    word = JUDGINGS[rows[0].judged_by].header
    against = f"{word} / {references.pop()}" if len(references) == 1 else f"{word} / reference"
    several = len({row.system for row in rows}) > 1
    more = columns_asked_for(rows)
    headers = ["contender", *(["system"] if several else []), "median", "p99", "req/s"]
    headers += [*(column.header for column in more), against, "marks"]

    def cells(row: Row) -> list[str]:
        compared = "1 (reference)" if row.is_reference else ratio.text(row.judged)
        system = [row.system] if several else []
        asked_for = [column.text(row) for column in more]
        return [_name(row), *system, *_figures(row), *asked_for, compared, marks(row)]

    _print_rows(summary, rows, headers, cells, console)


def _print_capacities(found: Sequence[Capacity], console: Console) -> None:
    console.print(Text(capacity.title(found), style="bold"), soft_wrap=not console.is_terminal)
    lines = [row.cells for row in capacity.rows(found)]
    if console.is_terminal:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for header in capacity.HEADERS:
            table.add_column(header)
        for line in lines:
            table.add_row(*map(Text, line))
        console.print(table)
        return
    print_plain(console, capacity.HEADERS, lines)


def _print_judgements(summary: Summary, console: Console) -> None:
    """A claim a row; what the verdicts rest on is on the page."""
    if not (judgements := shown_judgements(summary)):
        return
    console.print(Text(f"\n{claims.TITLE}", style="bold"), soft_wrap=not console.is_terminal)
    if console.is_terminal:
        table = Table.grid(padding=(0, 2, 0, 0))
        for one in judgements:
            verdict = Text(f"{claims.SIGNS[one.verdict]} {one.verdict}", style=_VERDICT_STYLES[one.verdict])
            text = Text(one.statement)
            if why := claims.reasons(one):
                text.append(f"\n{why}", style="dim")
            table.add_row(Text(one.claim), verdict, text)
        console.print(table)
    else:
        lines = [[one.claim, one.verdict.value, one.statement, claims.reasons(one)] for one in judgements]
        print_plain(console, ("claim", "verdict", "statement", "why"), lines)
    _print(console, [summary.hosts] if summary.hosts else [], "dim")


def _print_precision(summary: Summary, console: Console) -> None:
    """Whether a run has become as precise as it was to be, and which ratios haven't."""
    for found in summary.precision:
        where = f"{summary.labels[found.run]}: " if len(summary.labels) > 1 else ""
        wide = [f"not reached {line}" for line in precision.not_reached(found)]
        _print(console, [where + precision.sentence(found), *wide, precision.note(found)], "")


def _print_tuned(found: Sequence[tuning.Tuned], labels: dict[str, str], console: Console) -> None:
    console.print(Text(f"\n{tuning.TITLE}", style="bold"), soft_wrap=not console.is_terminal)
    sections = {
        section.title: [Line(list(cells)) for cells in section.rows]
        for section in tuning.by_load(found, labels)
    }
    print_sections(console, tuning.HEADERS, sections, (), numbers=frozenset())
    _print(console, tuning.notes(found), "dim")


def _print_memories(found: Sequence[Memory], labels: dict[str, str], console: Console) -> None:
    console.print(Text(f"\n{memory.TITLE}", style="bold"), soft_wrap=not console.is_terminal)
    sections = {
        title: [Line(memory.cells(one)) for one in own] for title, own in memory.titles(found, labels).items()
    }
    print_sections(console, memory.HEADERS, sections, (), numbers=frozenset(memory.HEADERS[1:]))
    _print(console, [memory.READ], "dim")


def _print_wine(summary: Summary, rows: Sequence[Row], console: Console, *, is_first: bool) -> None:
    """Figures and how many echoes they rest on, but no ratios."""
    console.print(Text(f"{'' if is_first else chr(10)}{UNDER_WINE}", style="bold"))
    has_faults = any(faults(row.marks) for row in rows)
    headers = ["contender", "system", "median", "p99", "req/s", "echoes", *(["marks"] if has_faults else [])]

    def cells(row: Row) -> list[str]:
        shown = msgspec.structs.replace(row, marks=faults(row.marks))
        faulty = [marks(shown)] if has_faults else []
        return [_name(row), row.system, *_figures(row), f"{row.requests:,}", *faulty]

    _print_rows(summary, rows, headers, cells, console)


def _print_taxes(summary: Summary, experiment: str, console: Console) -> None:
    """Python over C, where twins compete; where only the yardstick is one the page has it."""
    asked = [one for one in summary.taxes if one.is_asked and one.experiment == experiment]
    if not asked:
        return
    console.print(Text(f"\n{TAX}", style="bold"))
    axes = varying_loads([one.load for one in asked])
    sections: dict[str, list[Line]] = {}
    for one in sorted(asked, key=lambda one: msgspec.structs.astuple(one.load)):
        cells = [one.contender, one.shown_cpu, one.shown_response_time, one.shown_rate, ", ".join(one.marks)]
        title = _titled(summary, one.run, describe(one.load, axes))
        good = frozenset({"contender", "CPU/request"} if one.is_cpu_fit else ())
        sections.setdefault(title, []).append(Line(cells, is_dim=not one.is_fit, bright=good))
    # In a closed loop rate and response time are two views of the same thing: that it is judged by stays.
    is_of_rates = any(row.judged_by == "request_rate" for row in summary.rows if row.experiment == experiment)
    spared = ("median", "req/s") if is_of_rates else ("req/s", "median")
    print_sections(console, TAX_HEADERS, sections, spared, numbers=frozenset())
    bounds = [BOUNDS] if any(one.is_bound for one in asked) else []
    _print(console, [*bounds, *tax_section.notes(summary, asked)], "dim")


def _print_rows(
    summary: Summary,
    rows: Sequence[Row],
    headers: Sequence[str],
    cells: Callable[[Row], list[str]],
    console: Console,
) -> None:
    axes = varying_loads([row.load for row in rows])
    sections: dict[str, list[Line]] = {}
    for row in rows:
        sections.setdefault(_section(summary, row, axes), []).append(Line(cells(row), not row.competes))
    print_sections(console, headers, sections, SPARED[rows[0].judged_by])


def _section(summary: Summary, row: Row, axes: Sequence[str]) -> str:
    return _titled(summary, row.run, describe(row.load, axes))


def _titled(summary: Summary, run: str, words: str) -> str:
    return f"{summary.labels[run]}: {words}" if len(summary.labels) > 1 else words


def _name(row: Row) -> str:
    return f"{row.contender} {BEST}" if row.in_best else row.contender


def _figures(row: Row) -> list[str]:
    return [units.time(row.p50_ns), units.time(row.p99_ns), units.rate(row.rate_per_s)]


def _footnotes(rows: Sequence[Row]) -> Iterable[str]:
    if any(row.in_best for row in rows):
        yield f"{BEST} can't be told from the fastest that may be compared at this load"
    for code in shown_marks(rows):
        yield f"{code}: {meaning(code).fact}"
        if code == "uneven":
            yield from (f"  {line}" for row in rows for line in uneven(row))


def uneven(row: Row) -> Iterable[str]:
    """Both ratios of a cell where they disagree."""
    for quantity, found in (("req/s", row.rate), ("median", row.response_time)):
        if found is not None and found.totals is not None:
            where = f"{row.contender}, {describe(row.load, ['connections'])}"
            yield f"{where}: {quantity} {ratio.text(found)} by rounds, {ratio.text(found.totals)} in total"


def _problem(problem: Problem) -> str:
    loads = "; ".join(describe(load, varying_loads(problem.loads)) for load in problem.loads)
    where = "" if problem.status == "unavailable" else f" with {loads}"
    return f"{problem.contender} {problem.status}{where}: {problem.reason}"


def _print(console: Console, lines: Iterable[str], style: str) -> None:
    for number, line in enumerate(lines):
        if number == 0:
            console.print()
        console.print(Text(line, style=style), soft_wrap=not console.is_terminal)
