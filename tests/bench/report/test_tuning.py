"""The best settings on page, terminal and in JSON."""

import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from bench.analysis.findings import find
from bench.records.schema import Cpus, Record
from bench.records.store import RunFolder
from bench.report import page, summary, terminal
from bench.report.tuning import ONE_CPU, READ, TITLE

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]
SERVICES = {"epoll-threads-1": 4000, "epoll-threads-2": 2000, "poll-threads-1": 2000, "poll-threads-2": 4000}


@pytest.fixture
def run(make_records: MakeRecords, make_run: MakeRun) -> RunFolder:
    records = make_records(SERVICES, connections=(100, 1000), repeats=8)
    return make_run(records, reference="epoll-threads-1", judged_by="request_rate")


def printed(folder: RunFolder, *, is_terminal: bool) -> str:
    out = StringIO()
    console = Console(file=out, force_terminal=is_terminal, width=80, color_system=None)
    terminal.show(summary.summary([folder]), console)
    return out.getvalue()


@pytest.mark.parametrize("is_terminal", [False, True])
def test_the_terminal_names_best_setting_and_gain(run: RunFolder, *, is_terminal: bool) -> None:
    text = " ".join(printed(run, is_terminal=is_terminal).split())
    found = re.findall(r" epoll threads-2 threads-1 (\d\.\d+) \(", text)
    assert len(found) == 2  # one for each load
    assert all(1.9 < float(gain) < 2.1 for gain in found)
    assert text.count(" poll threads-1 it is as it comes 1 ") == 2
    assert TITLE in text
    assert READ in text
    assert ONE_CPU in text


def test_no_word_of_one_cpu_where_there_are_more(make_records: MakeRecords, make_run: MakeRun) -> None:
    records = [
        msgspec.structs.replace(record, cpus=Cpus(server=[0, 1], generator=[2]))
        for record in make_records(SERVICES, connections=(100,), repeats=4)
    ]
    assert ONE_CPU not in printed(make_run(records, reference="epoll-threads-1"), is_terminal=False)


def test_the_page_has_the_table(run: RunFolder, tmp_path: Path) -> None:
    text = page.write([run], tmp_path).read_text(encoding="utf-8")
    assert f"<h3>{TITLE}</h3>" in text
    assert "threads-2" in text.partition(f"<h3>{TITLE}</h3>")[2]
    assert ONE_CPU in text


def test_nothing_where_contenders_come_in_one_setting(make_records: MakeRecords, make_run: MakeRun) -> None:
    folder = make_run(make_records(connections=(10,), repeats=4))
    assert TITLE not in printed(folder, is_terminal=True)
    assert summary.of(find([folder])).tuned == []


def test_as_json_it_has_figures(run: RunFolder) -> None:
    built = terminal.as_json(summary.summary([run]))["tuned"]
    assert [(one["contender"], one["load"]["connections"]) for one in built] == [
        ("epoll", 100),
        ("poll", 100),
        ("epoll", 1000),
        ("poll", 1000),
    ]
    assert built[0]["low"] < built[0]["gain"] < built[0]["high"]
    assert built[0]["one_cpu"]
