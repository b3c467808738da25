"""`--server-python`: servers under another Python, from the command line to the page."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.records.store import RunFolder

Cli = Callable[..., subprocess.CompletedProcess[str]]
TheRun = Callable[[], RunFolder]
pytestmark = pytest.mark.slow


@pytest.fixture
def other_python(tmp_path: Path) -> str:
    """This Python by another name."""
    if sys.platform == "win32":
        return sys.executable
    wrapper = tmp_path / "other-python"
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    return str(wrapper)


@pytest.fixture
def tidy() -> Callable[[], set[str]]:
    """A call that gives the folders that copies of the servers left behind since the test began."""

    def copies() -> set[str]:
        return {path.name for path in Path(tempfile.gettempdir()).glob("iocpbench-*")}

    before = copies()
    return lambda: copies() - before


def test_a_run_and_its_resumption(
    cli: Cli, the_run: TheRun, small: list[str], *, other_python: str, tidy: Callable[[], set[str]]
) -> None:
    done = cli("run", *small, "--repeats", "1", "--connections", "1", "--server-python", other_python)
    assert done.returncode == 0, done.stderr
    folder = the_run()
    python = folder.run.server_python
    assert python is not None
    assert python.interpreter.endswith(sys.version.split()[0])
    written = (folder.path / "run.json").read_text() + (folder.path / "cells.jsonl").read_text()
    assert "other-python" not in written
    assert str(Path(sys.executable).parent) not in written
    assert {one.status for one in folder.records() if one.cell.model != "iocp"} == {"measured"}
    assert tidy() == set()

    (forgotten, resumed) = (
        cli("run", "--resume", folder.path.name, *options)
        for options in ([], ["--server-python", other_python])
    )
    assert forgotten.returncode == 2
    assert f"ran under {python.interpreter}" in forgotten.stderr
    assert "--server-python" in forgotten.stderr
    assert resumed.returncode == 0, resumed.stderr

    file = folder.path / "run.json"
    for changed, says in (
        ({"interpreter": "CPython 3.99.1"}, "ran under CPython 3.99.1 on"),
        (None, "leave --server-python out"),
    ):
        run = json.loads(file.read_text())
        run["server_python"] = changed and run["server_python"] | changed
        file.write_text(json.dumps(run))
        refused = cli("run", "--resume", folder.path.name, "--server-python", other_python)
        assert refused.returncode == 3
        assert says in refused.stderr
        assert len(refused.stderr.splitlines()) <= 2


def interpreters() -> list[str]:
    """This Python, and a free-threaded one where one is installed (`uv python install 3.14t`)."""
    names = [f"python3.{minor}t" for minor in (13, 14, 15)]
    found = [os.environ.get("IOCPBENCH_FREE_THREADED"), *map(shutil.which, names)]
    return [sys.executable, *dict.fromkeys(filter(None, found))]


@pytest.mark.parametrize("python", interpreters(), ids=lambda path: Path(path).stem)
def test_event_loops_with_the_gil_and_without(cli: Cli, the_run: TheRun, tmp_path: Path, python: str) -> None:
    """Whether it has the lock is recorded, for the run and for each server."""
    suite = tmp_path / "loops.toml"
    suite.write_text(
        'schema = 1\ntitle = "t"\n[[experiment]]\nname = "a"\n'
        'contenders = ["epoll", "selectors", "threads"]\n'
        "options = { threads = [1, 2] }\nload = { connections = 8 }\n"
    )
    few = ["--repeats", "1", "--rounds", "2", "--slice", "20ms", "--quiet"]
    done = cli("run", str(suite), *few, "--server-python", python)
    assert done.returncode == 0, done.stderr
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)() if python == sys.executable else False
    folder = the_run()
    assert folder.run.server_python.gil is has_gil
    records = {one.cell.contender: one for one in folder.records() if one.cell.implementation == "python"}
    ran_here = {name for name, one in records.items() if one.status == "measured"}
    assert {"selectors-threads-1", "selectors-threads-2", "threads"} <= ran_here
    for name in ran_here:
        assert records[name].server.ready.gil is has_gil
        assert records[name].load.errors == {}


def test_what_is_no_python_is_one_line(cli: Cli, tmp_path: Path) -> None:
    for command in ("run", "models"):
        done = cli(command, "--server-python", "no-such-python")
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "no-such-python: there is no such program" in done.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.linux("has Wine")
def test_windows_servers_under_wine(
    cli: Cli, the_run: TheRun, small: list[str], *, wine_python: Path, tidy: Callable[[], set[str]]
) -> None:
    """Marked, ranked by nothing, and every row says its system: the yardstick is Linux's."""
    contenders = ["--contenders", "iocp,overlapped,epoll"]
    done = cli("run", *small, *contenders, "--connections", "3", "--server-python", str(wine_python))
    assert done.returncode == 0, done.stderr
    folder = the_run()
    by_name = {one.cell.contender: one for one in folder.records()}
    for name in ("iocp", "overlapped"):
        assert by_name[name].status == "measured", by_name[name].reason
        assert by_name[name].server.ready.system == "windows-wine"
        assert "windows-wine" in [mark["code"] for mark in by_name[name].warnings]
        assert by_name[name].load.errors == {}
        assert by_name[name].samples.server_cpu_s > 0  # of a process of Linux's, by its own number there
        assert by_name[name].samples.server_threads >= 1
    assert by_name["epoll"].status == "unavailable"
    assert by_name["epoll:c"].server.ready.system == "linux"
    assert "windows-wine" not in [mark["code"] for mark in by_name["epoll:c"].warnings]
    assert folder.run.server_python.system == "windows-wine"
    assert str(wine_python.parent) not in (folder.path / "run.json").read_text()
    assert folder.run.suite["reference"] == "iocp"
    assert "nothing is concluded" in done.stdout
    assert "not of this system: epoll (linux)" in done.stdout
    assert tidy() == set()
