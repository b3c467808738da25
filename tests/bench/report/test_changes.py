"""`iocpbench compare`: what may be compared, what is said of it, and what a change for the worse does."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.errors import Exit, UserError
from bench.measure.precision import rule
from bench.plan.suite import Experiment
from bench.records.schema import Record, ServerPython
from bench.records.store import RunFolder
from bench.report.changes import as_json, beyond, changes, heading, markdown, sentence, verdict

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]
ROOT = Path(__file__).parents[3]
SERVICES = {"epoll": 4000.0, "select": 5000.0, "epoll:c": 3000.0}
SLOWER = SERVICES | {"select": 6000.0}
ENVIRONMENT = {"system": "linux", "cpu": {"model": "A", "allowed": 2}, "placement": "split", "kernel": "6.1"}


@pytest.fixture
def make(make_records: MakeRecords, make_run: MakeRun) -> Callable[..., RunFolder]:
    def run(
        services: dict[str, float],
        seed: int = 1,
        *,
        repeats: int = 5,
        connections: tuple[int, ...] = (100, 1000),
        **options: Any,
    ) -> RunFolder:
        records = make_records(services, connections=connections, seed=seed, repeats=repeats)
        return make_run(records, **{"environment": ENVIRONMENT, **options})

    return run


def test_what_has_changed_and_what_has_not(make: Callable[..., RunFolder]) -> None:
    found = changes(make(SERVICES), make(SLOWER, 2))
    assert {(one.contender, one.load.connections) for one in found.changes} == {
        (name, count) for name in ("epoll", "select") for count in (100, 1000)
    }
    for one in found.changes:
        expected = "slower" if one.contender == "select" else "no change can be told"
        assert one.direction == expected
        assert one.slowdown == pytest.approx(1.2 if one.contender == "select" else 1, rel=0.03)
    assert {one.contender for one in beyond(found, 0.1)} == {"select"}
    assert beyond(found, 0.3) == []
    assert sentence(found).startswith("select is slower by ")
    assert sentence(found).endswith("; of 4 comparisons 2 show a change.")
    assert found.differences == found.left_out == []


def test_a_rate_that_falls_is_slower_as_well(make: Callable[..., RunFolder]) -> None:
    runs = [make(services, judged_by="request_rate") for services in (SERVICES, SLOWER)]
    changed = {one.contender for one in changes(*runs).changes if one.direction == "slower"}
    assert changed == {"select"}
    assert {one.contender for one in changes(*reversed(runs)).changes if one.direction == "faster"} == changed


def test_the_same_twice_has_no_change(make: Callable[..., RunFolder]) -> None:
    found = changes(make(SERVICES), make(SERVICES, 2))
    assert sentence(found).startswith("No change can be told; intervals are up to +-")


def test_one_repeat_tells_nothing(make: Callable[..., RunFolder]) -> None:
    found = changes(make(SERVICES), make(SLOWER, repeats=1))
    assert sentence(found) == "Nothing can be told: a run with one repeat has no intervals."
    assert beyond(found, 0) == []


OTHER: list[tuple[dict[str, Any], str]] = [
    ({"environment": ENVIRONMENT | {"cpu": {"model": "B", "allowed": 2}}}, "CPU: A and B"),
    ({"environment": ENVIRONMENT | {"cpu": {"model": "A", "allowed": 4}}}, "CPUs allowed: 2 and 4"),
    ({"environment": ENVIRONMENT | {"placement": "free"}}, "placement: split and free"),
    ({"environment": ENVIRONMENT | {"system": "windows"}}, "system: linux and windows"),
]


@pytest.mark.parametrize(("options", "fact"), OTHER)
def test_what_may_not_differ_is_named(
    make: Callable[..., RunFolder], options: dict[str, Any], fact: str
) -> None:
    before, after = make(SERVICES), make(SERVICES, 2, **options)
    with pytest.raises(UserError, match="these can't be compared") as refused:
        changes(before, after)
    assert fact in str(refused.value)
    assert fact in changes(before, after, force=True).differences


def test_another_yardstick_is_none(make: Callable[..., RunFolder]) -> None:
    before, after = make(SERVICES), make(SERVICES, 2)
    file = after.path / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"yardstick_sha256": "1" * 64}))
    with pytest.raises(UserError, match="yardstick's binary is another"):
        changes(before, RunFolder.open(after.path))


def test_what_may_differ_is_said(make: Callable[..., RunFolder]) -> None:
    other = ENVIRONMENT | {"kernel": "6.2"}
    python = ServerPython(interpreter="CPython 3.14.1", system="linux", gil=False)
    found = changes(make(SERVICES), make(SERVICES, 2, environment=other, server_python=python))
    assert found.differences == ["kernel: 6.1 and 6.2", "servers' Python: Python 3.11.2 and CPython 3.14.1"]


def test_what_is_left_out_says_why(
    make: Callable[..., RunFolder], make_records: MakeRecords, make_run: MakeRun
) -> None:
    marks = {("select", 1000): [{"code": "wake-bound"}]}
    records = make_records(SERVICES, connections=(100, 1000), marks=marks, seed=2)
    extra = make_records({"poll": 4000.0}, connections=(100, 1000), seed=3)
    found = changes(make(SERVICES), make_run([*records, *extra], environment=ENVIRONMENT))
    assert sorted(found.left_out) == [
        "poll with 100 connections: measured after alone",
        "poll with 1000 connections: measured after alone",
        "select with 1000 connections: wake-bound after",
    ]


def test_runs_with_nothing_in_common(make: Callable[..., RunFolder]) -> None:
    with pytest.raises(UserError, match="nothing can be compared: no contender"):
        changes(make({"poll": 4000.0, "epoll:c": 3000.0}, reference="poll"), make(SERVICES))


def test_a_run_is_not_compared_with_itself(make: Callable[..., RunFolder]) -> None:
    run = make(SERVICES)
    with pytest.raises(UserError, match="is both of them") as refused:
        changes(run, RunFolder.open(run.path), force=True)
    assert refused.value.exit_code == Exit.USAGE


def test_the_order_is_said_where_it_is_the_other_way_round(make: Callable[..., RunFolder]) -> None:
    earlier = make(SERVICES, connections=(100,))
    later = make(SLOWER, 2, connections=(100,), started_at="2026-11-24T09:00:00+00:00")
    assert changes(earlier, later).notes == []
    found = changes(later, earlier)
    assert found.notes == [
        f"{earlier.path.name} was measured before {later.path.name}: these are changes back in time"
    ]
    assert {one.contender for one in found.changes if one.direction == "faster"} == {"select"}
    assert heading(found) == f"{later.path.name} → {earlier.path.name}"
    assert f"- {found.notes[0]}" in markdown(found)


def test_a_run_without_a_yardstick_says_so(make: Callable[..., RunFolder]) -> None:
    """Neither its binary nor its figures; the latter also where the check is forced."""
    without = make({"epoll": 4000.0, "select": 5000.0}, 2)
    with pytest.raises(UserError, match="the run after has no figures of a yardstick"):
        changes(make(SERVICES), without)
    file = without.path / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"yardstick_sha256": None}))
    with pytest.raises(UserError, match="the run after had no yardstick, so there is nothing to compare by"):
        changes(make(SERVICES), RunFolder.open(without.path))
    with pytest.raises(UserError, match="nothing can be compared: the run after has no figures"):
        changes(make(SERVICES), RunFolder.open(without.path), force=True)


def test_a_yardstick_that_is_not_fit_is_a_reason(
    make: Callable[..., RunFolder], make_records: MakeRecords, make_run: MakeRun
) -> None:
    marks = {("epoll:c", 1000): [{"code": "generator-bound"}]}
    records = make_records(SERVICES, connections=(100, 1000), marks=marks, seed=2)
    found = changes(make(SERVICES), make_run(records, environment=ENVIRONMENT))
    assert {one.load.connections for one in found.changes} == {100}
    assert found.left_out == [
        f"{name} with 1000 connections: without a yardstick that is fit after" for name in ("epoll", "select")
    ]


@pytest.mark.slow
def test_a_yardstick_that_competes_is_none_of_the_changes(
    make_records: MakeRecords, make_run: MakeRun
) -> None:
    """Whatever system this is: runs of Windows are compared on Linux as well."""
    for system, model in (("linux", "epoll"), ("windows", "iocp")):
        services = {f"{model}:c": 3000.0, model: 4000.0, "select": 5000.0}
        environment = {"system": system}
        runs = [
            make_run(
                make_records(services, connections=(100,), seed=seed),
                contenders=list(services),
                reference=model,
                environment=environment,
            )
            for seed in (1, 2)
        ]
        found = changes(*runs)
        assert {one.contender for one in found.changes} == {model, "select"}
        assert found.left_out == []


def disturbed(records: list[Record], repeats: set[int], times: float = 2) -> list[Record]:
    """As another process that took CPUs would leave them: some contenders feel more of it than others."""
    found = []
    for one in records:
        if one.repeat in repeats:
            assert one.load is not None
            slower = times if one.cell.contender == "select" else 1
            slices = [
                msgspec.structs.replace(part, p50_ns=round(slower * (part.p50_ns or 0)))
                for part in one.load.slices
            ]
            load = msgspec.structs.replace(one.load, slices=slices)
            mark = {"code": "foreign-load", "cpus": 1.0}
            found.append(msgspec.structs.replace(one, load=load, warnings=[*one.warnings, mark]))
        else:
            found.append(one)
    return found


def test_what_another_process_disturbed_takes_no_part(
    make: Callable[..., RunFolder], make_records: MakeRecords, make_run: MakeRun
) -> None:
    """Where a load has three repeats that it didn't."""
    records = disturbed(make_records(SERVICES, connections=(100, 1000), seed=2), {2, 4})
    after = make_run(records, environment=ENVIRONMENT)
    for found in (changes(make(SERVICES), after), changes(make(SERVICES), after, force=True)):
        assert {one.repeats for one in found.changes} == {(5, 3)}
        assert {one.direction for one in found.changes} == {"no change can be told"}
        assert {one.allowance for one in found.changes} == {1.0}
        assert found.notes == [
            "in 4 of 10 measurements after other processes used the CPUs (foreign-load): left out"
        ]


