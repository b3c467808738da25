"""How to measure a run again: the command, as it was typed or as far as the records tell."""

import shlex
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from bench.host.placement import Placement
from bench.host.priority import Priority
from bench.records.schema import Run

_SHOW_ONLY = frozenset({"--open", "--quiet", "--json"})
_PYTHON, _OUT = "--server-python", "--out"
_REPLACED = frozenset({"--seed", _OUT})  # with their values: the seed is put in, the place is one's own
UNKNOWN = (
    "The command line wasn't recorded then. What it changed in the suite shows in run.json, under "
    "\N{LEFT DOUBLE QUOTATION MARK}suite\N{RIGHT DOUBLE QUOTATION MARK}."
)


def without_places(arguments: Sequence[str]) -> list[str]:
    """`arguments` as a record has them: a record is passed on, and says nothing of where files are here."""
    kept: list[str] = []
    before = ""
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if before == _PYTHON:
            kept.append("PATH")
        elif name == _PYTHON and equals:
            kept += [_PYTHON, "PATH"]
        elif _OUT not in {before, name}:
            kept.append(PurePath(argument).name if argument.endswith(".toml") else argument)
        before = "" if before in (_PYTHON, _OUT) or equals else name
    return kept


def command(run: Run) -> str:
    """The command line that measures the same in the same order, quoted as the run's own system wants it."""
    words = ["iocpbench", *(_typed(run.command) if run.command else _told(run)), "--seed", str(run.seed)]
    on_windows = str(run.environment.get("system")).startswith("windows")
    return subprocess.list2cmdline(words) if on_windows else shlex.join(words)


def notes(run: Run) -> Iterator[str]:
    """What else has to be the same, and what isn't known."""
    if not run.command:
        yield UNKNOWN
    if files := [one for one in run.command if one.endswith(".toml")]:
        yield f"{files[0]} is a suite of one's own; as it was resolved it is in run.json."
    if run.environment.get("priority") == Priority.HIGH:
        yield "Its processes had high priority, as they get where the superuser begins a run."
    version = run.versions.get("iocpbench")
    revision = run.environment.get("git_revision")
    made_by = [f"iocpbench {version}"] if version else []
    made_by += [f"revision {revision}"] if revision else []
    if made_by:
        yield f"Measured by {', '.join(made_by)}."


def _typed(arguments: Sequence[str]) -> Iterator[str]:
    """Without the seed, which is in the record, and what changes nothing of what is measured."""
    is_value = False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if is_value:
            is_value = False
        elif name in _REPLACED:
            is_value = not equals
        elif name not in _SHOW_ONLY:
            yield argument


def _told(run: Run) -> Iterator[str]:
    """What a record without a command line tells of it."""
    yield "run"
    yield str(run.suite.get("name", "SUITE"))
    placement = run.environment.get("placement", Placement.SPLIT)
    if placement != Placement.SPLIT:
        yield from ("--placement", str(placement))
    if run.server_python is not None:
        yield from (_PYTHON, "PATH")
