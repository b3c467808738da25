"""`iocpbench run --precision` with real servers: repeats are added, a budget ends it, it is gone on with."""

import json
import subprocess
import sys
from collections.abc import Callable

import msgspec
import pytest

from bench.analysis.precision import look
from bench.measure.precision import LEVEL, LOOKS_FROM
from bench.plan.suite import Suite
from bench.records.store import RunFolder

Cli = Callable[..., subprocess.CompletedProcess[str]]
TheRun = Callable[[], RunFolder]
MODEL = "iocp" if sys.platform == "win32" else "epoll"
# So few that nothing is wake-bound, also on a machine that is busy otherwise.
TWO = ["--contenders", f"{MODEL},select", "--connections", "4,8", "--slice", "20ms", "--rounds", "2"]

needs_ratios = pytest.mark.linux("under Wine nothing is compared")


def repeats_of(folder: RunFolder) -> dict[str, list[int]]:
    """The repeats of each block, in the order measured."""
    found: dict[str, list[int]] = {}
    for one in folder.records():
        numbers = found.setdefault(one.block, [])
        if one.repeat not in numbers:
            numbers.append(one.repeat)
    return found


def check_it_followed_from_the_records(folder: RunFolder) -> set[int]:
    """No load got a repeat when it was precise; each was left when it was, or the budget was spent.

    Returned are the connection counts of those that were left too wide.
    """
    asked = folder.run.precision
    assert asked is not None
    suite = msgspec.convert(folder.run.suite, Suite)
    (experiment,) = suite.experiment
    is_spent = (folder.run.elapsed_s or 0) >= asked.budget_s
    wide = set()
    for block, numbers in repeats_of(folder).items():
        assert numbers == list(range(1, len(numbers) + 1)), block
        records = [one for one in folder.records() if one.block == block]
        precise = [
            all(one.is_precise for one in look([r for r in records if r.repeat <= n], experiment, asked))
            for n in numbers[experiment.repeats - 1 :]
        ]
        assert not any(precise[:-1]), block
        assert precise[-1] or is_spent, block
        wide |= set() if precise[-1] else {records[0].cell.load.connections}
    return wide


def interrupt(folder: RunFolder) -> None:
    """Leave the folder as it was before the last block was measured, with five seconds of the budget left."""
    last = folder.records()[-1]
    kept = [one for one in folder.records() if (one.repeat, one.block) != (last.repeat, last.block)]
    (folder.path / "cells.jsonl").write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in kept))
    run = json.loads((folder.path / "run.json").read_bytes())
    run |= {"status": "interrupted", "elapsed_s": run["precision"]["budget_s"] - 5}
    (folder.path / "run.json").write_text(json.dumps(run))


@pytest.mark.slow
@needs_ratios
def test_repeats_are_added_until_the_budget_is_spent_and_it_is_gone_on_with(
    cli: Cli, the_run: TheRun
) -> None:
    done = cli("run", *TWO, "--repeats", "2", "--precision", "0.01%", "--budget", "20s")
    assert done.returncode == 0, done.stderr
    folder = the_run()
    asked = folder.run.precision
    assert asked is not None
    assert (asked.target, asked.budget_s) == (pytest.approx(0.0001), 20)
    assert (asked.level, asked.looks_from) == (LEVEL, LOOKS_FROM)
    wide = check_it_followed_from_the_records(folder)
    assert folder.run.status == "finished"
    assert "note: repeats are added until every ratio is within +-0.01 %, for 0:20" in done.stderr
    if wide:
        assert max(map(len, repeats_of(folder).values())) > 2
        assert "ratios over +-0.01 %" in done.stderr
        assert "the budget of 20 s is spent" in done.stdout
        assert f"not reached with {min(wide)} connections: select +-" in done.stdout
    assert 'id="precision"' in (folder.path / "report.html").read_text(encoding="utf-8")

    before = folder.records()
    again = cli("run", "--resume", folder.path.name, "--json", "--quiet")
    assert again.returncode == 0, again.stderr
    assert folder.records() == before
    (said,) = json.loads(again.stdout)["precision"]
    assert {one["load"]["connections"] for one in said["widths"] if not one["is_precise"]} == wide

    if wide:
        interrupt(folder)
        kept = folder.records()
        assert len(kept) < len(before)
        again = cli("run", "--resume", folder.path.name, "--quiet")
        assert again.returncode == 0, again.stderr
        after = RunFolder.open(folder.path)
        check_it_followed_from_the_records(after)
        assert after.records()[: len(kept)] == kept
        assert len(after.records()) > len(kept)
        assert after.run.status == "finished"
        assert after.run.precision == asked


@pytest.mark.slow
@needs_ratios
def test_what_is_precise_gets_no_more_repeats(cli: Cli, the_run: TheRun) -> None:
    """With so wide a target the first look is the last; fewer repeats than that are too few to look at."""
    done = cli("run", *TWO, "--repeats", "2", "--precision", "900%", "--budget", "60s", "--quiet")
    assert done.returncode == 0, done.stderr
    check_it_followed_from_the_records(the_run())
    assert max(map(len, repeats_of(the_run()).values())) <= LOOKS_FROM
    if "No ratio could be brought" not in done.stdout:  # on a machine so busy that none may be compared
        assert "within +-900 %, after 5 repeats." in done.stdout
