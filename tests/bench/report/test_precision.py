"""What is said of a run that was to be measured until it is precise."""

import io
import json
from collections.abc import Callable

import pytest
from rich.console import Console

from bench.analysis.precision import Reached
from bench.measure.precision import Width, rule
from bench.records.schema import Load, Record
from bench.records.store import RunFolder
from bench.report import page, terminal
from bench.report.precision import not_reached, rows, sentence, still_wide
from bench.report.summary import summary

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]


def width(contender: str, connections: int, half_width: float | None, repeats: int = 9) -> Width:
    return Width(
        experiment="connections",
        contender=contender,
        load=Load(connections=connections),
        repeats=repeats,
        half_width=half_width,
        is_precise=half_width is not None and half_width <= 0.02,
    )


def reached(*widths: Width, is_over: bool = True) -> Reached:
    return Reached(run="r", asked=rule(0.02, 300), elapsed_s=301, is_over=is_over, widths=list(widths))


MIXED = (width("poll", 100, 0.0204), width("threads", 100, 0.0342), width("poll", 10, 0.0123, 5))


def test_the_budget_was_spent_before_all_were_reached() -> None:
    found = reached(*MIXED)
    assert sentence(found) == (
        "1 of 3 ratios are within +-2 %, after 5 to 9 repeats; the budget of 5 min is spent."
    )
    assert list(not_reached(found)) == ["with 100 connections: threads +-3.42 %, poll +-2.04 %"]
    assert [row.cells for row in rows(found)] == [
        ("10 connections", "5", "1 of 1", "poll +-1.23 %"),
        ("100 connections", "9", "0 of 2", "threads +-3.42 %"),
    ]
    assert [row.is_reached for row in rows(found)] == [True, False]


def test_all_were_reached() -> None:
    found = reached(width("poll", 10, 0.0123), width("poll", 100, 0.02))
    assert sentence(found) == "All 2 ratios are within +-2 %, after 9 repeats."
    assert list(not_reached(found)) == []


def test_other_ends() -> None:
    assert sentence(reached(*MIXED, is_over=False)).endswith("; the run hasn't come to its end.")
    assert sentence(reached()).startswith("No ratio could be brought within +-2 %")
    unknown = reached(width("poll", 10, None, 1))
    assert list(not_reached(unknown)) == ["with 10 connections: poll can't be told"]


def test_while_it_is_measured_the_widest_are_named() -> None:
    assert still_wide(MIXED, 0.02, 0) == "2 of 3 ratios over +-2 %"
    assert still_wide(MIXED, 0.02, 2) == (
        "2 of 3 ratios over +-2 %: threads, 100 connections +-3.42 %; poll, 100 connections +-2.04 %"
    )
    assert still_wide(MIXED, 0.02, 1).endswith("threads, 100 connections +-3.42 %; …")


@pytest.fixture
def run(make_records: MakeRecords, make_run: MakeRun) -> RunFolder:
    records = make_records({"epoll": 4000, "select": 5000}, connections=(10, 100), noise=0.05)
    return make_run(records, precision=rule(0.001, 300))


def test_it_is_said_on_the_terminal_on_the_page_and_to_programs(run: RunFolder) -> None:
    found = summary([run])
    output = io.StringIO()
    terminal.show(found, Console(file=output, width=80, force_terminal=False))
    html = page.write([run]).read_text(encoding="utf-8")
    for text in (output.getvalue(), html):
        assert "0 of 2 ratios are within +-0.1 %, after 5 repeats; the budget of 5 min is spent." in text
        assert "with 100 connections: select +-" in text
        assert "computed at 96 %" in text
    assert html.count('id="precision"') == 1
    (built,) = json.loads(json.dumps(terminal.as_json(found)))["precision"]
    assert built["asked"]["target"] == 0.001
    assert [one["is_precise"] for one in built["widths"]] == [False, False]


def test_nothing_is_said_of_a_run_that_was_not_asked(make_records: MakeRecords, make_run: MakeRun) -> None:
    run = make_run(make_records({"epoll": 4000, "select": 5000}, connections=(10,)))
    assert 'id="precision"' not in page.write([run]).read_text(encoding="utf-8")
    assert terminal.as_json(summary([run]))["precision"] == []
