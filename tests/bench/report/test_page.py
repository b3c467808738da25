"""The page is one file that holds everything, also what failed, and runs nobody's markup."""

import base64
import hashlib
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from markupsafe import escape

from bench.plan.suite import from_run
from bench.records.schema import Record
from bench.records.store import RunFolder
from bench.report import page
from bench.report.marks import MEANINGS

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]
OF_EXPERIMENT = ("response_time", "request_rate", "ratio", "distribution")
SECTIONS = ("answer", "connections", "marks", "problems", "environment", "method", "reproduce", "data")


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


def charts_of(run: RunFolder) -> set[str]:
    names = [*(f"connections-{name}" for name in OF_EXPERIMENT), f"{run.path.name}-wandering"]
    return {f"{name}.{kind}" for name in names for kind in ("svg", "png")}


@pytest.mark.slow
def test_the_same_records_give_the_same_bytes_wherever_they_go(run: RunFolder, tmp_path: Path) -> None:
    """But for the place of the raw data: a page that is elsewhere names it, and no link of it breaks."""
    assert page.write([run], tmp_path / "elsewhere") == tmp_path / "elsewhere" / "report.html"
    charts = charts_of(run)
    assert {path.name for path in (run.path / "charts").iterdir()} == charts
    for name in charts:
        beside, elsewhere = (folder / "charts" / name for folder in (run.path, tmp_path / "elsewhere"))
        assert beside.read_bytes() == elsewhere.read_bytes()
    pages = [(folder / "report.html").read_text("utf-8") for folder in (run.path, tmp_path / "elsewhere")]
    (own, data), (own_elsewhere, data_elsewhere) = (text.split('<section id="data">') for text in pages)
    assert own == own_elsewhere
    assert 'href="cells.jsonl"' in data
    assert 'href="cells.jsonl"' not in data_elsewhere
    assert f"<code>{run.path.name}</code>" in data_elsewhere
    assert (run.path / "charts" / "connections-response_time.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_is_loaded_and_links_lead_to_the_runs_own_files(run: RunFolder, html: str) -> None:
    assert re.findall("<script[^>]*>", html) == ["<script>"]
    targets = re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?([^\"')\s>]+)", html.partition("<script>")[0])
    files = {target for target in targets if not target.startswith(("#", "data:,"))}
    assert files == {"cells.jsonl", "run.json", *(f"charts/{name}" for name in charts_of(run))}
    assert all((run.path / file).is_file() for file in files)


def test_only_its_own_script_may_run(html: str) -> None:
    script = html.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy
    tags = re.findall(r"<[a-z]+ [^>]*>", html.partition("<script>")[0])
    assert not [tag for tag in tags if re.search(r"\son\w+=", tag)]


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
    assert "in 1 of 16 cells" in html
    for part in MEANINGS["wake-bound"]:
        assert escape(part) in html


def test_sections_are_in_the_readers_order(html: str) -> None:
    places = [html.index(f'id="{name}"') for name in SECTIONS]
    assert places == sorted(places)
    assert html.index("<svg") < html.index(
        '<section id="connections"'
    )  # the main chart belongs to the answer
    assert html.count("<svg") == len(OF_EXPERIMENT) + 1  # and one of the machine
    assert "<nav" not in html  # of one experiment there is nothing to choose from


def test_the_command_that_measures_it_again_is_there(make_records: MakeRecords, make_run: MakeRun) -> None:
    records = make_records({"epoll": 4000, "select": 5000}, connections=(10,), repeats=2)
    command = ["run", "--contender", "mine=./my server {port}"]
    html = page.write([make_run(records, command=command)]).read_text(encoding="utf-8")
    shown = unescape(html.partition("<pre")[2].partition("<code>")[2].partition("</code>")[0])
    assert shown == "iocpbench run --contender 'mine=./my server {port}' --seed 7"


def test_several_experiments_have_contents_and_answers_of_their_own(
    make_records: MakeRecords, make_run: MakeRun
) -> None:
    parts = {"marks": {"epoll": 4000, "select": 9000}, "second": {"epoll": 9000, "select": 4000}}
    records = [
        msgspec.structs.replace(
            one, block=f"{name}-{one.block}", cell=msgspec.structs.replace(one.cell, experiment=name)
        )
        for name, service_ns in parts.items()
        for one in make_records(service_ns, connections=(100,), repeats=3)
    ]
    first = from_run(make_run(records).run.suite).experiment[0]
    experiments = [msgspec.structs.replace(first, name=name, question=f"What of {name}?") for name in parts]
    run = make_run(records, experiments=experiments)
    html = page.write([run]).read_text(encoding="utf-8")
    contents = html.partition('<nav id="contents"')[2].partition("</nav>")[0]
    assert '<a href="#marks-experiment">What of marks?</a> <small>epoll</small>' in contents
    assert '<a href="#second">What of second?</a> <small>select</small>' in contents
    before, _, second = html.partition('<section id="second">')
    assert "epoll answers fastest" in before.partition("<svg")[0]
    assert "select answers fastest" not in before.partition("<svg")[0]
    assert "select answers fastest" in second.partition("<svg")[0]
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_the_main_chart_is_of_what_contenders_are_judged_by(
    make_records: MakeRecords, make_run: MakeRun
) -> None:
    records = make_records({"epoll": 4000, "select": 5000}, connections=(10, 100), repeats=2)
    for judged_by, title in (("response_time", "Response time"), ("request_rate", "Requests per second")):
        html = page.write([make_run(records, judged_by=judged_by)]).read_text(encoding="utf-8")
        assert html.partition("<figure>")[2].lstrip().startswith(f"<h2>{title}</h2>")


def test_charts_are_well_formed_with_text_as_text(run: RunFolder) -> None:
    for path in (run.path / "charts").glob("*.svg"):
        words = " ".join(ElementTree.parse(path).getroot().itertext())
        expected = ("epoll:c",) if "wandering" in path.name else ("connections", "1000", "threads", "epoll:c")
        assert all(word in words for word in expected)
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
