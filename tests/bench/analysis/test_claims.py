"""Each claim's rule on runs whose truth is known: it is found where it is there, and isn't where it isn't."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from bench.analysis.claims import CLAIMS, Judgement, Verdict, judge
from bench.analysis.claims.accept_slopes import MARGIN_NS_PER_MS
from bench.analysis.claims.asked import slopes
from bench.analysis.findings import find
from bench.plan.contender import Contender
from bench.plan.suite import Experiment, LoadTable, Search, table
from bench.records.schema import Record, Value
from bench.records.store import RunFolder

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]
LIMIT_NS = 20_000_000


def experiment(
    claims: Sequence[str],
    contenders: Sequence[Contender],
    *,
    name: str = "connections",
    search: Search | None = None,
    judged_by: Any = "response_time",
) -> Experiment:
    return Experiment(
        name=name,
        question="",
        claims=list(claims),
        judged_by=judged_by,
        contenders=list(contenders),
        reference=contenders[0].name,
        repeats=5,
        rounds=6,
        slice_s=0.05,
        load=LoadTable(),
        search=search,
    )


def contender(name: str, options: Mapping[str, Value] | None = None, **others: Any) -> Contender:
    model, _, implementation = str(others.pop("model", name)).partition(":")
    return Contender(
        name=name,
        model=model,
        implementation=implementation or "python",
        options=dict(options or {}),
        **others,
    )


def with_load(record: Record, **load: Any) -> Record:
    changed = msgspec.structs.replace(record.cell.load, **load)
    cell = msgspec.structs.replace(record.cell, load=changed)
    return msgspec.structs.replace(record, cell=cell, block=f"{record.block}-{load}")


def judged(claim: str, *runs: RunFolder) -> Judgement:
    (found,) = [one for one in judge(find(list(runs))) if one.claim == claim]
    return found


def test_every_claim_of_the_chapter_has_a_file_and_a_rule() -> None:
    assert list(CLAIMS) == [f"C{number}" for number in range(1, 9)]
    for module in CLAIMS.values():
        assert module.STATEMENT.endswith(".")
        assert "upported if" in module.RULE


def test_only_claims_that_a_suite_names_are_judged(make_records: MakeRecords, make_run: MakeRun) -> None:
    records = make_records({"epoll": 4000}, connections=(10,), repeats=2)
    run = make_run(records, experiments=[experiment(["C5", "C2"], [contender("epoll")])])
    assert [one.claim for one in judge(find([run]))] == ["C2", "C5"]


# --- C6 and C7: idle connections ------------------------------------------------------------------


def idle_run(
    make_records: MakeRecords,
    make_run: MakeRun,
    slopes_ns: Mapping[str, float],
    *,
    repeats: int = 5,
    noise: float = 0.01,
    system: str = "linux",
) -> RunFolder:
    """CPU for a request: 5 us, and `slopes_ns` for each idle connection."""
    rng = np.random.default_rng(3)
    records = []
    for idle in (0, 100, 1000, 10_000):
        for record in make_records(
            dict.fromkeys(slopes_ns, 5000), connections=(10,), repeats=repeats, system=system
        ):
            cpu_ns = (5000 + slopes_ns[record.cell.contender] * idle) * np.exp(rng.normal(0, noise))
            changed = {
                "server_cpu_ns_per_request": float(cpu_ns),
                "server_memory_bytes": 9_000_000 + 300 * idle,
            }
            before = {"server_memory_before_bytes": 9_000_000}
            samples = msgspec.structs.replace(record.samples, **changed, **before)
            records.append(with_load(msgspec.structs.replace(record, samples=samples), idle=idle))
    asked = experiment(["C6", "C7"], [contender(name) for name in slopes_ns])
    return make_run(records, experiments=[asked])


FLAT_AND_STEEP = {"epoll": 0.0, "io_uring": 0.01, "poll": 30.0, "select": 25.0}


@pytest.mark.parametrize("claim", ["C6", "C7"])
def test_idle_crowds_that_cost_only_those_who_look_at_all(
    make_records: MakeRecords, make_run: MakeRun, claim: str
) -> None:
    found = judged(claim, idle_run(make_records, make_run, FLAT_AND_STEEP))
    assert found.verdict is Verdict.SUPPORTED
    assert found.scope == "epoll, io_uring against poll, select"
    assert "Windows" in found.reasons[0]  # of IOCP itself nothing is known
    slopes = {one.what: one for one in found.evidence if one.unit == "ns_per_idle_connection"}
    for name, slope in FLAT_AND_STEEP.items():
        assert slopes[name].low is not None
        assert slopes[name].high is not None
        assert slopes[name].low <= slope <= slopes[name].high


def test_one_that_is_told_and_pays_all_the_same(make_records: MakeRecords, make_run: MakeRun) -> None:
    found = judged("C6", idle_run(make_records, make_run, FLAT_AND_STEEP | {"epoll": 5.0}))
    assert found.verdict is Verdict.NOT_SUPPORTED


def test_one_repeat_has_no_interval_and_decides_nothing(make_records: MakeRecords, make_run: MakeRun) -> None:
    found = judged("C6", idle_run(make_records, make_run, FLAT_AND_STEEP, repeats=1))
    assert found.verdict is Verdict.INCONCLUSIVE


def test_noise_that_hides_the_slope_is_inconclusive(make_records: MakeRecords, make_run: MakeRun) -> None:
    found = judged("C6", idle_run(make_records, make_run, FLAT_AND_STEEP | {"epoll": 0.4}, noise=0.5))
    assert found.verdict is Verdict.INCONCLUSIVE


def test_without_anybody_who_looks_at_all_nothing_is_compared(
    make_records: MakeRecords, make_run: MakeRun
) -> None:
    found = judged("C6", idle_run(make_records, make_run, {"epoll": 0.0, "io_uring": 0.0}))
    assert found.verdict is Verdict.NOT_MEASURED
    assert "select or poll" in found.reasons[0]


def test_wine_decides_nothing(make_records: MakeRecords, make_run: MakeRun) -> None:
    run = idle_run(make_records, make_run, {"iocp": 0.0, "wsapoll": 30.0}, system="windows-wine")
    found = judged("C6", run)
    assert found.verdict is Verdict.NOT_MEASURED
    assert "Wine" in found.reasons[0]
    assert not any(one.decides for one in found.evidence)


def test_memory_is_shown_and_decides_nothing(make_records: MakeRecords, make_run: MakeRun) -> None:
    found = judged("C7", idle_run(make_records, make_run, FLAT_AND_STEEP))
    sizes = [one for one in found.evidence if one.unit == "bytes"]
    assert {one.what for one in sizes} == set(FLAT_AND_STEEP)
    assert not any(one.decides for one in sizes)
    assert sizes[0].value == pytest.approx(300 * 10_000 / 10_010)


# --- C5: one connection ---------------------------------------------------------------------------


def alone_run(
    make_records: MakeRecords, make_run: MakeRun, later_ns: float, *, waits: Sequence[str] = ("sleep", "spin")
) -> RunFolder:
    """`epoll:c` answers `later_ns` later than `threads:c`; one who sleeps is wake-bound."""
    records = []
    for wait in waits:
        marks = [{"code": "wake-bound"}] if wait == "sleep" else []
        service_ns = {"threads:c": 4000, "epoll:c": 4000 + later_ns}
        records += [
            with_load(msgspec.structs.replace(record, warnings=marks), wait=wait)
            for record in make_records(service_ns, connections=(1,), repeats=8, noise=0.004)
        ]
    asked = experiment(["C5"], [contender("threads:c"), contender("epoll:c")])
    return make_run(records, experiments=[asked])


@pytest.mark.parametrize(
    ("later_ns", "verdict"),
    [
        (0, Verdict.SUPPORTED),
        (200, Verdict.SUPPORTED),
        (3000, Verdict.NOT_SUPPORTED),
        (-3000, Verdict.NOT_SUPPORTED),
        (1000, Verdict.INCONCLUSIVE),
    ],
)
def test_a_delay_of_its_own(
    make_records: MakeRecords, make_run: MakeRun, later_ns: float, verdict: Verdict
) -> None:
    found = judged("C5", alone_run(make_records, make_run, later_ns))
    assert found.verdict is verdict
    (deciding,) = [one for one in found.evidence if one.decides]
    assert "spins" in deciding.what
    assert deciding.low is not None
    assert deciding.high is not None
    assert deciding.low - 100 <= later_ns <= deciding.high + 100
    assert {one.note for one in found.evidence if "sleeps" in one.what} == {"wake-bound"}


def test_asleep_alone_decides_nothing(make_records: MakeRecords, make_run: MakeRun) -> None:
    found = judged("C5", alone_run(make_records, make_run, 0, waits=["sleep"]))
    assert found.verdict is Verdict.NOT_MEASURED
    assert found.evidence


# --- C3 and C4: accepting in turns ----------------------------------------------------------------

POLLS_MS = (1, 10, 100)


def accept_run(
    make_records: MakeRecords,
    make_run: MakeRun,
    slopes: Mapping[tuple[str, str], float],
    *,
    system: str = "windows",
) -> RunFolder:
    """First echoes after 0.2 ms and a share `slopes` of the pause, for each model and way of accepting."""
    rng = np.random.default_rng(5)
    contenders, records = [], []
    for (model, accept), slope in slopes.items():
        for poll_ms in POLLS_MS:
            name = f"{model}-{accept}-{poll_ms}"
            contenders.append(contender(name, {"accept": accept, "accept_poll_ms": poll_ms}, model=model))
            for record in make_records({model: 4000}, connections=(1,), repeats=5, system=system):
                assert record.load is not None
                first_ns = (200_000 + slope * poll_ms * 1e6) * np.exp(rng.normal(0, 0.03))
                first = msgspec.structs.replace(record.load.first_echo_time, p50_ns=int(first_ns))
                load = msgspec.structs.replace(record.load, first_echo_time=first)
                cell = msgspec.structs.replace(record.cell, contender=name)
                changed = msgspec.structs.replace(record, load=load, cell=cell)
                records.append(with_load(changed, requests_per_connection=1))
    return make_run(records, experiments=[experiment(["C3", "C4"], contenders, judged_by="first_echo_time")])


CURED = {
    ("overlapped", "alternating"): 0.6,
    ("overlapped", "thread"): 0.0,
    ("iocp", "alternating"): 0.6,
    ("iocp", "thread"): 0.0,
}


def test_accepting_in_turns_hurts_and_a_thread_cures_it(make_records: MakeRecords, make_run: MakeRun) -> None:
    run = accept_run(make_records, make_run, CURED)
    hurt, cured = judged("C3", run), judged("C4", run)
    assert (hurt.verdict, cured.verdict) == (Verdict.SUPPORTED, Verdict.SUPPORTED)
    (slope,) = hurt.evidence
    assert slope.low is not None
    assert slope.high is not None
    assert slope.low <= 0.6e6 <= slope.high
    assert len(cured.evidence) == 4


def test_no_growth_is_not_supported(make_records: MakeRecords, make_run: MakeRun) -> None:
    run = accept_run(make_records, make_run, dict.fromkeys(CURED, 0.0))
    assert judged("C3", run).verdict is Verdict.NOT_SUPPORTED
    assert judged("C4", run).verdict is Verdict.NOT_SUPPORTED  # there is nothing to cure


def test_a_thread_that_cures_one_of_two_is_no_cure(make_records: MakeRecords, make_run: MakeRun) -> None:
    run = accept_run(make_records, make_run, CURED | {("iocp", "thread"): 10 * MARGIN_NS_PER_MS / 1e6})
    assert judged("C3", run).verdict is Verdict.SUPPORTED
    assert judged("C4", run).verdict is Verdict.NOT_SUPPORTED


def test_accepting_under_wine_decides_nothing(make_records: MakeRecords, make_run: MakeRun) -> None:
    run = accept_run(make_records, make_run, CURED, system="windows-wine")
    for claim in ("C3", "C4"):
        found = judged(claim, run)
        assert found.verdict is Verdict.NOT_MEASURED
        assert "Wine" in found.reasons[0]
        assert found.evidence
        assert not any(one.decides for one in found.evidence)


# --- C2: two systems ------------------------------------------------------------------------------


def system_run(
    make_records: MakeRecords, make_run: MakeRun, service_ns: Mapping[str, float], system: str
) -> RunFolder:
    asked = experiment(["C2"], [contender(name) for name in service_ns])
    records = make_records(service_ns, connections=(100, 1000), system=system, noise=0.005, seed=len(system))
    started_at = f"2026-11-23T1{len(system) % 10}:59:15Z"
    return make_run(records, experiments=[asked], environment={"system": system}, started_at=started_at)


LINUX = {"epoll:c": 4000.0, "threads:c": 8000.0, "select:c": 4200.0}
WINDOWS = {"iocp:c": 6000.0, "threads:c": 12000.0, "select:c": 9000.0}


@pytest.mark.parametrize(
    ("windows", "verdict"),
    [
        (WINDOWS, Verdict.SUPPORTED),
        (WINDOWS | {"threads:c": 6500.0}, Verdict.NOT_SUPPORTED),  # relative to threads it is another thing
        (WINDOWS | {"select:c": 4000.0}, Verdict.NOT_SUPPORTED),  # and here it isn't excellent
        (WINDOWS | {"threads:c": 10000.0}, Verdict.INCONCLUSIVE),  # 20 %, which is the margin
    ],
)
def test_two_systems(
    make_records: MakeRecords, make_run: MakeRun, windows: Mapping[str, float], verdict: Verdict
) -> None:
    runs = [
        system_run(make_records, make_run, LINUX, "linux"),
        system_run(make_records, make_run, windows, "windows"),
    ]
    assert judged("C2", *runs).verdict is verdict


@pytest.mark.parametrize("second", [None, "windows-wine"])
def test_one_system_alone_shows_its_part(
    make_records: MakeRecords, make_run: MakeRun, second: str | None
) -> None:
    runs = [system_run(make_records, make_run, LINUX, "linux")]
    runs += [system_run(make_records, make_run, WINDOWS, second)] if second else []
    found = judged("C2", *runs)
    assert found.verdict is Verdict.NOT_MEASURED
    assert "Windows" in found.reasons[0]
    assert ("Wine" in found.reasons[0]) == bool(second)
    assert any("over threads:c" in one.what and one.decides for one in found.evidence)


# --- C1: two rankings -----------------------------------------------------------------------------


def carrying(make_records: MakeRecords, limits: Mapping[str, int], search: Search) -> list[Record]:
    """Two trials on either side of how many connections each carries."""
    records = []
    for name, limit in limits.items():
        for connections, p99_ns in ((limit, LIMIT_NS // 2), (limit + limit // 10, LIMIT_NS * 2)):
            for record in make_records({name: 4000}, connections=(connections,), repeats=2, rounds=6):
                assert record.load is not None
                slices = [msgspec.structs.replace(one, p99_ns=p99_ns) for one in record.load.slices]
                load = msgspec.structs.replace(record.load, slices=slices)
                cell = msgspec.structs.replace(record.cell, experiment="capacity")
                block = f"capacity-{name}-{connections}"
                records.append(msgspec.structs.replace(record, load=load, cell=cell, block=block))
    return records


@pytest.mark.parametrize(
    ("service_ns", "limits", "verdict"),
    [
        ({"select": 3000, "epoll": 4000}, {"select": 1000, "epoll": 4000}, Verdict.SUPPORTED),
        ({"select": 4000, "epoll": 3000}, {"select": 1000, "epoll": 4000}, Verdict.NOT_SUPPORTED),
        ({"select": 4000, "epoll": 4000}, {"select": 1000, "epoll": 4000}, Verdict.INCONCLUSIVE),
        ({"select": 3000, "epoll": 4000}, {"select": 4000, "epoll": 4000}, Verdict.INCONCLUSIVE),
    ],
)
def test_two_rankings(
    make_records: MakeRecords,
    make_run: MakeRun,
    service_ns: Mapping[str, float],
    limits: Mapping[str, int],
    verdict: Verdict,
) -> None:
    search = Search(maximise="connections", p99_limit_ns=LIMIT_NS, precision=0.2, confirmations=2)
    contenders = [contender(name) for name in service_ns]
    experiments = [
        experiment(["C1"], contenders),
        experiment(["C1"], contenders, name="capacity", search=search),
    ]
    records = make_records(service_ns, connections=(10, 100), noise=0.005)
    run = make_run(records + carrying(make_records, limits, search), experiments=experiments)
    found = judged("C1", run)
    assert found.verdict is verdict
    carried = {one.what: one for one in found.evidence if one.unit == "connections"}
    assert {name: one.low for name, one in carried.items()} == limits


def test_one_figure_alone_ranks_nothing(make_records: MakeRecords, make_run: MakeRun) -> None:
    run = make_run(make_records(), experiments=[experiment(["C1"], [contender("epoll"), contender("poll")])])
    found = judged("C1", run)
    assert found.verdict is Verdict.NOT_MEASURED
    assert "chapter" in found.reasons[0]


# --- C8: threads ----------------------------------------------------------------------------------


def threads_run(
    make_records: MakeRecords, make_run: MakeRun, service_ns: Mapping[int, float], cpus: list[int]
) -> RunFolder:
    names = {f"epoll:c-threads-{count}": ns for count, ns in service_ns.items()}
    contenders = [
        contender(
            name,
            {"threads": count},
            model="epoll:c",
            variant_of="epoll:c",
            is_default=count == 1,
        )
        for count, name in zip(service_ns, names, strict=True)
    ]
    records = [
        msgspec.structs.replace(record, cpus=msgspec.structs.replace(record.cpus, server=cpus))
        for record in make_records(names, connections=(100,), repeats=8, noise=0.01)
    ]
    return make_run(
        records, experiments=[experiment(["C8"], contenders, judged_by="request_rate")], reference="epoll"
    )


@pytest.mark.parametrize(
    ("service_ns", "verdict"),
    [
        ({1: 6000, 2: 4000, 4: 4500}, Verdict.SUPPORTED),
        ({1: 4000, 2: 4800, 4: 6000}, Verdict.NOT_SUPPORTED),
    ],
)
def test_threads_that_gain_and_that_do_not(
    make_records: MakeRecords, make_run: MakeRun, service_ns: Mapping[int, float], verdict: Verdict
) -> None:
    found = judged("C8", threads_run(make_records, make_run, service_ns, [0, 1, 2]))
    assert found.verdict is verdict
    assert found.scope == "epoll:c"
    assert any("completion port" in reason for reason in found.reasons)


def test_a_server_with_one_cpu_shows_nothing_of_threads(make_records: MakeRecords, make_run: MakeRun) -> None:
    found = judged("C8", threads_run(make_records, make_run, {1: 6000, 2: 4000}, [0]))
    assert found.verdict is Verdict.NOT_MEASURED
    assert "one CPU" in found.reasons[0]


def test_the_suite_names_every_claim() -> None:
    chapter = table("chapter")
    assert {claim for one in chapter.experiment for claim in one.claims} == set(CLAIMS)


def test_a_repeat_that_lacks_a_point_has_another_slope_and_is_left_out() -> None:
    """As where a run was measured until precise: some loads have more repeats, and the curve isn't a line."""
    points = [(repeat, x) for repeat in (1, 2, 3) for x in (0, 1, 2)] + [(4, 0), (4, 1), (5, 2)]
    table = pd.DataFrame(points, columns=["repeat", "x"]).assign(name="a")
    table["y"] = table["x"].astype(float) ** 2
    (row,) = slopes(table, "x", "y", ["name"]).to_dict("records")
    assert (row["repeats"], row["points"]) == (3, 3)
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((2, 2, 2))
