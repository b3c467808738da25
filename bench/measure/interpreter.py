"""Which Python servers and generators run under.

The generator and the yardstick run under the Python that runs this program, servers too unless another is
asked for: a free-threaded one, a newer one, a Windows one under Wine. The yardstick stays with ours since it
is what runs are compared by: whatever the contenders run under, it must be the same process everywhere. With
servers of another system that is sound as far as it goes: yardstick, generator and contenders share clock,
CPUs and the weather of this machine. Under Wine the contenders have wineserver beside it, so their records
are marked, and nothing ranks them.

Another Python gets a folder that holds the package `servers` and nothing else. On our own path there are
libraries built for this Python, which that one must not find.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench.errors import Exit, UserError
from bench.plan.contender import Model, parse_models
from bench.records.schema import ForeignCall, ServerPython

ANSWER_TIMEOUT_S = 120.0  # the first start under Wine makes a prefix
VERSION_MIN = (3, 11)  # -P, which keeps the folder that it is started in off the path, came with it

# What an interpreter says about itself, one line of JSON; it must run on any that there is.
_ASK = """
import json, platform, sys
system = {"win32": "windows", "darwin": "macos"}.get(sys.platform, sys.platform)
if system == "windows":
    import ctypes
    system += "-wine" if hasattr(ctypes.WinDLL("ntdll"), "wine_get_version") else ""
gil = getattr(sys, "_is_gil_enabled", lambda: True)()
name = platform.python_implementation() + " " + platform.python_version()
what = {"interpreter": name, "system": system, "gil": gil}
print(json.dumps({"version": sys.version_info[:2], "is": what}))
"""


class Interpreter(NamedTuple):
    """How to start it; the environment variables that it gets, None: ours; what it is, None: our own."""

    command: list[str]
    environment: Mapping[str, str] | None = None
    python: ServerPython | None = None

    @property
    def name(self) -> str:
        """What to call it in a message."""
        return describe(self.python) if self.python else "this Python"


class _Answer(msgspec.Struct, frozen=True):
    version: tuple[int, int]
    what: ServerPython = msgspec.field(name="is")


class _Calibration(msgspec.Struct, frozen=True):
    calls: list[ForeignCall]


def describe(python: ServerPython | None) -> str:
    """`CPython 3.13.1 without the GIL on windows-wine`."""
    if python is None:
        return "the Python that runs iocpbench"
    return f"{python.interpreter}{'' if python.gil else ' without the GIL'} on {python.system}"


def own() -> Interpreter:
    """The Python that runs this program.

    python.exe of a virtual environment is a launcher on Windows, which starts another process and waits. We
    start that one ourselves, as multiprocessing does: then its CPU time is the child's own.
    """
    base = getattr(sys, "_base_executable", sys.executable)
    if sys.platform != "win32" or base == sys.executable:
        return Interpreter([sys.executable])
    return Interpreter([base], os.environ | {"__PYVENV_LAUNCHER__": sys.executable})


@contextmanager
def chosen(name_or_path: str | None) -> Iterator[Interpreter]:
    """The Python that is asked for, ours for None. Raises UserError where it isn't one that can be used.

    Another one has a copy of the package `servers` on its path, for as long as the context lasts.
    """
    if name_or_path is None:
        yield own()
        return
    command = [_found(name_or_path)]
    python = _ask(command)
    spec = find_spec("servers")
    assert spec is not None
    assert spec.origin is not None
    # What still runs from there can't be deleted on Windows; that is no reason to fail.
    with tempfile.TemporaryDirectory(prefix="iocpbench-", ignore_cleanup_errors=True) as folder:
        ignored = shutil.ignore_patterns("__pycache__", "*.c", "*.h", "*.lib")
        shutil.copytree(Path(spec.origin).parent, Path(folder) / "servers", ignore=ignored)
        yield Interpreter(command, _environment(folder, python), python)


def list_models(interpreter: Interpreter | None = None) -> list[Model]:
    """What servers there are, as `python -m servers --list` says. Raises UserError where it can't."""
    interpreter = interpreter or own()
    command = [*interpreter.command, "-P", "-m", "servers", "--list"]
    try:
        done = _run(command, interpreter.environment)
        return parse_models(done.stdout) if done.returncode == 0 else _no_list(interpreter, done.stderr)
    except (OSError, subprocess.TimeoutExpired, msgspec.DecodeError) as error:
        return _no_list(interpreter, str(error))