def test_where_too_little_else_is_left_intervals_are_wider(
    make: Callable[..., RunFolder], make_records: MakeRecords, make_run: MakeRun
) -> None:
    """By what the yardstick felt: a contender may have felt nothing of it, or twice as much."""
    busy = {name: 1.4 * ns for name, ns in SERVICES.items()}
    records = disturbed(make_records(busy, connections=(100, 1000), seed=2), {1, 2, 3, 4}, times=1.3)
    before = make(SERVICES)
    found = changes(before, make_run(records, environment=ENVIRONMENT))
    assert {one.repeats for one in found.changes} == {(5, 5)}
    select = next(one for one in found.changes if one.contender == "select")
    assert select.slowdown == pytest.approx(1.3**0.8, rel=0.03)
    assert select.direction == "no change can be told"
    assert beyond(found, 0) == []
    for one in found.changes:
        assert 1.4 < one.allowance < 1.6
        assert one.low is not None
        assert one.high is not None
        assert one.low < one.slowdown / 1.4
        assert one.high > one.slowdown * 1.4
    assert found.notes[0].endswith("(foreign-load): 8 of them taken, for want of others")
    assert found.notes[1].startswith("4 intervals are wider for that, by ")


def test_a_change_beyond_what_was_felt_is_still_told(
    make: Callable[..., RunFolder], make_records: MakeRecords, make_run: MakeRun
) -> None:
    records = disturbed(
        make_records(SERVICES | {"epoll": 9000.0}, connections=(100,), seed=2), {1, 2, 3, 4, 5}
    )
    found = changes(make(SERVICES, connections=(100,)), make_run(records, environment=ENVIRONMENT))
    assert {one.contender for one in found.changes if one.direction == "slower"} >= {"epoll"}


