"""`iocpbench compare`: what may be compared, what is said of it, and what a change for the worse does."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.errors import UserError
from bench.records.schema import Record, ServerPython
from bench.records.store import RunFolder
from bench.report.changes import beyond, changes, markdown, sentence

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]
ROOT = Path(__file__).parents[3]
SERVICES = {"epoll": 4000.0, "select": 5000.0, "epoll:c": 3000.0}
SLOWER = SERVICES | {"select": 6000.0}
ENVIRONMENT = {"system": "linux", "cpu": {"model": "A", "allowed": 2}, "placement": "split", "kernel": "6.1"}


@pytest.fixture
def make(make_records: MakeRecords, make_run: MakeRun) -> Callable[..., RunFolder]:
    def run(services: dict[str, float], seed: int = 1, *, repeats: int = 5, **options: Any) -> RunFolder:
        records = make_records(services, connections=(100, 1000), seed=seed, repeats=repeats)
        return make_run(records, **{"environment": ENVIRONMENT, **options})

    return run


def test_what_has_changed_and_what_has_not(make: Callable[..., RunFolder]) -> None:
    found = changes(make(SERVICES), make(SLOWER, 2))
    assert {(one.contender, one.load.connections) for one in found.changes} == {
        (name, count) for name in ("epoll", "select") for count in (100, 1000)
    }
    for one in found.changes:
        expected = "slower" if one.contender == "select" else "no change can be told"
        assert one.direction == expected
        assert one.slowdown == pytest.approx(1.2 if one.contender == "select" else 1, rel=0.03)
    assert {one.contender for one in beyond(found, 0.1)} == {"select"}
    assert beyond(found, 0.3) == []
    assert sentence(found).startswith("select is slower by ")
    assert sentence(found).endswith("; of 4 comparisons 2 show a change.")
    assert found.differences == found.left_out == []


def test_a_rate_that_falls_is_slower_as_well(make: Callable[..., RunFolder]) -> None:
    runs = [make(services, judged_by="request_rate") for services in (SERVICES, SLOWER)]
    changed = {one.contender for one in changes(*runs).changes if one.direction == "slower"}
    assert changed == {"select"}
    assert {one.contender for one in changes(*reversed(runs)).changes if one.direction == "faster"} == changed


def test_the_same_twice_has_no_change(make: Callable[..., RunFolder]) -> None:
    found = changes(make(SERVICES), make(SERVICES, 2))
    assert sentence(found).startswith("No change can be told; intervals are up to +-")


def test_one_repeat_tells_nothing(make: Callable[..., RunFolder]) -> None:
    found = changes(make(SERVICES), make(SLOWER, repeats=1))
    assert sentence(found) == "Nothing can be told: a run with one repeat has no intervals."
    assert beyond(found, 0) == []


OTHER: list[tuple[dict[str, Any], str]] = [
    ({"environment": ENVIRONMENT | {"cpu": {"model": "B", "allowed": 2}}}, "CPU: A and B"),
    ({"environment": ENVIRONMENT | {"cpu": {"model": "A", "allowed": 4}}}, "CPUs allowed: 2 and 4"),
    ({"environment": ENVIRONMENT | {"placement": "free"}}, "placement: split and free"),
    ({"environment": ENVIRONMENT | {"system": "windows"}}, "system: linux and windows"),
]


@pytest.mark.parametrize(("options", "fact"), OTHER)
def test_what_may_not_differ_is_named(
    make: Callable[..., RunFolder], options: dict[str, Any], fact: str
) -> None:
    before, after = make(SERVICES), make(SERVICES, 2, **options)
    with pytest.raises(UserError, match="these can't be compared") as refused:
        changes(before, after)
    assert fact in str(refused.value)
    assert fact in changes(before, after, force=True).differences


def test_another_yardstick_is_none(make: Callable[..., RunFolder]) -> None:
    before, after = make(SERVICES), make(SERVICES, 2)
    file = after.path / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"yardstick_sha256": "1" * 64}))
    with pytest.raises(UserError, match="yardstick's binary is another"):
        changes(before, RunFolder.open(after.path))


def test_what_may_differ_is_said(make: Callable[..., RunFolder]) -> None:
    other = ENVIRONMENT | {"kernel": "6.2"}
    python = ServerPython(interpreter="CPython 3.14.1", system="linux", gil=False)
    found = changes(make(SERVICES), make(SERVICES, 2, environment=other, server_python=python))
    assert found.differences == ["kernel: 6.1 and 6.2", "servers' Python: Python 3.11.2 and CPython 3.14.1"]


def test_what_is_left_out_says_why(
    make: Callable[..., RunFolder], make_records: MakeRecords, make_run: MakeRun
) -> None:
    marks = {("select", 1000): [{"code": "wake-bound"}]}
    records = make_records(SERVICES, connections=(100, 1000), marks=marks, seed=2)
    extra = make_records({"poll": 4000.0}, connections=(100, 1000), seed=3)
    found = changes(make(SERVICES), make_run([*records, *extra], environment=ENVIRONMENT))
    assert sorted(found.left_out) == [
        "poll with 100 connections: measured after alone",
        "poll with 1000 connections: measured after alone",
        "select with 1000 connections: wake-bound after",
    ]


def test_runs_with_nothing_in_common(make: Callable[..., RunFolder]) -> None:
    with pytest.raises(UserError, match="nothing can be compared: no contender"):
        changes(make({"poll": 4000.0, "epoll:c": 3000.0}, reference="poll"), make(SERVICES))


def test_markdown_is_a_table_in_which_names_do_nothing(make: Callable[..., RunFolder]) -> None:
    found = changes(make(SERVICES), make(SLOWER, 2))
    hostile = [msgspec.structs.replace(one, contender="|<b>`x`") for one in found.changes]
    lines = markdown(msgspec.structs.replace(found, changes=hostile, left_out=["a|<i>"])).splitlines()
    rows = [line for line in lines if "connections" in line]
    assert len(rows) == 4
    assert all(line.count(" | ") == 4 for line in rows)
    text = "\n".join(lines)
    assert "<b>" not in text.replace("\\<b\\>", "")
    assert "<i>" not in text.replace("\\<i\\>", "")


def iocpbench(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "bench", "compare", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False, cwd=ROOT)


@pytest.mark.slow
def test_the_command(make: Callable[..., RunFolder], tmp_path: Path) -> None:
    before, after = make(SERVICES).path, make(SLOWER, 2).path
    done = iocpbench(before, after, "--fail-if-slower", "10%", "--out", tmp_path / "chart")
    assert done.returncode == 4, done.stderr
    assert "select is slower by" in done.stdout
    assert {path.name for path in (tmp_path / "chart").iterdir()} == {"changes.svg", "changes.png"}
    assert iocpbench(before, after, "--fail-if-slower", "50%").returncode == 0
    built = json.loads(iocpbench(before, after, "--format", "json").stdout)
    assert {one["direction"] for one in built["changes"]} == {"slower", "no change can be told"}
    assert iocpbench(before, after, "--format", "markdown").stdout.startswith("### quick-20")
    wrong = iocpbench(before, after, "--format", "html")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("iocpbench: --format html: ")


@pytest.mark.slow
def test_the_command_refuses_in_a_line(make: Callable[..., RunFolder]) -> None:
    other = make(SERVICES, 2, environment=ENVIRONMENT | {"placement": "free"})
    done = iocpbench(make(SERVICES).path, other.path)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "placement: split and free (--force does)" in done.stderr
    assert iocpbench(make(SERVICES).path, other.path, "--force").returncode == 0
