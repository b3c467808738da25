"""Anybody's server that goes wrong: others are measured, a reason and a cure are said, nothing is left."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from bench.records.schema import Record
from bench.records.store import RunFolder

Cli = Callable[..., subprocess.CompletedProcess[str]]
Here = Callable[..., tuple[int, str, str]]
TheRun = Callable[[], RunFolder]
STRANGER = Path(__file__).parents[2] / "faulty" / "stranger.py"
ECHO = "it must send back every byte as it came, and nothing else"
BY_HAND = "start it by hand to see why"


@pytest.fixture
def stranger(tmp_path: Path) -> str:
    """The server, by a path that no other test's processes have on their command line."""
    return Path(shutil.copy(STRANGER, tmp_path)).as_posix()


def _run(cli: Cli, small: list[str], contender: str, mine: str) -> subprocess.CompletedProcess[str]:
    python = Path(sys.executable).as_posix()
    options = ["--contenders", contender, "--connections", "10", "--repeats", "1"]
    return cli("run", *small, *options, "--contender", f"mine={python} {mine}")


def _of(the_run: TheRun, name: str) -> Record:
    (record,) = [one for one in the_run().records() if one.cell.contender == name]
    return record


def _is_gone(stranger: str) -> bool:
    """Whether no process of it is left, a moment later at the latest: the system may still be ending one."""

    def is_of_it(process: psutil.Process) -> bool:
        try:
            return stranger in " ".join(process.cmdline())
        except (psutil.Error, OSError):  # it ends just now
            return False

    deadline = time.monotonic() + 10
    while any(map(is_of_it, psutil.process_iter())):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("exits", "the server ended: no licence"),
        ("exits-silently", f"the server ended with exit code 7: {BY_HAND}"),
        ("never-listens", f"the server didn't listen within 10 s: {BY_HAND}"),
        ("hangs-up", f"the server does not echo: it closed the connection; {ECHO}"),
        ("says-nothing", f"the server does not echo: no answer within 5 s; {ECHO}"),
        ("shouts", f"the server does not echo: other bytes came back; {ECHO}"),
        ("greets", f"the server does not echo: other bytes came back; {ECHO}"),
        ("shouts-later", f"the server sent other bytes than it was sent; {ECHO}"),
        ("closes-later", "the server answered nothing under load: closed"),
        ("dies-later", f"the server ended with exit code 3: {BY_HAND}"),
    ],
)
def test_one_that_fails_says_why_and_what_helps(
    cli: Cli, the_run: TheRun, small: list[str], *, stranger: str, model: str, fault: str, reason: str
) -> None:
    done = _run(cli, small, model, f"{stranger} {{host}} {{port}} {fault}")
    assert done.returncode == 1
    assert done.stderr == "iocpbench: 1 measurement failed: the table says which\n"
    assert f"mine failed with 10 connections: {reason}\n" in done.stdout
    record = _of(the_run, "mine")
    assert (record.status, record.reason, record.load) == ("failed", reason, None)
    assert _of(the_run, model).status == "measured"
    assert _is_gone(stranger)


@pytest.mark.slow
@pytest.mark.linux("finds the ports of other processes under Wine, too")
def test_one_that_listens_elsewhere_is_told_where(
    cli: Cli, the_run: TheRun, small: list[str], *, stranger: str, model: str
) -> None:
    assert _run(cli, small, model, f"{stranger} {{host}} {{port}} listens-elsewhere").returncode == 1
    reason = _of(the_run, "mine").reason
    assert reason is not None
    assert reason.startswith("the server didn't listen within 10 s: it does on 127.0.0.1:")
    assert reason.endswith(": pass on {host} and {port}")


@pytest.mark.slow
def test_one_that_hangs_when_it_is_to_stop_is_measured_and_ended(
    cli: Cli, the_run: TheRun, small: list[str], *, stranger: str, model: str
) -> None:
    done = _run(cli, small, model, f"{stranger} {{host}} {{port}} hangs-at-stop")
    assert done.returncode == 0, done.stderr
    assert _of(the_run, "mine").status == "measured"
    assert _is_gone(stranger)


@pytest.mark.linux("on Windows only a start shows what can be started")
@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("./not-there", ["./not-there doesn't exist", "build it"]),
        ("no-such-program", ["no program no-such-program on the PATH", "install it"]),
        ("server", ["no program server on the PATH", "write ./server"]),
        ("./server", ["./server is not executable", "chmod +x ./server"]),
        ("./folder", ["./folder is a folder"]),
    ],
)
def test_what_cannot_be_started_is_said_before_anything_is_measured(
    here: Here, tmp_path: Path, program: str, says: list[str]
) -> None:
    (tmp_path / "server").write_text("not executable")
    (tmp_path / "folder").mkdir()
    for options in ([], ["--dry-run"]):
        exit_code, shown, complaint = here("run", "--contender", f"mine={program} {{port}}", *options)
        assert exit_code == 2
        assert shown == ""
        assert len(complaint.splitlines()) == 1
        for part in ["contender mine", *says]:
            assert part in complaint
        assert not (tmp_path / "results").exists()


@pytest.mark.slow
@pytest.mark.linux("scripts are executable there")
def test_a_script_that_names_no_interpreter(cli: Cli, tmp_path: Path, small: list[str]) -> None:
    (tmp_path / "server").write_text("console.log('no first line')\n")
    (tmp_path / "server").chmod(0o755)
    options = ["--connections", "1", "--repeats", "1", "--contenders", "mine"]
    done = cli("run", *small, *options, "--contender", "mine=./server {port}")
    assert done.returncode == 1
    assert "./server: Exec format error: give it a #! line, or name what runs it" in done.stdout


def test_a_command_without_a_port_cannot_know_where_to_listen(here: Here) -> None:
    exit_code, _, complaint = here("run", "--contender", "mine=./server 9000")
    assert exit_code == 2
    assert "contender mine: its command has no {port}" in complaint
    assert len(complaint.splitlines()) == 1
