"""Records that are odd: whatever of a run can be read is shown, and what can't be is said."""

import base64
import io
import json
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
from rich.console import Console

import bench
from bench.analysis import export
from bench.analysis.claims import CLAIMS, Verdict
from bench.analysis.findings import find
from bench.plan.contender import Contender
from bench.plan.suite import Experiment, LoadTable
from bench.records.schema import SCHEMA, Latency, LoadResult, Record, RequestsPerConnection, Slice
from bench.records.store import RunFolder
from bench.report import page, terminal
from bench.report.changes import changes
from bench.report.regression import comparisons, sentence
from bench.report.summary import Summary, summary

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]
ROOT = Path(__file__).parents[3]
SERVICES = {"epoll": 4000.0, "select": 5000.0, "epoll:c": 3000.0}
HIGHEST_NS = 3_600_000_000_000


def _encoded_nothing() -> str:
    """HdrHistogram V2 without a value."""
    packed = zlib.compress(struct.pack(">iiiiqqd", 0x1C849313, 0, 0, 3, 1, HIGHEST_NS, 1.0))
    return base64.b64encode(struct.pack(">ii", 0x1C849314, len(packed)) + packed).decode()


NOTHING = _encoded_nothing()


@pytest.fixture
def records(make_records: MakeRecords) -> list[Record]:
    return make_records(SERVICES, connections=(10, 100), repeats=3)


def shown(found: Summary) -> str:
    output = io.StringIO()
    terminal.show(found, Console(file=output, width=200, force_terminal=False))
    return output.getvalue()


def html_of(*folders: RunFolder, out: Path) -> str:
    return page.write(folders, out).read_text(encoding="utf-8")


def edit(run: RunFolder, change: Callable[[list[bytes]], Sequence[bytes]]) -> RunFolder:
    """The run with other lines in cells.jsonl."""
    cells = run.path / "cells.jsonl"
    cells.write_bytes(b"".join(change(cells.read_bytes().splitlines(keepends=True))))
    return RunFolder.open(run.path)


def edit_run(run: RunFolder, **fields: Any) -> RunFolder:
    """The run with other fields in run.json; None leaves one out."""
    file = run.path / "run.json"
    content = json.loads(file.read_text()) | fields
    file.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))
    return RunFolder.open(run.path)


def with_field(line: bytes, **fields: Any) -> bytes:
    return json.dumps(json.loads(line) | fields).encode() + b"\n"


def without_requests(record: Record) -> Record:
    """As a server leaves it that takes connections and never answers."""
    assert record.load is not None
    nothing = Latency(count=0, histogram=NOTHING)

    def silent(one: Slice) -> Slice:
        figures: dict[str, Any] = {"requests": 0, "rate_per_s": 0.0, "p50_ns": None, "p99_ns": None}
        return msgspec.structs.replace(one, **figures, requests_total=0, connections_served=0)

    load: LoadResult = msgspec.structs.replace(
        record.load,
        requests=0,
        rate_per_s=0.0,
        response_time=nothing,
        first_echo_time=nothing,
        fairness=None,
        requests_per_connection=RequestsPerConnection(min=0, p1=0, p50=0, max=0),
        slices=[silent(one) for one in record.load.slices],
        client=msgspec.structs.replace(record.load.client, cpu_ns_per_request=None),
        checks={"littles_law_ratio": None},
    )
    samples = msgspec.structs.replace(record.samples, server_cpu_ns_per_request=None)
    return msgspec.structs.replace(record, load=load, samples=samples)


def unavailable(record: Record) -> Record:
    return msgspec.structs.replace(
        record, status="unavailable", reason="not on this system", load=None, server=None
    )


# --- lines that can't be read ---------------------------------------------------------------------

