"""Help, and bad input: one or two lines that say what to do, the right exit code, nothing half-written."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., subprocess.CompletedProcess[str]]
Here = Callable[..., tuple[int, str, str]]
COMMANDS = [
    "run",
    "models",
    "suites",
    "doctor",
    "runs",
    "report",
    "compare",
    "export",
    "serve",
    "load",
    "client",
]

TOO_MANY = ["ports", "netsh"] if sys.platform == "win32" else ["would fit", "ulimit"]
UNCLOSED = "" if sys.platform == "win32" else "'"  # there a quote needs no end, but a command is needed
SUITE = """
schema = 1
title = "t"
contenders = ["threads"]
[[experiment]]
name = "a"
"""


def test_help_names_every_command(cli: Cli) -> None:
    done = cli("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert f"  {command} " in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_an_example(here: Here, command: str) -> None:
    exit_code, shown, _ = here(command, "--help")
    assert exit_code == 0
    assert f"iocpbench {command}" in shown.partition("Example")[2]


@pytest.mark.linux("under Wine typer is an older one, which imports rich")
def test_help_imports_nothing_heavy(cli: Cli) -> None:
    done = cli("--help", env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"})
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & {"numpy", "pandas", "matplotlib", "psutil", "rich", "scipy", "msgspec", "jinja2"}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["rum"], 2, ["rum", "--help"]),
        ([], 2, ["--help"]),
        (["run", "--frobnicate"], 2, ["--frobnicate", "iocpbench run --help"]),
        (["run", "quik"], 2, ["quik", "did you mean quick?"]),
        (["run", "no/such.toml"], 2, [str(Path("no/such.toml")), "No such file"]),
        (["run", "--contenders", "epol"], 2, ["epol", "did you mean epoll?"]),
        (["run", "--reference", "threds"], 2, ["threds", "did you mean threads?"]),
        (["run", "--connections", "0"], 2, ["--connections", "'0'"]),
        (["run", "--connections", "1,ten"], 2, ["--connections", "'ten'"]),
        (["run", "--connections", ""], 2, ["--connections"]),
        (["run", "--message-bytes", "99999999"], 2, ["message_bytes", "16777216"]),
        (["run", "--repeats", "0"], 2, ["--repeats"]),
        (["run", "--rounds", "many"], 2, ["--rounds"]),
        (["run", "--slice", "50"], 2, ["slice", "50ms"]),
        (["run", "--placement", "splt"], 2, ["--placement", "did you mean split?"]),
        (["run", "--priority", "hgh"], 2, ["--priority", "did you mean high?"]),
        (["run", "--contender", "mine"], 2, ["mine", "NAME=COMMAND"]),
        (["run", "--contender", f"mine={UNCLOSED}"], 2, ["mine"]),
        (["run", "--resume", "nothing"], 2, ["nothing"]),
        (["run", "--resume", "."], 2, ["not a run", "run.json"]),
        (["run", "--fail-if-slower", "3"], 2, ["--fail-if-slower", "'3'", "3%"]),
        (["run", "--fail-if-slower", "-3%"], 2, ["--fail-if-slower", "'-3%'"]),
        (["run", "--precision", "0"], 2, ["--precision", "'0'", "above 0%"]),
        (["run", "--precision", "0%"], 2, ["--precision", "'0%'", "above 0%"]),
        (["run", "--precision", "abc"], 2, ["--precision", "'abc'", "3%"]),
        (["run", "--precision", "2%", "--budget", "0s"], 2, ["--budget", "'0s'", "5m"]),
        (["run", "--precision", "2%", "--budget", "5"], 2, ["--budget", "'5'", "5m"]),
        (["run", "--budget", "5m"], 2, ["--budget", "--precision"]),
        (["run", "capacity", "--precision", "2%"], 2, ["--precision", "capacity", "search"]),
        (["run", "--connections", "900000"], 2, ["900000 connections", *TOO_MANY]),
        (["serve", "epol"], 2, ["epol"]),
        (["serve", "epoll", "--port", "70000"], 2, ["70000", "65535"]),
        (["serve", "epoll", "--frobnicate"], 2, ["--frobnicate"]),
        (["load", "127.0.0.1:70000"], 2, ["70000", "65535"]),
        (["load", "127.0.0.1"], 2, ["HOST:PORT"]),
        (["load", "127.0.0.1:1", "--connections", "0"], 2, ["--connections", "0"]),
        (["load", "127.0.0.1:1", "--duration", "3"], 2, ["--duration", "50ms"]),
        (["load", "127.0.0.1:1"], 1, ["127.0.0.1:1"]),
        (["client", "127.0.0.1:0"], 2, ["HOST:PORT"]),
        (["client", "127.0.0.1:1"], 1, ["127.0.0.1:1", "refused"]),
        (["suites", "--show", "quik"], 2, ["did you mean quick?"]),
        (["doctor", "--connections", "0"], 2, ["--connections"]),
    ],
)
def test_bad_input(here: Here, tmp_path: Path, arguments: list[str], code: int, says: list[str]) -> None:
    exit_code, _, complaint = here(*arguments)
    assert exit_code == code, complaint
    assert 1 <= len(complaint.splitlines()) <= 2, complaint
    for part in says:
        assert part in complaint
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_key_names_file_key_and_the_nearest(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(SUITE + "repeets = 3\n")
    done = cli("run", "mine.toml")
    assert done.returncode == 2
    assert done.stderr == "iocpbench: mine.toml: unknown key experiment[0].repeets; did you mean repeats?\n"


@pytest.mark.linux("has a limit of descriptors")
def test_connections_past_the_descriptors_are_refused_before_anything_starts(
    cli: Cli, tmp_path: Path
) -> None:
    import resource

    done = cli(
        "run",
        "--connections",
        "1000",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (500, 500)),
    )
    assert done.returncode == 2
    assert "436 would fit" in done.stderr
    assert "ulimit -Hn 1064" in done.stderr
    assert not (tmp_path / "results").exists()


def test_a_results_folder_that_cannot_be_made(cli: Cli, tmp_path: Path, small: list[str]) -> None:
    (tmp_path / "file").write_text("")
    done = cli("run", *small, "--out", "file/results")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert str(Path("file/results")) in done.stderr


@pytest.mark.linux("has /dev/full")
def test_a_full_disk(cli: Cli, small: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*cli("--help").args[:4], "models"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_pipe_gets_utf_8(cli: Cli, tmp_path: Path) -> None:
    """Also where the system's own encoding is another: Windows has one of each country for pipes."""
    name = "r\u00e9sultats-\u65e5\u672c"
    done = cli("runs", "--results", name, env=os.environ | {"PYTHONUTF8": "0"})
    assert name in done.stdout


