"""The table on a terminal of 80 columns, in a pipe, and for programs."""

import io
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from bench.records.schema import Record
from bench.records.store import RunFolder
from bench.report import terminal
from bench.report.summary import Summary, summary

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]


@pytest.fixture(scope="module")
def found(make_records: MakeRecords, make_run: MakeRun) -> Summary:
    marks = {("threads", 1000): [{"code": "wake-bound"}], ("epoll:c", 1000): [{"code": "generator-bound"}]}
    return summary([make_run(make_records(marks=marks))])


def shown(found: Summary, *, width: int, is_terminal: bool) -> str:
    output = io.StringIO()
    terminal.show(found, Console(file=output, width=width, force_terminal=is_terminal, no_color=True))
    return output.getvalue()


def test_a_terminal_of_80_columns_shows_every_figure_whole(found: Summary) -> None:
    output = io.StringIO()
    terminal.show(found, Console(file=output, width=80, force_terminal=True, color_system=None))
    lines = output.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("asyncio_streams ") for line in lines) == 4
    assert "\u2026" not in output.getvalue()  # what rich puts where it cut
    assert "generator-bound" in output.getvalue()


def test_a_narrow_terminal_does_without_what_is_asked_least(
    make_records: MakeRecords, make_run: MakeRun
) -> None:
    waits_ns = {"epoll": 200_000, "asyncio_streams": 3_000_000}
    marks = {("epoll", 100): [{"code": code} for code in ("foreign-load", "too-few-samples")]}
    records = make_records(
        {"epoll": 4000, "asyncio_streams": 9000}, connections=(100,), first_echo_ns=waits_ns, marks=marks
    )
    found = summary([make_run(records, judged_by="first_echo_time")])
    narrow, wide = (shown(found, width=width, is_terminal=True) for width in (80, 140))
    assert "\u2026" not in narrow
    lines = re.sub(r"\x1b\[[0-9;]*m", "", narrow).splitlines()
    assert max(map(len, lines)) <= 80
    assert re.sub("  +", " | ", lines[0]).startswith(
        "contender | median | req/s | first echo | first echo / epoll | marks"
    )
    assert "no room for p99, first echo p99: see the page" in lines
    assert " p99\x1b" in wide.splitlines()[0]
    assert "no room" not in wide


def test_long_titles_of_several_runs_leave_the_marks_whole(
    make_records: MakeRecords, make_run: MakeRun
) -> None:
    marks = {("threads", 10): [{"code": code} for code in ("foreign-load", "littles-law", "wake-bound")]}
    records = make_records({"epoll": 4000, "threads": 9000}, connections=(10,), repeats=2, marks=marks)
    runs = [make_run(records), make_run(records, started_at="2026-11-24T00:00:00Z")]
    text = shown(summary(runs), width=80, is_terminal=True)
    assert f"{runs[0].path.name}: 10 connections" in text
    assert "\u2026" not in text
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines())) <= 80


def test_a_pipe_gets_a_line_for_each_cell(found: Summary) -> None:
    text = shown(found, width=40, is_terminal=False)
    cells = [line for line in text.splitlines() if "connection" in line and " epoll " in line]
    assert [int(line.split()[0]) for line in cells] == [1, 10, 100, 1000]
    assert all("1 (reference)" in line for line in cells)
    assert "\x1b" not in text
    assert found.answers[0].sentence in text.splitlines()


def test_no_colour_where_none_is_wanted(found: Summary) -> None:
    assert "\x1b[3" not in shown(found, width=80, is_terminal=True)


def test_an_uneven_cell_shows_both_ratios(make_records: MakeRecords, make_run: MakeRun) -> None:
    service_ns = {"epoll": 4000, "threads": 5000}
    records = make_records(service_ns, connections=(10,), rounds=24, stalls={"threads": 0.25})
    lines = shown(summary([make_run(records)]), width=200, is_terminal=False).splitlines()
    assert any(line.startswith("uneven: ") for line in lines)
    (both,) = [line for line in lines if "threads, 10 connections: req/s" in line]
    assert "by rounds" in both
    assert "in total" in both


def test_programs_get_everything(found: Summary) -> None:
    built = terminal.as_json(found)
    assert len(built["rows"]) == 24
    marked = [row for row in built["rows"] if row["marks"].get("wake-bound") == 5]
    assert [(row["contender"], row["load"]["connections"]) for row in marked] == [("threads", 1000)]
    compared = marked[0]["response_time"]
    assert compared["low"] < compared["ratio"] < compared["high"]
    assert built["references"]["quick-20261123T135915Z"] == {"connections": "epoll"}
