"""The command on the page measures the same again."""

import shlex
from collections.abc import Callable

import msgspec
import pytest

from bench.records.schema import Record, Run, ServerPython
from bench.records.store import RunFolder
from bench.report import reproduce

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]


@pytest.fixture(scope="module")
def run(make_records: MakeRecords, make_run: MakeRun) -> Run:
    return make_run(make_records({"epoll": 4000}, connections=(10,), repeats=1)).run


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("run", "iocpbench run --seed 7"),
        ("run quick --connections 1,10 --quiet", "iocpbench run quick --connections 1,10 --seed 7"),
        ("run --seed 3 --json mine.toml", "iocpbench run mine.toml --seed 7"),
        ("run --seed=3 --out=/home/me/results --open", "iocpbench run --seed 7"),
        ("run --out /home/me/results --repeats 3", "iocpbench run --repeats 3 --seed 7"),
        (
            "run --contender 'mine=./my server {port}'",
            "iocpbench run --contender 'mine=./my server {port}' --seed 7",
        ),
    ],
)
def test_what_was_typed_with_the_seed_and_without_what_changes_nothing(
    run: Run, typed: str, expected: str
) -> None:
    recorded = msgspec.structs.replace(run, command=shlex.split(typed))
    assert reproduce.command(recorded) == expected


def test_quoted_as_the_runs_own_system_wants_it(run: Run) -> None:
    command = ["run", "--contender", "mine=my server.exe {port}"]
    windows = msgspec.structs.replace(run, command=command, environment={"system": "windows"})
    assert reproduce.command(windows) == 'iocpbench run --contender "mine=my server.exe {port}" --seed 7'


def test_an_older_run_gives_what_is_known_and_says_so(run: Run) -> None:
    assert reproduce.command(run) == "iocpbench run quick --seed 7"
    assert reproduce.UNKNOWN in list(reproduce.notes(run))
    python = ServerPython(interpreter="CPython 3.14.0", system="linux", gil=False)
    told = msgspec.structs.replace(
        run, server_python=python, environment={"system": "linux", "placement": "shared"}
    )
    expected = "iocpbench run quick --placement shared --server-python PATH --seed 7"
    assert reproduce.command(told) == expected


def test_notes_name_version_revision_and_a_suite_of_ones_own(run: Run) -> None:
    recorded = msgspec.structs.replace(
        run, command=["run", "mine.toml"], environment={"system": "linux", "git_revision": "abc+"}
    )
    notes = " ".join(reproduce.notes(recorded))
    assert "mine.toml" in notes
    assert "iocpbench 0.1.0, revision abc+" in notes
    assert reproduce.UNKNOWN not in notes


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (["run", "quick", "--out", "/home/me/runs"], ["run", "quick"]),
        (["run", "--out=/home/me/runs", "--repeats", "3"], ["run", "--repeats", "3"]),
        (["run", "--server-python", "/opt/python", "--quiet"], ["run", "--server-python", "PATH", "--quiet"]),
        (["run", "--server-python=/opt/python"], ["run", "--server-python", "PATH"]),
        (["run", "/home/me/mine.toml", "--seed", "7"], ["run", "mine.toml", "--seed", "7"]),
    ],
)
def test_a_record_says_nothing_of_where_files_are(typed: list[str], kept: list[str]) -> None:
    assert reproduce.without_places(typed) == kept
