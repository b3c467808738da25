"""A summary where the run was started: a table that fits 80 columns, or plain aligned text in a pipe."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.analysis.capacity import Capacity
from bench.plan.suite import Quantity
from bench.report import capacity, tuning, units
from bench.report.answer import varying_loads
from bench.report.judging import JUDGINGS
from bench.report.load_words import describe
from bench.report.marks import faults, meaning
from bench.report.summary import (
    Problem,
    Ratio,
    Row,
    Summary,
    apart,
    columns_asked_for,
    problems_apart,
    shown_marks,
)

BEST = "*"
_GAP = "  "
NUMBERS = frozenset(
    ("median", "p99", "req/s", "echoes", "first echo", "first echo p99", "bytes/s", "reached")
)
# What a narrow terminal does without, the first of these first.
SPARED: dict[Quantity, tuple[str, ...]] = {
    "response_time": ("first echo p99", "first echo", "p99", "reached", "bytes/s", "req/s"),
    "request_rate": ("first echo p99", "p99", "first echo", "reached", "bytes/s", "median"),
    "first_echo_time": ("p99", "median", "reached", "req/s", "bytes/s", "first echo p99"),
}
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
    for _, found in groupby(summary.capacities, key=lambda one: (one.run, one.experiment)):
        _print_capacities(list(found), console)
    _print(console, _footnotes(summary.rows), "dim")
    problems, elsewhere = problems_apart(summary)
    _print(console, [*map(_problem, problems), *not_of_this_system(elsewhere)], "")
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


def ratio(found: Ratio | None) -> str:
    """A ratio with its interval; a dash where nothing was compared."""
    return units.NOTHING if found is None else units.ratio(found.ratio, found.low, found.high)


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
        compared = "1 (reference)" if row.is_reference else ratio(row.judged)
        system = [row.system] if several else []
        asked_for = [column.text(row) for column in more]
        return [_name(row), *system, *_figures(row), *asked_for, compared, marks(row)]

    _print_rows(summary, rows, headers, cells, console)


def _print_capacities(found: Sequence[Capacity], console: Console) -> None:
    console.print(Text(capacity.title(found), style="bold"), soft_wrap=not console.is_terminal)
    _print_lines([capacity.HEADERS, *(row.cells for row in capacity.rows(found))], console)


def _print_tuned(found: Sequence[tuning.Tuned], labels: dict[str, str], console: Console) -> None:
    sections = tuning.by_load(found, labels)
    for section in sections:
        heading = tuning.TITLE if len(sections) == 1 else f"{tuning.TITLE}, {section.title}"
        console.print(Text(f"\n{heading}", style="bold"), soft_wrap=not console.is_terminal)
        _print_lines([tuning.HEADERS, *section.rows], console)
    for note in tuning.notes(found):
        console.print(Text(note, style="dim"), soft_wrap=not console.is_terminal)


def _print_lines(lines: Sequence[Sequence[str]], console: Console) -> None:
    if console.is_terminal:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for header in lines[0]:
            table.add_column(header)
        for line in lines[1:]:
            table.add_row(*map(Text, line))
        console.print(table)
        return
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        console.print(Text(text.rstrip()), soft_wrap=True)


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


def _print_rows(
    summary: Summary,
    rows: Sequence[Row],
    headers: Sequence[str],
    cells: Callable[[Row], list[str]],
    console: Console,
) -> None:
    axes = varying_loads([row.load for row in rows])
    sections: dict[str, list[Row]] = {}
    for row in rows:
        sections.setdefault(_section(summary, row, axes), []).append(row)
    if console.is_terminal:
        shown = {title: [cells(row) for row in own] for title, own in sections.items()}
        kept = _columns_that_fit(headers, shown, SPARED[rows[0].judged_by], console.width)
        shown = {title: [[line[i] for i in kept] for line in lines] for title, lines in shown.items()}
        _print_sections([headers[i] for i in kept], sections, shown, console)
        if left_out := [header for i, header in enumerate(headers) if i not in kept]:
            console.print(Text(f"no room for {', '.join(left_out)}: see the page", style="dim"))
        return
    plain = [["load", *headers], *([title, *cells(row)] for title, own in sections.items() for row in own)]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    for line in plain:
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        console.print(Text(text.rstrip()), soft_wrap=True)


def _columns_that_fit(
    headers: Sequence[str], shown: dict[str, list[list[str]]], spared: Sequence[str], room: int
) -> list[int]:
    """The places of `headers` that stay where the table has `room` characters."""
    every = [list(headers), *(line for lines in shown.values() for line in lines)]
    # Marks take several lines where they must; a single one is whole.
    widths = {
        header: max(
            len(part) for cell in column for part in (cell.split(",") if header == "marks" else [cell])
        )
        for header, column in zip(headers, zip(*every, strict=True), strict=True)
    }
    chosen = [header for header in headers if header not in spared]
    for header in reversed(spared):
        wider = [*chosen, *([header] if header in headers else [])]
        if sum(widths[name] for name in wider) + len(_GAP) * (len(wider) - 1) <= room:
            chosen = wider
    return [place for place, header in enumerate(headers) if header in chosen]


def _print_sections(
    headers: Sequence[str],
    sections: dict[str, list[Row]],
    shown: dict[str, list[list[str]]],
    console: Console,
) -> None:
    """A table a section, of the same widths: a section's title, as long as it may be, is no cell of them."""
    every = [list(headers), *(line for lines in shown.values() for line in lines)]
    widths = [max(map(len, column)) for column in zip(*every, strict=True)]

    def table(*, has_header: bool) -> Table:
        made = Table(
            box=None, pad_edge=False, padding=(0, len(_GAP), 0, 0), header_style="dim", show_header=has_header
        )
        for header, width in zip(headers, widths, strict=True):
            right = header in NUMBERS
            is_marks = header == "marks"  # which take the room that is left
            made.add_column(
                header,
                justify="right" if right else "left",
                no_wrap=not is_marks,
                width=None if is_marks else width,
            )
        return made

    console.print(table(has_header=True))
    for title, rows in sections.items():
        console.print(Text(title, style="bold"))
        part = table(has_header=False)
        for row, line in zip(rows, shown[title], strict=True):
            part.add_row(*(Text(cell, style="" if row.competes else "dim") for cell in line))
        console.print(part)


def _section(summary: Summary, row: Row, axes: Sequence[str]) -> str:
    words = describe(row.load, axes)
    return f"{summary.labels[row.run]}: {words}" if len(summary.labels) > 1 else words


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
            yield f"{where}: {quantity} {ratio(found)} by rounds, {ratio(found.totals)} in total"


def _problem(problem: Problem) -> str:
    loads = "; ".join(describe(load, varying_loads(problem.loads)) for load in problem.loads)
    where = "" if problem.status == "unavailable" else f" with {loads}"
    return f"{problem.contender} {problem.status}{where}: {problem.reason}"


def _print(console: Console, lines: Iterable[str], style: str) -> None:
    for number, line in enumerate(lines):
        if number == 0:
            console.print()
        console.print(Text(line, style=style), soft_wrap=not console.is_terminal)
