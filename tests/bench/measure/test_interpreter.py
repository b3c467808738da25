"""Another Python for the servers: what is asked of it, what it gets, and what is said where it is none."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from bench.errors import Exit, UserError
from bench.measure.block import measure
from bench.measure.interpreter import Interpreter, chosen, describe, foreign_calls, list_models, own
from bench.measure.run import servers
from bench.measure.setup import Conditions
from bench.plan.cells import Block
from bench.plan.contender import Contender
from bench.records.schema import Load, ServerPython

Script = Callable[[str], Path]
OLD = '{"version": [3, 9], "is": {"interpreter": "CPython 3.9.1", "system": "linux", "gil": true}}'


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """A call that makes a program of shell code."""

    def make(code: str) -> Path:
        file = tmp_path / "program"
        file.write_text(f"#!/bin/sh\n{code}\n")
        file.chmod(0o755)
        return file

    return make


def _says(interpreter: Interpreter, code: str) -> str:
    done = subprocess.run(
        [*interpreter.command, "-P", "-c", code],
        env=interpreter.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_another_python_finds_a_copy_of_the_servers_for_as_long_as_it_is_needed() -> None:
    with chosen(sys.executable) as interpreter:
        assert interpreter.python is not None
        assert interpreter.python.interpreter.endswith(sys.version.split()[0])
        place = Path(_says(interpreter, "import servers; print(servers.__file__)")).parent
        folder = place.parent
        assert [path.name for path in folder.iterdir()] == ["servers"]  # and nothing else of ours
        assert (folder / "servers" / "registry.py").exists()
        assert Path(interpreter.environment["PYTHONPATH"].split(os.pathsep)[0]) == folder
        names = {model.name for model in list_models(interpreter)}
        assert names == {model.name for model in list_models()}
    assert not folder.exists()


def test_without_one_it_is_ours() -> None:
    with chosen(None) as interpreter:
        assert interpreter == own()
        assert interpreter.python is None
    assert int(_says(own(), "import os; print(os.getppid())")) in (
        os.getpid(),
        0,
    )  # no launcher between; Wine: 0


@pytest.mark.linux("makes programs of shell code")
@pytest.mark.parametrize(
    ("code", "says", "code_of_exit"),
    [
        ("echo hello", "is no Python that works (it says: hello)", Exit.USAGE),
        ("echo 'no such option: -I' >&2; exit 2", "(it says: no such option: -I)", Exit.USAGE),
        ("exit 3", "(it says: exit code 3)", Exit.USAGE),
        (
            f"echo '{OLD}'",
            "is CPython 3.9.1, and the servers need 3.11: name a newer one",
            Exit.UNAVAILABLE,
        ),
    ],
)
def test_what_is_no_python_is_said_to_be_none(
    script: Script, code: str, says: str, code_of_exit: Exit
) -> None:
    with pytest.raises(UserError) as raised, chosen(str(script(code))):
        pass
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == code_of_exit


def test_what_is_not_there_or_no_program_is_said_to_be_so(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("")
    no_program = "EXE format|Win32 application" if sys.platform == "win32" else "can't be executed"
    for path, says in ((tmp_path / "nothing", "there is no such program"), (text, no_program)):
        with pytest.raises(UserError, match=says) as raised, chosen(str(path)):
            pass
        assert raised.value.exit_code == Exit.USAGE


@pytest.mark.linux("makes programs of shell code")
def test_a_python_whose_servers_fail_is_unavailable(script: Script) -> None:
    """As one that lacks a module of the standard library, or was built without sockets."""
    fails = 'case "$*" in *servers*) echo "No module named _socket" >&2; exit 1;; esac'
    only_itself = f'{fails}\nexec {sys.executable} "$@"'
    with (
        pytest.raises(
            UserError, match=r"failed under CPython .* on linux: No module named _socket"
        ) as raised,
        chosen(str(script(only_itself))) as interpreter,
    ):
        servers(interpreter)
    assert raised.value.exit_code == Exit.UNAVAILABLE


@pytest.mark.linux("makes programs of shell code")
def test_servers_run_under_it_but_yardstick_and_generators_do_not(
    script: Script, conditions: Conditions, tmp_path: Path
) -> None:
    log = tmp_path / "starts"
    with chosen(str(script(f'echo "$@" >> {log}\nexec {sys.executable} "$@"'))) as interpreter:
        found = servers(interpreter)
        log.write_text("")
        threads = Contender(name="threads", model="threads", implementation="python")
        block = Block(
            name="b",
            experiment="e",
            load=Load(connections=2),
            contenders=[threads, found.yardstick],
            repeats=1,
            rounds=1,
            slice_s=0.01,
        )
        chosen_conditions = conditions._replace(interpreter=interpreter)
        records = measure(block, 1, chosen_conditions, lambda _: None).records
    assert [record.status for record in records] == ["measured", "measured"]
    starts = log.read_text().splitlines()
    assert [start.split()[:4] for start in starts] == [["-P", "-m", "servers", "threads"]]


def test_it_is_described_by_what_tells_it_from_others() -> None:
    python = ServerPython(interpreter="CPython 3.13.1", system="linux", gil=True)
    assert describe(python) == "CPython 3.13.1 on linux"
    assert describe(msgspec.structs.replace(python, gil=False)) == "CPython 3.13.1 without the GIL on linux"


@pytest.mark.linux("has Wine")
@pytest.mark.slow
def test_under_wine_models_are_those_of_windows(wine_python: Path, tmp_path: Path) -> None:
    with chosen(str(wine_python)) as interpreter:
        found = servers(interpreter)
        assert interpreter.python is not None
        assert interpreter.python.system == "windows-wine"
        place = _says(interpreter, "import servers; print(servers.__file__)")
        assert place.startswith("Z:\\")
        assert "iocpbench-" in place
    available = {model.name for model in found.models if model.available}
    assert {"iocp", "overlapped", "wsapoll", "threads"} <= available
    assert not available & {"epoll", "poll"}
    assert found.system == "windows"
    assert (found.yardstick.name, found.yardstick.unavailable) == ("epoll:c", None)


def test_what_a_call_costs_is_asked_of_the_python_that_serves() -> None:
    with chosen(sys.executable) as interpreter:
        calls = foreign_calls(interpreter)
    assert [call.arguments > 0 for call in calls][:2] == [False, True]
    assert all(cost.p50_ns > 0 for call in calls for cost in (call.module, call.ctypes))


@pytest.mark.linux("makes programs of shell code")
def test_a_python_that_cannot_say_what_a_call_costs_is_no_failure(script: Script) -> None:
    said = '{"event": "unavailable", "reason": "no ctypes"}'
    for code in (f"echo '{said}'; exit 3", "exit 0", "echo hello"):
        assert foreign_calls(Interpreter([str(script(code))])) == []
    assert foreign_calls(Interpreter(["./not-there"])) == []
