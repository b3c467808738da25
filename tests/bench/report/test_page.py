"""The page is one file that holds everything, also what failed, and runs nobody's markup."""

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from bench.records.schema import Record
from bench.records.store import RunFolder
from bench.report import page

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]
CHARTS = {
    f"connections-{name}.{kind}" for name in ("response_time", "request_rate") for kind in ("svg", "png")
}


@pytest.fixture(scope="module")
def run(make_records: MakeRecords, make_run: MakeRun) -> RunFolder:
    """A run with its page."""
    records = make_records(
        {"epoll": 4000, "select": 5000, "threads": 9000, "epoll:c": 3000},
        repeats=3,
        marks={("threads", 10): [{"code": "wake-bound"}]},
    )
    missing = [
        msgspec.structs.replace(one, status=status, reason=reason, load=None, server=None)
        for one, status, reason in (
            (records[1], "failed", "it ended with <signal 9>"),
            (records[2], "refused", "no more than 1024 descriptors"),
        )
    ]
    folder = make_run([records[0], *missing, *records[3:]])
    assert page.write([folder]) == folder.path / "report.html"
    return folder


@pytest.fixture(scope="module")
def html(run: RunFolder) -> str:
    return (run.path / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_same_records_give_the_same_bytes_wherever_they_go(run: RunFolder, tmp_path: Path) -> None:
    assert page.write([run], tmp_path / "elsewhere") == tmp_path / "elsewhere" / "report.html"
    files = [Path("report.html"), *(Path("charts", name) for name in CHARTS)]
    assert {path.name for path in (run.path / "charts").iterdir()} == CHARTS
    for file in files:
        assert (run.path / file).read_bytes() == (tmp_path / "elsewhere" / file).read_bytes()
    assert (run.path / "charts" / "connections-response_time.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_is_loaded_from_anywhere(html: str) -> None:
    assert "<script" not in html
    targets = re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?([^\"')\s>]+)", html)
    assert targets
    assert [target for target in targets if not target.startswith("#")] == []


def test_ids_are_unique_and_references_meet_them(html: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', html)) <= set(ids)


def test_every_cell_its_marks_and_what_is_missing_are_there(html: str) -> None:
    assert html.count('<tr class="cell') == 16
    assert html.count('href="#mark-wake-bound"') == 1
    assert '<dt id="mark-wake-bound">' in html
    assert "it ended with &lt;signal 9&gt;" in html
    assert "no more than 1024 descriptors" in html
    assert "server on CPU 0, generator on 1" in html


def test_charts_are_well_formed_with_text_as_text(run: RunFolder) -> None:
    for path in (run.path / "charts").glob("*.svg"):
        words = " ".join(ElementTree.parse(path).getroot().itertext())
        assert all(word in words for word in ("connections", "1000", "threads", "epoll:c"))
        assert path.stat().st_size < 60_000


def test_names_are_text_and_never_markup(make_records: MakeRecords, make_run: MakeRun) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    records = [
        msgspec.structs.replace(one, cell=msgspec.structs.replace(one.cell, contender=hostile, model=None))
        for one in make_records({"epoll": 4000}, connections=(10, 100), repeats=2)
    ]
    written = page.write([make_run(records, contenders=[hostile, "epoll"])])
    assert "<img" not in written.read_text(encoding="utf-8")
    assert "&lt;img" in written.read_text(encoding="utf-8")


def test_a_run_of_failures_alone_still_has_a_page(make_records: MakeRecords, make_run: MakeRun) -> None:
    records = make_records({"epoll": 4000, "select": 4000}, connections=(10,), repeats=2)
    failed = [
        msgspec.structs.replace(one, status="failed", reason="port taken", load=None) for one in records
    ]
    html = page.write([make_run(failed)]).read_text(encoding="utf-8")
    assert "Nothing was measured." in html
    assert "port taken" in html
    assert "<svg" not in html


@pytest.mark.slow
def test_several_runs_say_which_is_which(
    make_records: MakeRecords, make_run: MakeRun, tmp_path: Path
) -> None:
    records = make_records({"epoll": 4000, "select": 5000}, connections=(10, 100), repeats=2)
    runs = [make_run(records), make_run(records, started_at="2026-11-24T00:00:00Z")]
    html = page.write(runs, tmp_path / "both").read_text(encoding="utf-8")
    for folder in runs:
        assert f"{folder.path.name}, 100 connections" in html
        assert f"<h3>{folder.path.name}</h3>" in html
