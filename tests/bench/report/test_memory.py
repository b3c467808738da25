"""Memory for each idle connection on page, terminal and in JSON."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from bench.records.schema import Record
from bench.records.store import RunFolder
from bench.report import page, summary, terminal
from bench.report.memory import TITLE

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]
MIB = 1 << 20
EACH = {"epoll": (200, 1500), "threads": (20_000, 25_000), "select": (100, None)}


@pytest.fixture
def records(make_records: MakeRecords) -> Callable[[int], list[Record]]:
    """Records of an idle crowd of some size."""

    def make(idle: int) -> list[Record]:
        made = make_records({"epoll": 4000, "threads": 8000, "select": 5000}, connections=(10,), repeats=3)
        return [_with_crowd(record, idle) for record in made]

    return make


def _with_crowd(record: Record, idle: int) -> Record:
    in_process, in_kernel = EACH[record.cell.contender]
    count = idle + record.cell.load.connections
    samples = msgspec.structs.replace(
        record.samples,
        server_memory_before_bytes=12 * MIB,
        server_memory_bytes=12 * MIB + in_process * count,
        server_kernel_before_bytes=None if in_kernel is None else MIB,
        server_kernel_bytes=None if in_kernel is None else MIB + in_kernel * count,
    )
    load = msgspec.structs.replace(record.cell.load, idle=idle)
    return msgspec.structs.replace(
        record, samples=samples, cell=msgspec.structs.replace(record.cell, load=load)
    )


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_table_with_the_least_first(
    records: Callable[[int], list[Record]], make_run: MakeRun, *, is_terminal: bool
) -> None:
    out = StringIO()
    console = Console(file=out, force_terminal=is_terminal, width=80, color_system=None)
    terminal.show(summary.summary([make_run(records(8000))]), console)
    text = out.getvalue().partition(TITLE)[2]
    lines = [line.replace("8010 open connections", "").split() for line in text.splitlines()]
    rows = [line for line in lines if line[:1] in (["select"], ["epoll"], ["threads"])][:3]
    assert [row[0] for row in rows] == ["select", "epoll", "threads"]
    assert " ".join(rows[0]) == "select 100 B - 12 MiB"
    assert " ".join(rows[1]) == "epoll 200 B 1.46 KiB 12 MiB"
    assert " ".join(rows[2]) == "threads 19.5 KiB 24.4 KiB 12 MiB"
    least, most = (
        "100 B in the process with select",
        "19.5 KiB in the process and 24.4 KiB in the kernel with",
    )
    assert f"An idle connection takes {least}, {most} threads." in " ".join(text.split())


def test_of_several_crowds_the_largest_and_none_of_few(
    records: Callable[[int], list[Record]], make_run: MakeRun
) -> None:
    found = summary.summary([make_run([*records(1000), *records(8000)])]).memories
    assert {one.load.idle for one in found} == {8000}
    assert found[0].process_bytes == pytest.approx(100)
    assert summary.summary([make_run(records(100))]).memories == []


def test_the_page_has_it(records: Callable[[int], list[Record]], make_run: MakeRun, tmp_path: Path) -> None:
    text = page.write([make_run(records(8000))], tmp_path).read_text(encoding="utf-8")
    assert f"<h3>{TITLE}</h3>" in text
    assert "24.4 KiB" in text
