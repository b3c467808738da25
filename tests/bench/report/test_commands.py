"""`iocpbench report` and `iocpbench runs` as started by a user, and the interface for notebooks."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.records.schema import Record
from bench.records.store import RunFolder

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]
ROOT = Path(__file__).parents[3]


def iocpbench(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "bench", *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        check=False,
        cwd=ROOT,
    )


@pytest.fixture
def run(make_records: MakeRecords, make_run: MakeRun) -> RunFolder:
    return make_run(make_records({"epoll": 4000, "select": 5000}, connections=(10, 100), repeats=2))


@pytest.mark.slow
def test_report_shows_the_latest_run_and_writes_its_page(run: RunFolder) -> None:
    done = iocpbench("report", "--results", run.path.parent)
    assert done.returncode == 0
    assert "With 100 connections" in done.stdout
    assert f"page: {run.path / 'report.html'}" in done.stdout
    assert (run.path / "report.html").exists()


@pytest.mark.slow
def test_report_of_several_runs_goes_beside_them(run: RunFolder, make_run: MakeRun) -> None:
    other = make_run(run.records(), started_at="2026-11-24T00:00:00Z", results=run.path.parent)
    done = iocpbench("report", run.path.name, other.path, run.path, "--results", run.path.parent, "--json")
    built = json.loads(done.stdout)
    assert Path(built["page"]) == run.path.parent / "merged" / "report.html"
    assert sorted(built["labels"]) == sorted([run.path.name, other.path.name])
    assert not (run.path / "report.html").exists()


def test_report_of_an_unknown_run_names_the_nearest(run: RunFolder) -> None:
    done = iocpbench("report", "quick-2026", "--results", run.path.parent)
    assert done.returncode == 2
    assert done.stderr == f"iocpbench: no run quick-2026: did you mean {run.path.name}?\n"


def test_runs_says_how_to_make_the_first(tmp_path: Path) -> None:
    done = iocpbench("runs", "--results", tmp_path / "nothing")
    assert (done.returncode, "`iocpbench run` makes one" in done.stdout) == (0, True)


@pytest.mark.slow
def test_runs_lists_what_was_measured(run: RunFolder) -> None:
    (row,) = json.loads(iocpbench("runs", "--results", run.path.parent, "--json").stdout)
    assert row == {
        "name": run.path.name,
        "started": "2026-11-23T13:59:15Z",
        "suite": "quick",
        "status": "finished",
        "cells": 8,
        "failed": 0,
    }
    with RunFolder.open(run.path, append=True) as folder:
        folder.update(status="running")
        assert "running" in iocpbench("runs", "--results", run.path.parent).stdout
    assert "interrupted" in iocpbench("runs", "--results", run.path.parent).stdout


def test_notebooks_get_tables_and_figures(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    import bench

    results = run.path.parent
    assert bench.runs(results)["run"].tolist() == [run.path.name]
    assert len(bench.load(run.path.name, results=results)) == 8
    assert len(bench.slices(run.path)) == 8 * 5
    assert bench.series(run.path).empty
    assert set(bench.distributions("quick", results=results)["contender"]) == {"epoll", "select"}
    assert set(bench.ratios(results / "quick")["contender"]) == {"epoll", "select"}
    assert bench.verdicts(run.path).empty
    assert bench.evidence(run.path).empty
    monkeypatch.chdir(results.parent)
    figures = bench.charts(f"{results.name}/quick")
    assert {"connections-response_time", "connections-request_rate"} <= set(figures)


def test_a_run_that_is_named_twice_counts_once(run: RunFolder) -> None:
    import bench

    assert len(bench.load(run.path, "quick", run.path.name, results=run.path.parent)) == 8


def test_a_run_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    import bench
    from bench.errors import UserError

    with pytest.raises(UserError, match="no run in"):
        bench.load(results=tmp_path)
    with pytest.raises(UserError, match="no run quick"):
        bench.charts("quick", results=tmp_path)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, bench; print({'numpy', 'pandas', 'matplotlib', 'scipy'} & sys.modules.keys())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"
