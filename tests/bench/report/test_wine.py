"""What ran under Wine is shown apart, with its system on every row, and is ranked and answered by nothing."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from bench.analysis.findings import find
from bench.records.schema import Record, ServerPython
from bench.records.store import RunFolder
from bench.report import page, terminal
from bench.report.answer import UNDER_WINE
from bench.report.drawing import draw_charts
from bench.report.summary import Summary, apart, summary

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]
PYTHON = ServerPython(interpreter="CPython 3.11.9", system="windows-wine", gil=True)
LOADS = (10, 100)


@pytest.fixture(scope="module")
def linux(make_records: MakeRecords, make_run: MakeRun) -> RunFolder:
    """A run of Linux, of a suite that names a model of Windows, too."""
    records = make_records({"epoll": 4000, "threads": 9000, "epoll:c": 3000}, connections=LOADS, repeats=3)
    missing = make_records({"iocp": 1, "wsapoll": 1}, connections=LOADS, repeats=3)
    return make_run(
        [*records, *(_unavailable(record) for record in missing)],
        contenders=["epoll", "threads", "iocp", "wsapoll"],
        elsewhere={"iocp": ["windows"], "wsapoll": ["windows"]},
    )


@pytest.fixture(scope="module")
def wine(make_records: MakeRecords, make_run: MakeRun) -> RunFolder:
    """Windows servers under Wine, measured by a harness on Linux."""
    service_ns = {"iocp": 40_000, "threads": 90_000, "epoll:c": 3000}
    records = make_records(service_ns, connections=LOADS, repeats=3, system="windows-wine")
    return make_run(records, reference="iocp", started_at="2026-11-24T00:00:00Z", server_python=PYTHON)


def _unavailable(record: Record) -> Record:
    import msgspec

    reason = f"{record.cell.contender} belongs to windows: run it there"
    return msgspec.structs.replace(record, status="unavailable", reason=reason, load=None, server=None)


def _shown(found: Summary, *, is_terminal: bool) -> list[str]:
    output = io.StringIO()
    console = Console(file=output, width=80, force_terminal=is_terminal, no_color=True, color_system=None)
    terminal.show(found, console)
    return output.getvalue().splitlines()


def test_the_answer_concludes_nothing_from_it(linux: RunFolder, wine: RunFolder) -> None:
    (alone,) = summary([wine]).answers
    assert (alone.sentence, alone.best, alone.load) == (UNDER_WINE, [], None)
    of_linux, of_wine = summary([linux, wine]).answers
    assert of_linux.sentence.startswith("With 100 connections epoll answers fastest")
    assert of_linux.best == ["epoll"]
    assert of_wine.sentence == UNDER_WINE


def test_a_run_of_both_answers_for_the_rest(make_records: MakeRecords, make_run: MakeRun) -> None:
    """As when the yardstick and anybody's command compete with Windows servers under Wine."""
    native = make_records({"epoll": 4000, "threads": 9000}, connections=(100,), repeats=3)
    under_wine = make_records({"iocp": 2000}, connections=(100,), repeats=3, system="windows-wine")
    (answer,) = summary([make_run([*native, *under_wine])]).answers
    assert answer.sentence.startswith("With 100 connections epoll answers fastest")
    assert answer.sentence.endswith("nothing is concluded from Wine.")
    assert answer.best == ["epoll"]


def test_it_has_no_ratios_and_neither_has_what_is_compared_with_it(linux: RunFolder, wine: RunFolder) -> None:
    found = find([linux, wine])
    assert set(found.ratios["run"]) == set(found.best["run"]) == {linux.path.name}
    rows = {row.contender: row for row in summary([wine]).rows}
    assert {row.wine for row in (rows["iocp"], rows["threads"])} == {True}
    assert rows["epoll:c"].wine is False
    assert all(row.response_time is None and row.rate is None for row in rows.values())


def test_rows_go_apart_with_the_yardstick_that_has_nobody_else(linux: RunFolder, wine: RunFolder) -> None:
    compared, under_wine = apart(summary([linux, wine]).rows)
    assert {(row.contender, row.system) for row in under_wine} == {
        ("iocp", "windows-wine"),
        ("threads", "windows-wine"),
        ("epoll:c", "linux"),
    }
    assert {row.run for row in compared} == {linux.path.name}
    assert len(compared) == 2 * 3


