"""The servers of `examples/`, by the commands that its README, the docs and the workflow give."""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.records.store import RunFolder

pytestmark = [pytest.mark.linux("epoll, socat, a shell"), pytest.mark.slow]

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
README, DOC = EXAMPLES / "README.md", ROOT / "docs" / "your-own-server.md"
SUITE = tomllib.loads((EXAMPLES / "servers.toml").read_text())
TOOLS = {"c": "gcc", "node": "node", "socat": "socat", "go": "go", "rust": "rustc"}
PACKAGES = {"c": "gcc libc6-dev", "node": "nodejs", "socat": "socat"}
# What CI installs must run. Others are tests only where their compilers are: nobody has to install one.
TESTED = [*PACKAGES, *(name for name in ("go", "rust") if shutil.which(TOOLS[name]))]
PREFIX = "uv run iocpbench run"
QUICK = "--repeats 1 --rounds 1 --slice 20ms --connections 1,10 --quiet"
# Wide enough apart for a busy machine: one works ten times as long or more for each message.
STEPS = 50_000
COMPARED = "--repeats 4 --rounds 3 --slice 200ms --connections 10 --fail-if-slower 50% --quiet"

TRIES = 4

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def commands(text: str) -> list[str]:
    """The commands of a page: what is indented by four spaces, lines that go on put together."""
    joined = text.replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.startswith("    ")]


def steps(workflow: str) -> list[str]:
    """What the `run: |` steps of a workflow do, in order."""
    scripts: list[list[str]] = []
    inside = False
    for line in workflow.splitlines():
        inside = inside and (line.startswith("          ") or not line)
        if inside:
            scripts[-1].append(line[10:])
        if line == "        run: |":
            scripts.append([])
            inside = True
    return ["\n".join(script) for script in scripts]


def beginning(start: str, page: Path) -> list[str]:
    return [line for line in commands(page.read_text()) if line.startswith(start)]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with a copy of `examples/`, as one that was just cloned."""
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("build"))
    return tmp_path


@pytest.fixture
def shell(checkout: Path) -> Run:
    """A call that runs a command line in the checkout, with this checkout's iocpbench."""

    def run(line: str, more: str = "") -> subprocess.CompletedProcess[str]:
        own = f"{shlex.quote(sys.executable)} -P -m bench run"
        line = f"{line} {more}".replace(PREFIX, own)
        command = ["bash", "-euo", "pipefail", "-c", line]
        return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False, timeout=300)

    return run


def build(name: str, shell: Run, needs: Callable[[str, bool, str], None]) -> None:
    """Build one as the README says; nothing to do for what needs no compiler."""
    tool = TOOLS[name]
    needs(tool, shutil.which(tool) is not None, f"apt-get install {PACKAGES.get(name, name)}")
    for line in [*beginning("mkdir", README), *beginning(f"{tool} ", README)]:
        done = shell(line)
        assert done.returncode == 0, done.stderr


@contextmanager
def started(name: str, checkout: Path) -> Iterator[int]:
    """A server by the suite's command; its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    parts = SUITE["contender"][name]["command"]
    command = [part.replace("{host}", "127.0.0.1").replace("{port}", str(port)) for part in parts]
    with subprocess.Popen(command, cwd=checkout, process_group=0) as process:
        try:
            deadline = time.monotonic() + 30
            while not _listens(port):
                assert process.poll() is None, "it ended"
                assert time.monotonic() < deadline, "it doesn't listen"
                time.sleep(0.02)
            yield port
        finally:
            os.killpg(process.pid, 9)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _of(checkout: Path) -> RunFolder:
    (path,) = (file.parent for file in checkout.glob("results/*/run.json"))
    return RunFolder.open(path)


def compare(shell: Run, line: str) -> "subprocess.CompletedProcess[str]":
    """Two versions; again where the run itself says that it can't tell, as the machine stood still."""
    for _ in range(TRIES):
        done = shell(line, COMPARED)
        if "inconclusive" not in done.stdout:
            break
    return done