def test_models(cli: Cli) -> None:
    models = {model["name"]: model for model in json.loads(cli("models", "--json").stdout)}
    table = cli("models").stdout
    assert {"epoll", "threads", "select", "poll"} <= models.keys()
    for name, model in models.items():
        assert f"\n{name} " in table
        assert model["available"] or f"\n{model['reason']}\n" in table
    assert "\noptions of all: --buffer-bytes --backlog --processes --listeners\n" in table
    assert table.count("--backlog") == 1


@pytest.mark.slow
def test_suites_can_be_shown_copied_and_run(cli: Cli, tmp_path: Path) -> None:
    assert "\nquick " in cli("suites").stdout
    assert {one["name"] for one in json.loads(cli("suites", "--json").stdout)} >= {"quick", "self-check"}
    (tmp_path / "mine.toml").write_text(cli("suites", "--show", "quick").stdout)
    assert "asyncio_streams" in cli("run", "mine.toml", "--dry-run").stdout


@pytest.mark.parametrize(
    ("suite", "said"), [("capacity", "searches the highest rate"), ("load", "offered rates")]
)
def test_a_dry_run_says_which_blocks_are_found_while_measuring(cli: Cli, suite: str, said: str) -> None:
    assert said in cli("run", suite, "--dry-run").stdout


def test_a_dry_run_says_how_long_it_may_take_to_be_precise(cli: Cli) -> None:
    given = cli("run", "quick", "--precision", "2%", "--budget", "30s", "--dry-run").stdout
    assert "then repeats are added until every ratio is within +-2 %, for 0:30 in all at most" in given
    assert "so none may be" in given
    assert "for 10:00 in all at most" in cli("run", "quick", "--precision", "2%", "--dry-run").stdout
    of_chapter = cli("run", "chapter", "--precision", "2%", "--dry-run").stdout
    longer = re.search(r"for (\d+):\d\d in all", of_chapter)
    assert int(longer[1]) > 10  # three times as long as the suite takes


def test_a_dry_run_says_what_would_be_measured_and_makes_nothing(
    cli: Cli, tmp_path: Path, model: str
) -> None:
    done = cli("run", "quick", "--connections", "3,30", "--repeats", "2", "--dry-run")
    assert done.returncode == 0
    for part in (
        "c3-",
        "c30-",
        "asyncio_streams",
        f"{model}:c",
        "not of this system",
        "Nothing was measured",
    ):
        assert part in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_doctor(cli: Cli) -> None:
    done = cli("doctor", "--connections", "900000")
    assert done.returncode == 0
    assert ("ports for" if sys.platform == "win32" else "900000 are asked for") in done.stdout
    assert "next:" in done.stdout
    assert all(one["fact"] for one in json.loads(cli("doctor", "--json").stdout))


@pytest.mark.linux("sends SIGINT to a process")
def test_ctrl_c_while_it_is_still_loading_shows_no_traceback() -> None:
    command = [
        sys.executable,
        "-P",
        "-X",
        "importtime",
        "-m",
        "bench",
        "--help",
    ]  # tells of each import on stderr
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "bench.commands" in line:  # the first of ours; what takes time comes next
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait(30) == -signal.SIGINT
    assert "Traceback" not in rest