def test_charts_of_it_are_its_own(linux: RunFolder, wine: RunFolder) -> None:
    drawn = draw_charts(find([linux, wine]))
    of_experiment = ("response_time", "request_rate", "ratio", "distribution", "wine-response_time")
    of_runs = {f"{linux.path.name}-wandering"}
    assert set(drawn) == of_runs | {f"connections-{name}" for name in of_experiment}

    def names(chart: str) -> set[str]:
        return {str(line.get_label()) for axes in drawn[chart].axes for line in axes.get_lines()}

    assert {"epoll", "threads", "epoll:c"} <= names("connections-response_time")
    assert "iocp" not in names("connections-response_time")
    assert "epoll:c" not in names("connections-wine-response_time")
    assert len(drawn["connections-response_time"].axes) == 1
    assert set(draw_charts(find([wine]))) == {"connections-wine-response_time"}


def test_the_page_says_why_and_every_row_its_system(
    linux: RunFolder, wine: RunFolder, tmp_path: Path
) -> None:
    html = page.write([linux, wine], tmp_path).read_text(encoding="utf-8")
    before, section = html.split('<section id="connections-wine"')
    assert "windows-wine</td>" not in before
    section = section.split("</section>")[0]
    assert "round trip to another process" in section
    assert "rank nothing" in section
    cells = re.findall(r"<tr class=\"cell.*?</tr>", section, re.DOTALL)
    assert len(cells) == 2 * 3
    assert sum("<td>windows-wine</td>" in cell for cell in cells) == 4
    assert sum("<td>linux</td>" in cell for cell in cells) == 2
    assert "relative to" not in section
    assert '<dt id="mark-windows-wine">' in html
    assert "CPython 3.11.9 on windows-wine" in html


def test_a_page_of_it_alone_has_no_empty_sections(wine: RunFolder, tmp_path: Path) -> None:
    html = page.write([wine], tmp_path).read_text(encoding="utf-8")
    assert '<section id="connections">' not in html
    assert '<section id="connections-wine"' in html
    assert UNDER_WINE in html


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_terminal_shows_it_apart(linux: RunFolder, wine: RunFolder, *, is_terminal: bool) -> None:
    lines = _shown(summary([linux, wine]), is_terminal=is_terminal)
    start = lines.index("Under Wine: shows that the Windows code works, and ranks nothing")
    assert not any("windows-wine" in line for line in lines[:start])
    rows = [line for line in lines[start:] if re.search(r"\b(iocp|threads|epoll:c) .*,\d{3}$", line)]
    assert len(rows) == 2 * 3
    assert all("windows-wine" in line or "linux" in line for line in rows)
    assert not is_terminal or max(map(len, lines)) <= 80


def test_what_is_of_another_system_is_one_line(linux: RunFolder, wine: RunFolder, tmp_path: Path) -> None:
    lines = _shown(summary([linux]), is_terminal=True)
    assert [line for line in lines if "iocp" in line or "wsapoll" in line] == [
        "not of this system: iocp, wsapoll (windows)"
    ]
    assert "not of this system: iocp, wsapoll (windows)" in page.write([linux], tmp_path).read_text("utf-8")
    both = _shown(summary([linux, wine]), is_terminal=True)
    assert "not of this system: wsapoll (windows)" in both  # iocp has its figures beside


def test_faults_of_the_code_are_marks_also_there(make_records: MakeRecords, make_run: MakeRun) -> None:
    marks = {("iocp", 10): [{"code": "errors", "reset": 2}], ("threads", 10): [{"code": "wake-bound"}]}
    records = make_records(
        {"iocp": 4000, "threads": 5000}, connections=(10,), repeats=2, marks=marks, system="windows-wine"
    )
    lines = _shown(summary([make_run(records, reference="iocp")]), is_terminal=False)
    assert any("iocp" in line and line.endswith("errors") for line in lines)
    assert not any("wake-bound" in line for line in lines)