LINES: dict[str, tuple[Callable[[list[bytes]], Sequence[bytes]], str]] = {
    "a newer schema": (
        lambda lines: [*lines[:4], with_field(lines[4], schema=SCHEMA + 1), *lines[5:]],
        f"cells.jsonl: 1 line is left out (5): written by a newer iocpbench (schema {SCHEMA + 1})",
    ),
    "a newer schema of another shape": (
        lambda lines: [*lines[:4], b'{"schema": 99, "cells": []}\n', *lines[5:]],
        "cells.jsonl: 1 line is left out (5): written by a newer iocpbench (schema 99): update this one",
    ),
    "a schema before the first": (
        lambda lines: [with_field(lines[0], schema=0), *lines[1:]],
        "cells.jsonl: 1 line is left out (1): of a schema (0) that this iocpbench doesn't know",
    ),
    "a torn last line": (
        lambda lines: [*lines[:-1], lines[-1][:200]],
        "cells.jsonl: 1 line is left out (18): cut off at its end, as by a full disk or a power cut",
    ),
    "a broken line in the middle": (
        lambda lines: [*lines[:4], lines[4][:200] + b"\n", *lines[5:]],
        "cells.jsonl: 1 line is left out (5): damaged: no JSON",
    ),
    "bytes that are no text": (
        lambda lines: [*lines[:4], lines[4].replace(b"select", b"\xff\xfe\xfd"), *lines[5:]],
        "cells.jsonl: 1 line is left out (5): ",
    ),
    "brackets without end": (
        lambda lines: [*lines[:4], b"[" * 100_000 + b"\n", *lines[5:]],
        "cells.jsonl: 1 line is left out (5): ",
    ),
    "a field that is missing": (
        lambda lines: [*lines[:4], b'{"schema": 1}\n', *lines[5:]],
        "cells.jsonl: 1 line is left out (5): no record: Object missing required field `status`",
    ),
    "a field of another type": (
        lambda lines: [*lines[:4], with_field(lines[4], repeat="one"), *lines[5:]],
        "cells.jsonl: 1 line is left out (5): no record: Expected `int`, got `str` - at `$.repeat`",
    ),
    "measured without figures": (
        lambda lines: [*lines[:4], with_field(lines[4], load=None), *lines[5:]],
        "cells.jsonl: 1 line is left out (5): measured, it says, and has no figures",
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_lines_that_cannot_be_read_are_left_out_and_said(
    records: list[Record], make_run: MakeRun, name: str
) -> None:
    change, said = LINES[name]
    run = edit(make_run(records), change)
    found = summary([run])
    assert sum(row.repeats for row in found.rows) == len(records) - 1
    text = shown(found)
    assert said in text
    assert text.splitlines()[-1].startswith("With 100 connections epoll answers fastest")
    (unread,) = terminal.as_json(found)["unread"][run.path.name]
    assert (unread["file"], len(unread["lines"])) == ("cells.jsonl", 1)
    assert len(found.rows) == 6


def test_lines_of_the_same_fault_are_counted_together(
    records: list[Record], make_run: MakeRun, tmp_path: Path
) -> None:
    def spoilt(lines: list[bytes]) -> list[bytes]:
        return [b"{\n" if number < 8 else line for number, line in enumerate(lines)]

    run = edit(make_run(records), spoilt)
    said = "cells.jsonl: 8 lines are left out (1, 2, 3, 4, 5 and 3 more): damaged: no JSON"
    assert said in shown(summary([run]))
    html = html_of(run, out=tmp_path)
    assert '<section id="unread">' in html
    assert said in html
    assert html.count('<tr class="cell') == 6


def test_a_run_that_is_whole_says_nothing_of_it(
    records: list[Record], make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run(records)
    assert "could not be read" not in shown(summary([run]))
    assert 'id="unread"' not in html_of(run, out=tmp_path)


def test_empty_lines_are_none(records: list[Record], make_run: MakeRun) -> None:
    found = summary([edit(make_run(records), lambda lines: [b"\n", *lines, b"  \r\n"])])
    assert sum(row.repeats for row in found.rows) == len(records)
    assert list(found.unread.values()) == [[]]


def test_a_histogram_that_cannot_be_read_takes_its_percentiles_alone(
    records: list[Record], make_run: MakeRun, tmp_path: Path
) -> None:
    def with_histogram(record: Record, text: str) -> Record:
        assert record.load is not None
        times = msgspec.structs.replace(record.load.response_time, histogram=text)
        return msgspec.structs.replace(record, load=msgspec.structs.replace(record.load, response_time=times))

    places = [n for n, one in enumerate(records) if one.cell.contender == "select"]
    spoilt = list(records)
    for place, text in zip(places[:2], ("no base64", NOTHING[:20]), strict=True):
        spoilt[place] = with_histogram(spoilt[place], text)
    run = make_run(spoilt)
    found = summary([run])
    rows = {(row.contender, row.load.connections): row for row in found.rows}
    for count in (10, 100):
        row = rows["select", count]
        assert row.marks == {"unread-distribution": 1}
        assert row.p99_ns is not None
        assert row.response_time is not None
    assert "unread-distribution 1/3" in shown(found)
    assert "#mark-unread-distribution" in html_of(run, out=tmp_path)
    names = [path.name for path in export.write([run], "hgrm", tmp_path / "export")]
    assert len(names) == 6
    alone = make_run([with_histogram(one, "") for one in records])
    assert all(row.p50_ns is None and row.response_time is not None for row in summary([alone]).rows[:1])
    assert export.write([alone], "hgrm", tmp_path / "none") == []


# --- run.json -------------------------------------------------------------------------------------


def test_a_newer_run_json_is_read_as_far_as_it_goes(
    records: list[Record], make_run: MakeRun, tmp_path: Path
) -> None:
    run = edit_run(make_run(records), schema=SCHEMA + 1, seed="many", environment=None, colour="blue")
    found = summary([run])
    assert len(found.rows) == 6
    text = shown(found)
    assert f"run.json: written by a newer iocpbench (schema {SCHEMA + 1}): update this one" in text
    assert "run.json: seed can't be read: Expected `int`, got `str`" in text
    assert "run.json: environment is missing" in text
    assert "<h1>Which I/O answers fastest here?</h1>" in html_of(run, out=tmp_path)


SUITES: dict[str, Any] = {
    "nothing": {},
    "another shape": {"title": "Older", "experiments": {"connections": []}},
    "names and a reference": {
        "title": "Older",
        "experiment": [
            {
                "name": "connections",
                "question": "How does it grow?",
                "reference": "select",
                "judged_by": "request_rate",
                "contenders": [{"name": "select"}, {"name": "epoll"}],
            }
        ],
    },
    "types that are wrong": {
        "title": ["Older"],
        "experiment": [{"name": "connections", "contenders": "epoll", "judged_by": 3}, "x"],
    },
}


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_that_cannot_be_read_is_told_from_the_records(
    records: list[Record], make_run: MakeRun, tmp_path: Path, name: str
) -> None:
    run = edit_run(make_run(records), suite=SUITES[name])
    found = summary([run])
    assert "run.json: its suite can't be read (" in shown(found)
    assert {row.contender for row in found.rows} == set(SERVICES)
    assert found.judgements == []
    ratios = {row.contender: row.judged for row in found.rows if row.load.connections == 100}
    if name == "names and a reference":
        assert found.references[run.path.name] == {"connections": "select"}
        assert [answer.question for answer in found.answers] == ["How does it grow?"]
        assert ratios["epoll"] is not None
        assert ratios["epoll"].ratio == pytest.approx(1.25, rel=0.1)  # requests a second
        assert {row.contender for row in found.rows if not row.competes} == {"epoll:c"}
    else:
        assert found.references[run.path.name] == {"connections": "epoll"}
        assert ratios["select"] is not None
        assert ratios["select"].ratio == pytest.approx(1.25, rel=0.1)
    html = html_of(run, out=tmp_path)
    assert "its suite can&#39;t be read" in html
    assert "<svg" in html


def test_records_of_what_the_suite_does_not_name_have_their_place(
    records: list[Record], make_records: MakeRecords, make_run: MakeRun, tmp_path: Path
) -> None:
    """An experiment and a contender that were measured, and aren't in the suite."""
    extra = [
        msgspec.structs.replace(one, cell=msgspec.structs.replace(one.cell, experiment="sizes"))
        for one in make_records({"poll": 4000, "threads": 9000}, connections=(10,), repeats=3)
    ]
    run = make_run([*records, *extra], contenders=["epoll"])
    found = summary([run])
    assert {(row.experiment, row.contender) for row in found.rows if row.competes} == {
        ("connections", "epoll"),
        ("connections", "select"),
        ("sizes", "poll"),
        ("sizes", "threads"),
    }
    assert "run.json: its suite lacks what there are records of: sizes" in shown(found)
    assert 'id="sizes"' in html_of(run, out=tmp_path)


def test_a_model_that_this_version_does_not_know_has_a_colour_and_a_row(
    make_records: MakeRecords, make_run: MakeRun, tmp_path: Path
) -> None:
    records = make_records(
        {"epoll": 4000, "quantum": 3000, "quantum:c": 2000}, connections=(10, 100), repeats=3
    )
    run = make_run(records, contenders=["epoll", "quantum", "quantum:c"])
    found = summary([run])
    assert [row.contender for row in found.rows] == ["epoll", "quantum", "quantum:c"] * 2
    assert found.answers[0].best == ["quantum:c"]
    html = html_of(run, out=tmp_path)
    assert html.count("quantum:c") > 4
    assert (tmp_path / "charts" / "connections-response_time.svg").read_text(encoding="utf-8").count(
        "quantum"
    ) >= 2


# --- cells without requests -----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("judged_by", ["response_time", "request_rate"])
@pytest.mark.parametrize("silent", ["select", "epoll", "epoll:c"])
def test_a_cell_without_requests_says_so_and_breaks_nothing(
    records: list[Record], make_run: MakeRun, tmp_path: Path, silent: str, judged_by: str
) -> None:
    """One that is compared, the reference, and the yardstick."""
    odd = [without_requests(one) if one.cell.contender == silent else one for one in records]
    run = make_run(odd, judged_by=judged_by)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        found = summary([run])
        html = html_of(run, out=tmp_path / "page")
        compared = comparisons(find([run]), 0.03)
    rows = {row.contender: row for row in found.rows if row.load.connections == 100}
    assert rows[silent].marks["no-requests"] == 3
    assert not rows[silent].in_best
    assert (rows[silent].p50_ns, rows[silent].requests, rows[silent].rate_per_s) == (None, 0, 0)
    assert f"{silent} measured with 10 connections; 100 connections: no request was completed" in shown(found)
    assert "no request was completed" in html
    assert "nan" not in html.lower().split("<svg")[0]
    others = [name for name in ("epoll", "select") if name != silent]
    if len(others) == 2:
        assert rows["epoll"].in_best
        assert rows["select"].judged is not None
    else:
        assert "can be told" in found.answers[0].sentence
    assert [one.outcome for one in compared] == ["slower" if silent == "epoll:c" else "inconclusive"]
    assert sentence(compared[0])
    for form in export.FORMATS[:1]:
        files = export.write([run], form, tmp_path / "csv")
        assert len(pd.read_csv(files[0])) == len(records)
    assert len(export.write([run], "hgrm", tmp_path / "hgrm")) == 6


def test_a_repeat_without_requests_leaves_the_others(
    records: list[Record], make_run: MakeRun, tmp_path: Path
) -> None:
    odd = [
        without_requests(one) if (one.cell.contender, one.repeat) == ("select", 1) else one for one in records
    ]
    for judged_by in ("response_time", "request_rate"):
        run = make_run(odd, judged_by=judged_by)
        found = summary([run])
        row = next(row for row in found.rows if row.contender == "select" and row.load.connections == 100)
        assert row.marks["no-requests"] == 1
        assert row.disqualified == []
        assert row.response_time is not None
        assert row.response_time.ratio == pytest.approx(1.25, rel=0.1)
        assert found.answers[0].best == ["epoll"]
        assert "no-requests 1/3" in shown(found)
        html_of(run, out=tmp_path)
        assert [one.contender for one in comparisons(find([run]), 0.03)] == ["select"]


def test_a_run_in_which_nobody_answered(records: list[Record], make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run([without_requests(one) for one in records])
    found = summary([run])
    assert found.answers[0].sentence.startswith(
        "Nothing can be told: at every load too many contenders are marked"
    )
    assert "no request was completed" in html_of(run, out=tmp_path)


def test_no_claim_stumbles_over_odd_records(records: list[Record], make_run: MakeRun) -> None:
    """Every claim asked of runs that are odd in every way: a verdict or the reason why there is none."""
    asked = Experiment(
        name="connections",
        question="",
        claims=list(CLAIMS),
        contenders=[
            Contender(
                name=name, model=name.partition(":")[0], implementation="c" if ":c" in name else "python"
            )
            for name in SERVICES
        ],
        reference="epoll",
        repeats=3,
        rounds=6,
        slice_s=0.05,
        load=LoadTable(),
    )
    once = [one for one in records if one.repeat == 1]
    odd = {
        "nothing": [],
        "unavailable": [unavailable(one) for one in records],
        "silent": [without_requests(one) for one in records],
        "one silent": [without_requests(one) if one.cell.contender == "select" else one for one in records],
        "once": once,
        "half": [without_requests(one) if one.repeat == 1 else one for one in records],
    }
    for name, own in odd.items():
        found = summary([make_run(own, experiments=[asked])])
        assert [one.claim for one in found.judgements] == list(CLAIMS), name
        for one in found.judgements:
            assert one.verdict in (Verdict.NOT_MEASURED, Verdict.INCONCLUSIVE), (name, one.claim)
            assert one.reasons, (name, one.claim)


# --- little or nothing ----------------------------------------------------------------------------


def test_one_repeat_has_ratios_without_intervals_and_says_so(
    make_records: MakeRecords, make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run(make_records(SERVICES, connections=(10, 100), repeats=1))
    found = summary([run])
    assert "one repeat can't tell" in found.answers[0].sentence
    ratios = [row.judged for row in found.rows if row.contender == "select"]
    assert all(one is not None and one.ratio > 1 and one.low is one.high is None for one in ratios)
    assert "one repeat can&#39;t tell" in html_of(run, out=tmp_path)
    assert "one repeat has no interval" in sentence(comparisons(find([run]), 0.03)[0])


EMPTY = ["nothing", "unavailable"]


def nearly_empty(kind: str, records: list[Record], make_run: MakeRun, **options: Any) -> RunFolder:
    if kind == "unavailable":
        return make_run([unavailable(one) for one in records], **options)
    return edit(make_run(records, **options), lambda _: [])


@pytest.mark.parametrize("kind", EMPTY)
def test_a_run_without_figures_says_so(
    records: list[Record], make_run: MakeRun, tmp_path: Path, kind: str
) -> None:
    run = nearly_empty(kind, records, make_run)
    found = summary([run])
    assert found.rows == []
    assert [answer.sentence for answer in found.answers] == ["Nothing was measured."]
    html = html_of(run, out=tmp_path)
    assert "Nothing was measured." in html
    assert ("not on this system" in html) == (kind == "unavailable")
    assert "<svg" not in html
    cells, slices = export.write([run], "csv", tmp_path / "csv")
    assert len(pd.read_csv(cells)) == (len(records) if kind == "unavailable" else 0)
    assert len(pd.read_csv(slices)) == 0
    for table in (bench.load, bench.slices, bench.series, bench.distributions, bench.ratios):
        assert isinstance(table(run.path), pd.DataFrame)
    assert bench.charts(run.path) == {}


def test_a_run_without_its_file_of_cells_has_no_records(records: list[Record], make_run: MakeRun) -> None:
    run = make_run(records)
    (run.path / "cells.jsonl").unlink()
    assert [answer.sentence for answer in summary([run]).answers] == ["Nothing was measured."]


def test_a_run_of_nothing_that_can_be_read_has_a_page(
    records: list[Record], make_run: MakeRun, tmp_path: Path
) -> None:
    run = edit_run(edit(make_run(records), lambda lines: [b"?\n" for _ in lines]), suite={})
    html = html_of(run, out=tmp_path)
    assert f"<h1>{run.path.name}</h1>" in html
    assert "18 lines are left out" in html


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*EMPTY, "silent", "spoilt"])
def test_merged_with_an_odd_run_the_other_is_whole(
    records: list[Record], make_run: MakeRun, tmp_path: Path, kind: str
) -> None:
    whole = make_run(records)
    options = {"started_at": "2026-11-24T00:00:00Z", "environment": {"system": "windows"}}
    if kind == "silent":
        odd = make_run([without_requests(one) for one in records], **options)
    elif kind == "spoilt":
        odd = edit(make_run(records, **options), lambda lines: [b"{}\n", *lines[1:]])
    else:
        odd = nearly_empty(kind, records, make_run, **options)
    for folders in ([whole, odd], [odd, whole]):
        found = summary(folders)
        own = [row for row in found.rows if row.run == whole.path.name]
        alone = summary([whole]).rows
        assert [(row.contender, row.judged, row.p99_ns, row.in_best) for row in own] == [
            (row.contender, row.judged, row.p99_ns, row.in_best) for row in alone
        ]
        assert ("windows: cells.jsonl: 1 line is left out" in shown(found)) == (kind == "spoilt")
        html = html_of(*folders, out=tmp_path / kind)
        assert "<svg" in html
        assert len(pd.read_csv(export.write(folders, "csv", tmp_path / "csv")[0])) >= len(records)
        with warnings.catch_warnings(action="ignore"):
            assert set(bench.load(*(one.path for one in folders))["run"]) >= {whole.path.name}


# --- two runs, and the commands -------------------------------------------------------------------


def test_runs_are_compared_by_what_can_be_read_of_them(make_records: MakeRecords, make_run: MakeRun) -> None:
    before, after = (
        make_run(make_records(SERVICES, connections=(10, 100), repeats=5, seed=seed)) for seed in (1, 2)
    )
    odd = [
        without_requests(one) if (one.cell.contender, one.cell.load.connections) == ("select", 10) else one
        for one in after.records()
    ]
    spoilt = edit(make_run(odd), lambda lines: [*lines[:-1], lines[-1][:-5]])
    found = changes(before, spoilt)
    assert {(one.contender, one.load.connections) for one in found.changes} == {
        ("epoll", 10),
        ("epoll", 100),
        ("select", 100),
    }
    assert "select with 10 connections: no-requests after" in found.left_out
    (said,) = found.unread
    assert said.startswith(f"{spoilt.path.name}: cells.jsonl: 1 line is left out (30): cut off")


def iocpbench(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "bench", *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        check=False,
        cwd=ROOT,
    )


@pytest.mark.slow
def test_the_commands_say_what_they_left_out(
    records: list[Record], make_run: MakeRun, tmp_path: Path
) -> None:
    run = edit(make_run(records), lambda lines: [b"{\n", *lines[1:]])
    done = iocpbench("report", run.path)
    assert done.returncode == 0, done.stderr
    assert "cells.jsonl: 1 line is left out (1): damaged: no JSON" in done.stdout
    built = json.loads(iocpbench("report", run.path, "--json").stdout)
    assert built["unread"][run.path.name] == [
        {"file": "cells.jsonl", "reason": "damaged: no JSON", "lines": [1]}
    ]
    exported = iocpbench("export", run.path, "--out", tmp_path)
    assert exported.returncode == 0
    assert exported.stderr == "iocpbench: cells.jsonl: 1 line is left out (1): damaged: no JSON\n"
    compared = iocpbench("compare", make_run(records).path, run.path)
    assert "can't be read: quick-" in compared.stdout
    (row,) = json.loads(iocpbench("runs", "--results", run.path.parent, "--json").stdout)
    assert row["cells"] == len(records) - 1


def test_notebooks_are_warned(records: list[Record], make_run: MakeRun) -> None:
    run = edit(make_run(records), lambda lines: [b"{\n", *lines[1:]])
    with pytest.warns(UserWarning, match="1 line is left out"):
        assert len(bench.load(run.path)) == len(records) - 1
