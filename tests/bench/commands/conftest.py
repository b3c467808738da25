"""`iocpbench` as a process of its own, as a user starts it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.commands.cli import main
from bench.records.store import RunFolder

COMMAND = [sys.executable, "-P", "-m", "bench"]
MODEL = "iocp" if sys.platform == "win32" else "epoll"  # the best of this system
SMALL = ["--contenders", f"{MODEL},threads", "--connections", "1,10", "--slice", "10ms"]
SMALL += ["--rounds", "2", "--repeats", "2", "--quiet"]

GROUP: dict[str, Any] = {"process_group": 0}
if sys.platform == "win32":
    GROUP = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """A call that runs `iocpbench` with arguments to its end, in an empty folder."""

    def run(*arguments: str, stdin: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            check=False,
            cwd=tmp_path,
            timeout=120,
            **options,
        )

    return run


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """As `cli`, in this process: exit code, stdout, stderr. For the many that end before anything starts."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["iocpbench", *arguments])
        with pytest.raises(SystemExit) as exited:
            main()
        return int(exited.value.code or 0), *capfd.readouterr()

    return run


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """A call that starts `iocpbench` with arguments, in a process group of its own; ended after the test."""
    with ExitStack() as stack:

        def start(*arguments: str) -> "subprocess.Popen[str]":
            process = subprocess.Popen(
                [*COMMAND, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                cwd=tmp_path,
                **GROUP,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
            stack.enter_context(_ended(process))
            return process

        yield start


@contextmanager
def _ended(process: "subprocess.Popen[str]") -> Iterator[None]:
    with process:
        yield
        if process.poll() is None:
            process.kill()


@pytest.fixture
def served(begin: Callable[..., "subprocess.Popen[str]"]) -> str:
    """HOST:PORT of an echo server that `iocpbench serve` started."""
    server = begin("serve", MODEL)
    assert server.stdout is not None
    line = server.stdout.readline()
    assert "listens on" in line
    return line.split("listens on ")[1].split(";")[0]


@pytest.fixture
def model() -> str:
    """The best of this system."""
    return MODEL


@pytest.fixture
def small() -> list[str]:
    """Options of a run that takes two seconds: 2 blocks, 2 repeats, 2 rounds."""
    return SMALL


@pytest.fixture
def the_run(tmp_path: Path) -> Callable[[], RunFolder]:
    """A call that opens the only run in the test's folder."""

    def open_it() -> RunFolder:
        (path,) = (file.parent for file in tmp_path.glob("results/*/run.json"))
        json.loads((path / "run.json").read_bytes())
        return RunFolder.open(path)

    return open_it