def test_where_nothing_is_fit_an_example_is_given(
    make: Callable[..., RunFolder], make_records: MakeRecords, make_run: MakeRun
) -> None:
    marks = {(name, count): [{"code": "wake-bound"}] for name in SERVICES for count in (100, 1000)}
    records = make_records(SERVICES, connections=(100, 1000), marks=marks)
    says = r"epoll with 100 connections: wake-bound after, and 3 more\)"
    with pytest.raises(UserError, match=says):
        changes(make(SERVICES), make_run(records, environment=ENVIRONMENT), force=True)


def test_what_a_name_stands_for_may_differ_and_is_said(make_records: MakeRecords, make_run: MakeRun) -> None:
    """`mine` of yesterday and today are the same question, and not the same program."""

    def run(seed: int, **changed: Any) -> RunFolder:
        records = make_records(SERVICES, connections=(100,), seed=seed)
        experiment = make_run(records).run.suite["experiment"][0]  # type: ignore[index]
        own = msgspec.convert(experiment, Experiment)
        contenders = [
            msgspec.structs.replace(one, **changed) if one.name == "select" and changed else one
            for one in own.contenders
        ]
        slice_s = 0.1 if changed else own.slice_s
        asked = msgspec.structs.replace(own, contenders=contenders, slice_s=slice_s)
        return make_run(records, experiments=[asked], environment=ENVIRONMENT)

    found = changes(run(1), run(2, options={"threads": 2}))
    assert found.differences == [
        "slices of connections: 50.0 ms and 100 ms",
        "select: select:python and select:python threads=2",
    ]


