"""`iocpbench run` with real servers: whole, interrupted, killed, resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.errors import UserError
from bench.host.priority import HIGHEST, Priority, best
from bench.measure.run import resume
from bench.records.schema import Record
from bench.records.store import RunFolder

Cli = Callable[..., subprocess.CompletedProcess[str]]
Begin = Callable[..., "subprocess.Popen[str]"]
TheRun = Callable[[], RunFolder]
START_TIMEOUT_S = 60
MODEL = "iocp" if sys.platform == "win32" else "epoll"
ENDINGS = ["kill"] if sys.platform == "win32" else ["SIGINT", "SIGTERM", "kill"]


def _keys(records: list[Record]) -> list[tuple[int, str, str]]:
    return sorted((one.repeat, one.block, one.cell.contender) for one in records)


def _expected(repeats: int) -> list[tuple[int, str, str]]:
    """What the run of the fixture `small` is to leave."""
    return sorted(
        (repeat, f"connections-c{connections}-b64", contender)
        for repeat in range(1, repeats + 1)
        for connections in (1, 10)
        for contender in (MODEL, f"{MODEL}:c", "threads")
    )


def _wait(until: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not (found := until()):
        assert time.monotonic() < deadline, "it didn't come to that"
        time.sleep(0.01)
    return found


def _cells(folder: Path) -> list[bytes]:
    return [line for file in folder.glob("results/*/cells.jsonl") for line in file.read_bytes().splitlines()]


def _are_gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=15)
    return all(process.status() == psutil.STATUS_ZOMBIE for process in alive if process.is_running())


@pytest.mark.slow
def test_a_run_from_beginning_to_end(cli: Cli, the_run: TheRun, small: list[str]) -> None:
    done = cli("run", *small, "--seed", "3")
    assert done.returncode == 0, done.stderr
    folder = the_run()
    assert folder.run.status == "finished"
    assert folder.run.seed == 3
    assert folder.run.command == ["run", *small, "--seed", "3"]
    if sys.platform == "linux":  # under Wine a response takes longer, and so slices do
        assert folder.run.slices_s == pytest.approx(2 * 2 * 3 * 3 * 0.03, rel=0.5)
    assert folder.run.elapsed_s > folder.run.slices_s
    records = folder.records()
    assert _keys(records) == _expected(repeats=2)
    assert {one.status for one in records} == {"measured"}
    assert (folder.path / "report.html").exists()
    assert str(folder.path / "report.html").endswith(done.stdout.split("page: ")[1].splitlines()[0])
    assert "times the time in slices" in done.stdout
    assert list(folder.logs.iterdir()) == []


@pytest.mark.slow
def test_without_a_terminal_a_line_tells_of_each_block(cli: Cli, small: list[str]) -> None:
    done = cli("run", *[option for option in small if option != "--quiet"], "--repeats", "1")
    assert done.returncode == 0
    lines = [line for line in done.stderr.splitlines() if "fastest" in line]
    assert [line.split()[0] for line in lines] == ["1/2", "2/2"]
    assert {line.split(", ")[1] for line in lines} == {"1 connection", "10 connections"}


@pytest.mark.slow
def test_json_is_all_of_stdout(cli: Cli, the_run: TheRun, small: list[str]) -> None:
    done = cli("run", *small, "--repeats", "1", "--json")
    assert json.loads(done.stdout)["run"].endswith(the_run().path.name)


@pytest.mark.slow
def test_anybodys_server_is_measured_and_one_that_fails_gives_1(
    cli: Cli, the_run: TheRun, tmp_path: Path, small: list[str]
) -> None:
    (tmp_path / "server.py").write_text(
        "import asyncio, sys\n"
        "async def echo(reader, writer):\n"
        "    while data := await reader.read(4096):\n"
        "        writer.write(data)\n"
        "    writer.close()\n"
        "async def main():\n"
        "    await (await asyncio.start_server(echo, sys.argv[1], int(sys.argv[2]))).serve_forever()\n"
        "asyncio.run(main())\n"
    )
    done = cli(
        "run",
        *small,
        *("--repeats", "1", "--connections", "10", "--contenders", MODEL),
        *(
            "--contender",
            f"mine={sys.executable} server.py {{host}} {{port}}",
            "--contender",
            f"none={sys.executable} not-there.py {{host}} {{port}}",
        ),
    )
    assert done.returncode == 1
    assert "1 measurement failed" in done.stderr
    by_name = {one.cell.contender: one for one in the_run().records()}
    assert by_name.keys() == {MODEL, f"{MODEL}:c", "mine", "none"}
    assert by_name["mine"].status == "measured"
    assert by_name["mine"].load.requests > 0
    assert by_name["none"].status == "failed"
    assert "not-there.py" in by_name["none"].reason
    assert the_run().run.status == "finished"


@pytest.mark.slow
@pytest.mark.linux("under Wine nothing is compared")
def test_a_version_that_is_slower_gives_4(cli: Cli, tmp_path: Path, small: list[str]) -> None:
    """Two commands of one program are a block like any other; one works a while for each message."""
    (tmp_path / "server.py").write_text(
        "import asyncio, sys\n"
        "async def echo(reader, writer):\n"
        "    while data := await reader.read(4096):\n"
        "        sum(range(int(sys.argv[2])))\n"
        "        writer.write(data)\n"
        "    writer.close()\n"
        "async def main():\n"
        "    await (await asyncio.start_server(echo, '127.0.0.1', int(sys.argv[1]))).serve_forever()\n"
        "asyncio.run(main())\n"
    )

    def version(name: str, delay_s: str) -> list[str]:
        return ["--contender", f"{name}={sys.executable} server.py {{port}} {delay_s}"]

    options = [*small, "--repeats", "4", "--connections", "10", "--fail-if-slower", "50%"]
    options += ["--contenders", "base,head", "--reference", "base", "--slice", "100ms", "--rounds", "4"]
    slower = cli("run", *options, *version("base", "0"), *version("head", "30000"))
    assert slower.returncode == 4, slower.stdout
    assert "head: slower than base by more than 50 %" in slower.stdout
    assert slower.stderr.splitlines()[-1] == "iocpbench: surely slower than the reference: head"
    same = cli("run", *options, *version("base", "0"), *version("head", "0"))
    assert same.returncode == 0, same.stdout
    assert "head: not slower than base by 50 %" in same.stdout or "head: inconclusive" in same.stdout


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS)
def test_what_was_finished_survives_and_only_the_rest_is_measured(
    cli: Cli, begin: Begin, the_run: TheRun, *, tmp_path: Path, small: list[str], ending: str
) -> None:
    run = begin("run", *small, "--repeats", "3", "--rounds", "6")
    _wait(lambda: len(_cells(tmp_path)) >= 6)  # two blocks are finished
    children = _wait(lambda: psutil.Process(run.pid).children(recursive=True))
    if ending == "kill":
        run.kill()
    else:
        run.send_signal(signal.Signals[ending])
    _, complaints = run.communicate(timeout=30)
    assert _are_gone(children)
    before = the_run()
    kept = _cells(tmp_path)
    assert 6 <= len(kept) < 18
    assert len(kept) % 3 == 0
    if ending == "kill":
        assert before.run.status == "running"
        assert not before.in_use
    else:
        assert run.returncode == 130
        assert before.run.status == "interrupted"
        assert len(complaints.splitlines()) == 2
        assert f"iocpbench run --resume {before.path.relative_to(tmp_path)}" in complaints

    done = cli("run", "--resume", str(before.path), "--quiet")
    after = the_run()
    assert done.returncode == 0, [done.stderr, *(one.reason for one in after.records())]
    assert _cells(tmp_path)[: len(kept)] == kept
    assert _keys(after.records()) == _expected(repeats=3)
    assert after.run.status == "finished"
    assert after.run.elapsed_s > (before.run.elapsed_s or 0)


@pytest.mark.slow
@pytest.mark.linux("signals a process group")
def test_ctrl_c_at_the_terminal_reaches_the_run_alone(
    begin: Begin, the_run: TheRun, tmp_path: Path, small: list[str]
) -> None:
    """A terminal signals the whole foreground group: children that took it would spoil the orderly end."""
    run = begin("run", *small, "--rounds", "20")
    _wait(lambda: len(_cells(tmp_path)) >= 3)
    children = _wait(lambda: psutil.Process(run.pid).children(recursive=True))
    # A child that was forked just now leaves the group a moment later.
    assert _wait(lambda: all(os.getpgid(child.pid) != os.getpgid(run.pid) for child in children))
    os.killpg(run.pid, signal.SIGINT)
    run.communicate(timeout=30)
    assert run.returncode == 130
    assert _are_gone(children)
    assert list(the_run().logs.iterdir()) == []


@pytest.mark.slow
@pytest.mark.linux("tells CPU times of other processes under Wine, too")
def test_one_that_disturbs_the_others_is_measured_apart(
    cli: Cli, the_run: TheRun, tmp_path: Path, small: list[str]
) -> None:
    (tmp_path / "server.py").write_text(
        "import socket, sys, threading\n"
        "def burn():\n"
        "    while True: pass\n"
        "threading.Thread(target=burn, daemon=True).start()\n"
        "def echo(connection):\n"
        "    while data := connection.recv(4096):\n"
        "        connection.sendall(data)\n"
        "listener = socket.create_server((sys.argv[1], int(sys.argv[2])))\n"
        "while True:\n"
        "    threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()\n"
    )
    mine = f"mine={sys.executable} server.py {{host}} {{port}}"
    done = cli("run", *small, "--connections", "1", "--contender", mine)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("mine used over 1% of a CPU") == 1
    together: dict[tuple[int, str], set[str]] = {}
    for one in the_run().records():
        together.setdefault((one.repeat, one.block), set()).add(one.cell.contender)
    others, apart = ["epoll", "epoll:c", "threads"], ["epoll:c", "mine"]
    assert sorted(map(sorted, together.values())) == [others, others, apart, apart]


@pytest.mark.slow
@pytest.mark.linux("tells CPU times of other processes under Wine, too")
def test_one_that_disturbs_in_one_experiment_is_compared_directly_in_the_others(
    cli: Cli, the_run: TheRun, tmp_path: Path
) -> None:
    """As who looks through a crowd once more: where there is none it disturbs nobody."""
    (tmp_path / "server.py").write_text(
        "import socket, sys, threading\n"
        "def burn():\n"
        "    while True: pass\n"
        "def echo(connection):\n"
        "    while data := connection.recv(4096):\n"
        "        connection.sendall(data)\n"
        "listener = socket.create_server((sys.argv[1], int(sys.argv[2])))\n"
        "for number in range(10**6):\n"
        "    threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()\n"
        "    if number == 8:\n"
        "        threading.Thread(target=burn, daemon=True).start()\n"
    )
    mine = f"mine={sys.executable} server.py {{host}} {{port}}"
    (tmp_path / "two.toml").write_text(
        'schema = 1\ntitle = "t"\nrepeats = 3\nrounds = 3\nslice = "30ms"\n'
        f'contenders = ["{MODEL}", "threads"]\nreference = "{MODEL}"\n'
        '[[experiment]]\nname = "many"\nquestion = "?"\nload = { connections = 20 }\n'
        '[[experiment]]\nname = "few"\nquestion = "?"\nload = { connections = 1 }\n'
    )
    done = cli("run", "two.toml", "--seed", "1", "--contender", mine)
    assert done.returncode == 0, done.stderr
    blocks = {(one.repeat, one.block) for one in the_run().records()}
    assert {block for _, block in blocks if block.startswith("few")} == {"few-c1-b64"}
    apart = [(number, f"many-c20-b64-{part}") for number in (2, 3) for part in ("rest", "alone-mine")]
    assert set(apart) <= blocks


@pytest.mark.slow
def test_a_finished_run_has_nothing_left_to_resume(cli: Cli, the_run: TheRun, small: list[str]) -> None:
    cli("run", *small, "--repeats", "1", "--connections", "1")
    folder = the_run()
    before = _keys(folder.records())
    done = cli("run", "--resume", folder.path.name)
    assert done.returncode == 0, done.stderr
    assert _keys(folder.records()) == before


@pytest.mark.slow
def test_a_run_of_another_machine_or_build_is_not_resumed(
    cli: Cli, the_run: TheRun, small: list[str]
) -> None:
    cli("run", *small, "--repeats", "1", "--connections", "1")
    file = the_run().path / "run.json"
    whole = file.read_text()
    for changed, says in (
        ({"yardstick_sha256": "0" * 64}, "built anew"),
        ({"environment": {**json.loads(whole)["environment"], "kernel": "1.0"}}, "another kernel"),
    ):
        file.write_text(json.dumps(json.loads(whole) | changed))
        done = cli("run", "--resume", file.parent.name)
        assert done.returncode == 3
        assert says in done.stderr
        assert len(done.stderr.splitlines()) <= 2


@pytest.mark.slow
@pytest.mark.linux("Windows keeps the priority that there is")
@pytest.mark.parametrize("asked", [None, "normal"])
def test_all_processes_of_a_run_have_the_priority_that_it_says(
    begin: Begin, the_run: TheRun, small: list[str], asked: str | None
) -> None:
    process = begin("run", *small, *(["--priority", asked] if asked else []))
    own = psutil.Process(process.pid)
    started = _wait(lambda: [one for one in own.children(recursive=True) if "loadgen" in one.cmdline()])
    processes = [own, *own.children(recursive=True)]
    priority = the_run().run.environment["priority"]
    assert priority == (asked or best())
    assert started
    assert {one.nice() for one in processes} == {HIGHEST if priority == "high" else psutil.Process().nice()}


@pytest.mark.slow
@pytest.mark.linux("Windows keeps the priority that there is")
def test_a_run_with_high_priority_is_not_gone_on_with_without(
    cli: Cli, the_run: TheRun, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("run", *small, "--repeats", "1", "--connections", "1", "--priority", "normal")
    file = the_run().path / "run.json"
    run = json.loads(file.read_text())
    file.write_text(json.dumps(run | {"environment": {**run["environment"], "priority": "high"}}))
    monkeypatch.setattr("bench.measure.run.best", lambda: Priority.NORMAL)
    with pytest.raises(UserError, match="measured with high priority, which isn't permitted now"):
        resume(file.parent)


@pytest.mark.parametrize(
    "option", [["--connections", "3"], ["--precision", "2%"], ["--budget", "5m"], ["--priority", "normal"]]
)
def test_resume_takes_no_other_option(cli: Cli, option: list[str]) -> None:
    done = cli("run", "--resume", "x", *option)
    assert done.returncode == 2
    assert "--resume" in done.stderr
