"""`iocpbench run --precision` with real servers: repeats are added, a budget ends it, it is gone on with."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from bench.analysis.precision import look
from bench.measure.precision import LEVEL, LOOKS_FROM
from bench.plan.suite import Suite
from bench.records.store import RunFolder

Cli = Callable[..., subprocess.CompletedProcess[str]]
Begin = Callable[..., "subprocess.Popen[str]"]
TheRun = Callable[[], RunFolder]
MODEL = "iocp" if sys.platform == "win32" else "epoll"
TWO = ["--contenders", f"{MODEL},select", "--connections", "50,100", "--slice", "20ms", "--rounds", "2"]
START_TIMEOUT_S = 60

needs_ratios = pytest.mark.linux("under Wine nothing is compared")


def repeats_of(folder: RunFolder) -> dict[str, list[int]]:
    """The repeats of each block, in the order measured."""
    found: dict[str, list[int]] = {}
    for one in folder.records():
        numbers = found.setdefault(one.block, [])
        if one.repeat not in numbers:
            numbers.append(one.repeat)
    return found


def check_it_followed_from_the_records(folder: RunFolder) -> None:
    """No load got a repeat when it was precise; each was left when it was, or the budget was spent."""
    asked = folder.run.precision
    assert asked is not None
    suite = msgspec.convert(folder.run.suite, Suite)
    (experiment,) = suite.experiment
    is_spent = (folder.run.elapsed_s or 0) >= asked.budget_s
    for block, numbers in repeats_of(folder).items():
        assert numbers == list(range(1, len(numbers) + 1)), block
        records = [one for one in folder.records() if one.block == block]
        precise = [
            all(one.is_precise for one in look([r for r in records if r.repeat <= n], experiment, asked))
            for n in numbers[experiment.repeats - 1 :]
        ]
        assert not any(precise[:-1]), block
        assert precise[-1] or is_spent, block


@pytest.mark.slow
@needs_ratios
def test_repeats_are_added_until_the_budget_is_spent(cli: Cli, the_run: TheRun) -> None:
    done = cli("run", *TWO, "--repeats", "3", "--precision", "0.01%", "--budget", "14s")
    assert done.returncode == 0, done.stderr
    folder = the_run()
    asked = folder.run.precision
    assert asked is not None
    assert (asked.target, asked.budget_s) == (pytest.approx(0.0001), 14)
    assert (asked.level, asked.looks_from) == (LEVEL, LOOKS_FROM)
    check_it_followed_from_the_records(folder)
    assert folder.run.status == "finished"
    assert max(map(len, repeats_of(folder).values())) > 3
    assert "note: repeats are added until every ratio is within +-0.01 %, for 0:14" in done.stderr
    assert "ratios over +-0.01 %" in done.stderr
    assert "the budget of 14 s is spent" in done.stdout
    assert "not reached with 100 connections: select +-" in done.stdout
    assert 'id="precision"' in (folder.path / "report.html").read_text(encoding="utf-8")

    before = folder.records()
    again = cli("run", "--resume", folder.path.name, "--json", "--quiet")
    assert again.returncode == 0, again.stderr
    assert folder.records() == before
    (said,) = json.loads(again.stdout)["precision"]
    assert {one["load"]["connections"] for one in said["widths"] if not one["is_precise"]} == {50, 100}


@pytest.mark.slow
@needs_ratios
def test_what_is_precise_gets_no_more_repeats(cli: Cli, the_run: TheRun) -> None:
    """With so wide a target the first look is the last; fewer repeats than that are too few to look at."""
    done = cli("run", *TWO, "--repeats", "2", "--precision", "900%", "--budget", "60s", "--quiet")
    assert done.returncode == 0, done.stderr
    check_it_followed_from_the_records(the_run())
    assert set(map(len, repeats_of(the_run()).values())) == {LOOKS_FROM}
    assert "All 2 ratios are within +-900 %, after 5 repeats." in done.stdout


@pytest.mark.slow
@needs_ratios
def test_one_that_was_interrupted_goes_on_to_the_end_of_its_budget(
    cli: Cli, begin: Begin, the_run: TheRun, tmp_path: Path
) -> None:
    run = begin("run", *TWO, "--repeats", "2", "--precision", "0.01%", "--budget", "14s", "--quiet")
    deadline = time.monotonic() + START_TIMEOUT_S
    while not any('"repeat":3' in file.read_text() for file in tmp_path.glob("results/*/cells.jsonl")):
        assert time.monotonic() < deadline, "no repeat was added"
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=30)
    assert run.returncode == 130
    before = the_run()
    assert before.run.status == "interrupted"
    spent_s = before.run.elapsed_s or 0.0
    assert spent_s < 14

    done = cli("run", "--resume", before.path.name, "--quiet")
    assert done.returncode == 0, done.stderr
    after = the_run()
    check_it_followed_from_the_records(after)
    assert len(after.records()) > len(before.records())
    assert (after.run.elapsed_s or 0) >= 14
    assert after.run.precision == before.run.precision
