"""A Wine that stays up, the Windows libraries of this checkout, and how many tests ran there."""

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

ROOT = Path(__file__).parents[2]
RAN_UNDER_WINE = "ran_under_wine"  # a property of a test here: one for each test that it ran there
RUN = "IOCPBENCH_WINE_RUN"
# What CreateProcess was seen to fail with under Wine, once in 802 tests, more often on a busy machine: such a
# file is run again.
NO_PROCESS = "[WinError 1359] Internal error"
# Far more than any takes on a busy machine. A hung test ends its file and prints what its threads were doing.
TEST_TIMEOUT_S = 180
HUNG_TESTS = ("-o", f"faulthandler_timeout={TEST_TIMEOUT_S}", "-o", "faulthandler_exit_on_timeout=true")


class Finished(NamedTuple):
    """How a program under Wine ended: its exit code, None where it hung; what it printed."""

    code: int | None
    output: str


class Wine:
    """Runs the Windows Python on this checkout."""

    def __init__(self, python: Path) -> None:
        self._python = python

    def run(self, *arguments: str, timeout_s: float, packages: Path = ROOT) -> Finished:
        """Run it to its end, or kill it and all that it started after `timeout_s`.

        What it imports, and what those import that it starts, is in `packages`.
        """
        run = uuid.uuid4().hex
        process = self._start(*arguments, stdin=subprocess.DEVNULL, run=run, packages=packages)
        try:
            output, _ = process.communicate(timeout=timeout_s)
            code = process.returncode
        except subprocess.TimeoutExpired:
            _kill_all_of(run)
            output, _ = process.communicate()
            code = None
        return Finished(code, output.decode(errors="replace").replace("\r\n", "\n"))

    def run_tests(self, *arguments: str, timeout_s: float, packages: Path = ROOT) -> Finished:
        """Run pytest, again where no process could be started."""
        for _ in range(3):
            settings = ("-q", "-p", "no:cacheprovider", *HUNG_TESTS)
            finished = self.run(
                *("-P", "-m", "pytest", *arguments, *settings), timeout_s=timeout_s, packages=packages
            )
            print(finished.output)
            if NO_PROCESS not in finished.output:
                break
        return finished

    @contextlib.contextmanager
    def kept_up(self) -> Iterator[None]:
        """Wine takes three seconds to start and ends when nobody uses it: an idle process does."""
        idle = "import sys; print('up', flush=True); sys.stdin.read()"
        with self._start("-c", idle, stdin=subprocess.PIPE, run="") as process:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == b"up", process.stdout.read().decode(errors="replace")
            yield
            process.communicate()

    def _start(self, *arguments: str, stdin: int, run: str, packages: Path = ROOT) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self._python, *arguments],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": windows_path(packages), RUN: run},
            stdin=stdin,
            stdout=subprocess.PIPE,  # a file, as pytest has it for stderr, kills Python there
            stderr=subprocess.STDOUT,
        )


def _kill_all_of(run: str) -> None:
    """Under Wine a child is no child of its parent's, and may be in another group: the environment tells."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(RUN) == run:
                process.kill()


def windows_path(path: Path) -> str:
    """What `path` is called under Wine, whose drive Z: is the whole file system."""
    return f"Z:{path}".replace("/", "\\")


@pytest.fixture(scope="session")
def windows_libraries(wine_python: Path) -> None:
    """The native libraries for Windows, not older than their sources.

    They aren't compiled each time: the compiler's first library for Windows takes a minute, and in .ci/run
    the wheel for Windows has left them here.
    """
    packages = ("servers", "loadgen")
    libraries = [ROOT / package / f"lib{package}.dll" for package in packages]
    sources = [path for package in packages for path in (ROOT / package).rglob("*.[ch]")]
    newest = max(path.stat().st_mtime for path in [*sources, ROOT / "build_native.py"])
    if all(library.exists() and library.stat().st_mtime > newest for library in libraries):
        return
    command = [sys.executable, "build_native.py", "--target", "x86_64-windows-gnu"]
    environment = os.environ | {"PYTHONPATH": str(wine_python.parent / "zig")}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr


@pytest.fixture(scope="session")
def wine(wine_python: Path, windows_libraries: None) -> Iterator[Wine]:
    """`wine.run("-m", "servers", "--list", timeout_s=60)`."""
    wine = Wine(wine_python)
    with wine.kept_up():
        yield wine


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests ran under Wine."""
    reports = [report for status in ("passed", "failed") for report in terminalreporter.stats.get(status, [])]
    names = [name for report in reports for name, _ in report.user_properties if name == RAN_UNDER_WINE]
    if names:
        terminalreporter.write_sep("=", f"{len(names)} tests ran under Wine")