@pytest.mark.slow
def test_a_run_that_was_looked_at_has_wider_intervals(make: Callable[..., RunFolder]) -> None:
    usual = changes(make(SERVICES), make(SERVICES, 2))
    looked_at = changes(
        make(SERVICES, precision=rule(0.02, 300)), make(SERVICES, 2, precision=rule(0.02, 300))
    )
    for before, after in zip(usual.changes, looked_at.changes, strict=True):
        assert after.slowdown == before.slowdown
        assert after.low is not None
        assert before.low is not None
        assert after.low < before.low < 1.02
        assert (after.q or 0) >= (before.q or 0)


def test_a_threshold_is_crossed_by_whole_intervals_alone(make: Callable[..., RunFolder]) -> None:
    found = changes(make(SERVICES), make(SLOWER, 2))
    assert verdict(found, 0.1) == (
        "Slower by more than 10 %: select with 100 connections, select with 1000 connections."
    )
    assert verdict(found, 0.2) == "Nothing is surely slower by more than 20 %."
    assert verdict(found, 0.1) in markdown(found, 0.1).replace("\\", "")
    assert {one["contender"] for one in as_json(found, 0.1)["beyond"]} == {"select"}
    assert "beyond" not in as_json(found)


def test_markdown_is_a_table_in_which_names_do_nothing(make: Callable[..., RunFolder]) -> None:
    found = changes(make(SERVICES), make(SLOWER, 2))
    hostile = [msgspec.structs.replace(one, contender="|<b>`x`\n& ~$1$") for one in found.changes]
    lines = markdown(msgspec.structs.replace(found, changes=hostile, left_out=["a|<i>"])).splitlines()
    rows = [line for line in lines if "connections" in line]
    assert len(rows) == 4
    assert all(line.count(" | ") == 4 for line in rows)
    text = "\n".join(lines)
    assert "<b>" not in text.replace("\\<b\\>", "")
    assert "<i>" not in text.replace("\\<i\\>", "")
    assert "&amp; \\~\\$1\\$" in text


def iocpbench(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "bench", "compare", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False, cwd=ROOT)


@pytest.mark.slow
def test_the_command(make: Callable[..., RunFolder], tmp_path: Path) -> None:
    before, after = make(SERVICES).path, make(SLOWER, 2).path
    done = iocpbench(before, after, "--fail-if-slower", "10%", "--out", tmp_path / "chart")
    assert done.returncode == 4, done.stderr
    assert "select is slower by" in done.stdout
    assert f"{before.name} → {after.name}" in done.stdout
    assert "Slower by more than 10 %: select with 100 connections, select" in done.stdout
    assert done.stderr.startswith("iocpbench: slower by more than 10 %: select with 100 connections")
    assert done.stderr.count("\n") == 1
    assert {path.name for path in (tmp_path / "chart").iterdir()} == {"changes.svg", "changes.png"}
    assert iocpbench(before, after, "--fail-if-slower", "50%").returncode == 0
    built = json.loads(iocpbench(before, after, "--format", "json").stdout)
    assert {one["direction"] for one in built["changes"]} == {"slower", "no change can be told"}
    assert iocpbench(before, after, "--format", "markdown").stdout.startswith("### quick-20")
    assert json.loads(iocpbench(before, after, "--json").stdout) == built
    wrong = iocpbench(before, after, "--format", "html")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("iocpbench: --format html: ")
    for arguments, says in (
        ([before, after, "--json", "--format", "markdown"], "two formats"),
        ([before, after, after], "unexpected extra argument"),
        ([before, before], "is both of them"),
        ([before], "Missing argument"),
    ):
        wrong = iocpbench(*arguments)
        assert wrong.returncode == 2
        assert says in wrong.stderr
        assert wrong.stderr.count("\n") == 1


@pytest.mark.slow
def test_the_command_refuses_in_a_line(make: Callable[..., RunFolder]) -> None:
    other = make(SERVICES, 2, environment=ENVIRONMENT | {"placement": "free"})
    done = iocpbench(make(SERVICES).path, other.path)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "placement: split and free (--force does)" in done.stderr
    assert iocpbench(make(SERVICES).path, other.path, "--force").returncode == 0