@pytest.mark.parametrize("name", TESTED)
def test_one_is_built_and_measured_as_its_page_says(
    name: str, shell: Run, checkout: Path, needs: Callable[[str, bool, str], None]
) -> None:
    build(name, shell, needs)
    line = beginning(f"{PREFIX} examples/servers.toml", README)[0]
    done = shell(line, f"--contenders {name} --reference {name} {QUICK}")
    assert done.returncode == 0, [done.stdout, done.stderr]
    records = [one for one in _of(checkout).records() if one.cell.contender == name]
    assert [one.status for one in records] == ["measured"] * 2
    for one in records:
        assert one.load is not None
        assert one.load.errors == {}
        assert one.load.requests > 0
        assert one.load.connections_opened == one.cell.load.connections
        assert one.samples.server_cpu_s is not None
        assert one.samples.server_cpu_s > 0


@pytest.mark.parametrize("name", TESTED)
def test_one_is_an_echo_server_for_more_than_the_generator(
    name: str, shell: Run, checkout: Path, needs: Callable[[str, bool, str], None]
) -> None:
    """A megabyte to a peer that begins to read late; one connection's reset, which leaves others alone."""
    build(name, shell, needs)
    sent = bytes(range(256)) * 4096
    with started(name, checkout) as port, socket.create_connection(("127.0.0.1", port), 30) as connection:
        with socket.create_connection(("127.0.0.1", port), 30) as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes((1, 0, 0, 0, 0, 0, 0, 0)))
            other.sendall(b"x")
        writer = threading.Thread(target=connection.sendall, args=(sent,))
        writer.start()
        time.sleep(0.2)
        received = bytearray()
        while len(received) < len(sent):
            part = connection.recv(65536)
            assert part, f"the end after {len(received)} bytes"
            received += part
        writer.join()
        assert received == sent
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""


def test_the_suite_and_its_page_name_the_same_servers() -> None:
    assert list(SUITE["contender"]) == list(TOOLS)
    assert SUITE["contenders"] == list(PACKAGES)
    for name, tool in TOOLS.items():
        if name not in ("node", "socat"):
            (line,) = beginning(f"{tool} ", README)
            assert SUITE["contender"][name]["command"][0] in line.split()


def test_the_slower_one_of_the_page_is_found(
    shell: Run, checkout: Path, needs: Callable[[str, bool, str], None]
) -> None:
    build("c", shell, needs)
    (line,) = (one for one in beginning(PREFIX, README) if "--fail-if-slower" in one)
    assert "--work-steps 500" in line
    done = compare(shell, line.replace("--work-steps 500", f"--work-steps {STEPS}"))
    assert done.returncode == 4, [done.stdout, done.stderr]
    assert "head: slower than base by more than 50 %" in done.stdout


def test_the_commands_of_the_docs_run(
    shell: Run, checkout: Path, needs: Callable[[str, bool, str], None]
) -> None:
    needs("gcc", shutil.which("gcc") is not None, "apt-get install gcc libc6-dev")
    (built,) = beginning("gcc ", DOC)
    assert shell(built).returncode == 0
    for name in ("old", "new"):
        shutil.copy(checkout / "server", checkout / name)
    plain, compared = beginning(PREFIX, DOC)
    done = shell(plain, QUICK)
    assert done.returncode == 0, [done.stdout, done.stderr]
    done = shell(compared, COMPARED)
    assert done.returncode == 0, [done.stdout, done.stderr]
    assert "\nhead: " in done.stdout


@pytest.mark.parametrize(("head_steps", "exit_code"), [(0, 0), (STEPS, 4)])
def test_the_workflow_fails_where_head_is_slower(
    head_steps: int,
    exit_code: int,
    *,
    shell: Run,
    checkout: Path,
    needs: Callable[[str, bool, str], None],
) -> None:
    """Its steps, with base and head checked out as it does it, short of fetching iocpbench."""
    needs("gcc", shutil.which("gcc") is not None, "apt-get install gcc libc6-dev")
    source = (EXAMPLES / "echo.c").read_text()
    assert "uint64_t work_steps;" in source
    for name, count in (("base", 0), ("head", head_steps)):
        (checkout / name).mkdir()
        changed = source.replace("uint64_t work_steps;", f"uint64_t work_steps = {count};")
        (checkout / name / "echo.c").write_text(changed)
    building, comparing = steps((EXAMPLES / "regression.yml").read_text())
    assert shell(building).returncode == 0
    installing, _, line = comparing.partition("\n")
    assert installing == "pip install -q uv"
    started_by = "uv run -q --project iocpbench iocpbench run"
    assert line.startswith(started_by)
    done = compare(shell, line.strip().replace(started_by, PREFIX))
    assert done.returncode == exit_code, [done.stdout, done.stderr]
    assert list(checkout.glob("results/*/report.html"))  # what it keeps