def foreign_calls(interpreter: Interpreter) -> list[ForeignCall]:
    """What a call into the system costs from that Python, by `python -m servers.calibration`, in 0.2 s.

    It explains figures and is a part of none, so a Python that can't say (one without ctypes) is no failure.
    """
    try:
        done = _run([*interpreter.command, "-P", "-m", "servers.calibration"], interpreter.environment)
        return msgspec.json.decode(done.stdout, type=_Calibration).calls if done.returncode == 0 else []
    except (OSError, subprocess.TimeoutExpired, msgspec.DecodeError):
        return []


def _found(name_or_path: str) -> str:
    """The file that is meant; of a virtual environment its own python, so links aren't followed."""
    path = shutil.which(name_or_path)
    if path is None:
        there = Path(name_or_path).exists()
        fact = "can't be executed" if there else "there is no such program"
        raise UserError(f"--server-python {name_or_path}: {fact}; give the path of a Python", Exit.USAGE)
    return os.path.abspath(path)  # noqa: PTH100 - Path.resolve would follow links


def _ask(command: list[str]) -> ServerPython:
    """What the interpreter says about itself. Raises UserError where it says nothing of the kind."""
    where = f"--server-python {command[0]}"
    try:
        done = _run([*command, "-I", "-c", _ASK], None)
    except OSError as error:
        fact = str(error.strerror).replace("%1", "it")  # Windows leaves the name out of its text
        raise UserError(f"{where}: {fact}; give the path of a Python", Exit.USAGE) from error
    except subprocess.TimeoutExpired as error:
        fact = f"said nothing for {ANSWER_TIMEOUT_S:.0f} s"
        raise UserError(f"{where} {fact}; give the path of a Python", Exit.USAGE) from error
    try:
        answer = msgspec.json.decode(done.stdout, type=_Answer)
    except msgspec.DecodeError as error:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        fact = f"is no Python that works (it says: {said[:120]})"
        raise UserError(f"{where} {fact}; give the path of one", Exit.USAGE) from error
    if answer.version < VERSION_MIN:
        wanted = ".".join(map(str, VERSION_MIN))
        fact = f"is {answer.what.interpreter}, and the servers need {wanted}"
        raise UserError(f"{where} {fact}: name a newer one", Exit.UNAVAILABLE)
    return answer.what


def _environment(folder: str, python: ServerPython) -> dict[str, str]:
    """Ours, with `folder` first on its path."""
    theirs = {key: value for key, value in os.environ.items() if key not in _OF_OUR_PYTHON}
    is_wine_here = python.system == "windows-wine" and sys.platform != "win32"
    if is_wine_here:  # where Z: is the whole file system; what else is on our path it can't read
        theirs["PYTHONPATH"] = "Z:" + folder.replace("/", "\\")
    else:
        theirs["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    return theirs


_OF_OUR_PYTHON = {"PYTHONHOME", "__PYVENV_LAUNCHER__"}


def _run(command: list[str], environment: Mapping[str, str] | None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        timeout=ANSWER_TIMEOUT_S,
        env=environment,
    )


def _no_list(interpreter: Interpreter, reason: str) -> list[Model]:
    said = reason.strip().splitlines()
    under = f" under {interpreter.name}" if interpreter.python else ""
    last = said[-1] if said else "it said nothing"
    raise UserError(
        f"`python -m servers --list` failed{under}: {last}",
        Exit.UNAVAILABLE if interpreter.python else Exit.FAILED,
    )
