"""What a machine lacks, from the command line: the reason and the cure, and what can run is measured."""

import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.records.store import RunFolder
from servers.completion import io_uring
from servers.contract import Options

Cli = Callable[..., subprocess.CompletedProcess[str]]
Here = Callable[..., tuple[int, str, str]]
TheRun = Callable[[], RunFolder]
Needs = Callable[[str, bool, str], None]
ONE = ["--connections", "10", "--repeats", "1"]
SUITE = """
schema = 1
title = "t"
contenders = ["tuned"]
[contender.tuned]
model = "epoll"
options = OPTIONS
[[experiment]]
name = "a"
"""

# io_uring_setup, system call 425, fails with EPERM: what the profiles of containers do. A filter in BPF.
FORBIDS_IO_URING = """
import ctypes, os, struct, sys
lines = [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]
filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filters", ctypes.c_void_p))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, ctypes.byref(Program(len(lines), ctypes.addressof(filters))), 0, 0) == 0
"""
# The superuser may lock all memory; what it starts from then on may not.
LIMITS_LOCKED_MEMORY = """
import ctypes, os, resource, sys
ctypes.CDLL(None).prctl(24, 14, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_IPC_LOCK
resource.setrlimit(resource.RLIMIT_MEMLOCK, (BYTES, BYTES))
"""
BECOMES_THE_COMMAND = "os.execv(sys.executable, [sys.executable, '-P', '-m', 'bench', *sys.argv[1:]])\n"


@pytest.fixture
def after(tmp_path: Path) -> Cli:
    """A call that runs `iocpbench` with arguments in a process that `preparation` was done in."""

    def run(preparation: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        code = preparation + BECOMES_THE_COMMAND
        return subprocess.run(
            [sys.executable, "-P", "-c", code, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
            cwd=tmp_path,
            timeout=120,
        )

    return run


@pytest.mark.slow
@pytest.mark.linux("io_uring")
def test_a_kernel_that_has_no_io_uring(after: Cli, the_run: TheRun, small: list[str]) -> None:
    says = "io_uring is forbidden here: a container's seccomp profile must allow it"
    for contender in ("io_uring", "io_uring:c"):
        done = after(FORBIDS_IO_URING, "run", *small, "--contenders", contender)
        assert done.returncode == 3
        assert done.stderr == f"iocpbench: nothing to measure: {contender}: {says}\n"
    done = after(FORBIDS_IO_URING, "serve", "io_uring")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"iocpbench: {says}\n"
    done = after(FORBIDS_IO_URING, "run", *small, *ONE, "--contenders", "epoll,io_uring")
    assert done.returncode == 0, done.stderr
    assert f"io_uring unavailable: {says}\n" in done.stdout
    statuses = {one.cell.contender: one.status for one in the_run().records()}
    assert statuses == {"epoll": "measured", "epoll:c": "measured", "io_uring": "unavailable"}


@pytest.mark.slow
@pytest.mark.linux("io_uring")
@pytest.mark.parametrize(
    ("limit_bytes", "exit_code", "says"),
    [
        (64 << 10, 3, "iocpbench: nothing to measure: io_uring: too little locked memory"),
        (
            1 << 20,
            1,
            "failed with 10 connections: the server ended: servers: io_uring: too little locked memory",
        ),
    ],
    ids=["for one", "for two"],
)
def test_too_little_locked_memory(
    after: Cli, needs: Needs, small: list[str], *, limit_bytes: int, exit_code: int, says: str
) -> None:
    """What locks memory differs between kernels: where rings do, the cure is said; elsewhere they run."""
    reason = io_uring.unavailable_reason(Options(setup="defer_taskrun", multishot=False))
    needs("io_uring", reason is None, str(reason))
    limit = LIMITS_LOCKED_MEMORY.replace("BYTES", str(limit_bytes))
    done = after(limit, "run", *small, *ONE, "--contenders", "io_uring,io_uring:c")
    if done.returncode:
        assert done.returncode == exit_code, [done.stdout, done.stderr]
        assert says in done.stdout + done.stderr
        assert "`ulimit -l 65536`" in done.stdout + done.stderr
    else:
        assert "too little" not in done.stdout


@pytest.mark.slow
@pytest.mark.linux("a virtual environment is made in a moment there")
def test_an_extra_that_is_not_installed(cli: Cli, the_run: TheRun, tmp_path: Path, small: list[str]) -> None:
    venv.create(tmp_path / "bare")
    bare = ["--server-python", str(tmp_path / "bare" / "bin" / "python")]
    says = "trio isn't installed: pip install trio, or uv run --extra libraries"
    done = cli("run", *small, *bare, "--contenders", "trio")
    assert done.returncode == 3
    assert done.stderr == f"iocpbench: nothing to measure: trio: {says}\n"
    done = cli("run", *small, *ONE, *bare, "--contenders", "epoll,trio")
    assert done.returncode == 0, done.stderr
    assert f"trio unavailable: {says}\n" in done.stdout
    assert {one.status for one in the_run().records() if one.cell.contender == "trio"} == {"unavailable"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ('{ trigerr = "edge" }', ["epoll has no option trigerr", "did you mean trigger?"]),
        ("{ concurrency = 4 }", ["epoll has no option concurrency", "known: ", "trigger"]),
        ("{ trigger = 3 }", ["option trigger is 3", "str"]),
    ],
)
def test_an_option_that_the_model_has_not(here: Here, tmp_path: Path, options: str, says: list[str]) -> None:
    (tmp_path / "mine.toml").write_text(SUITE.replace("OPTIONS", options))
    exit_code, shown, complaint = here("run", "mine.toml")
    assert (exit_code, shown) == (2, "")
    assert len(complaint.splitlines()) == 1
    for part in ["mine.toml: contender tuned: ", *says]:
        assert part in complaint
