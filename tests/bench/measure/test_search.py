"""Searches: what is tried next, on simulated servers whose limit is known; and one on a real server."""

import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from bench.analysis.capacity import capacities
from bench.errors import UserError
from bench.host.placement import Placement
from bench.measure.interpreter import own
from bench.measure.run import Measurement, create, servers
from bench.measure.search import Level, Verdict, bracket, judge, next_value, searched_value
from bench.plan import suite as suites
from bench.plan.suite import Overrides, Search
from bench.records.schema import Load, OpenLoop, Record

MS = 1_000_000
RATE = Search(maximise="rate", p99_limit_ns=10 * MS, precision=0.05, confirmations=5)
CONNECTIONS = msgspec.structs.replace(RATE, maximise="connections")


def simulate(
    search: Search, start: float, p99_ns_at: Callable[[float], float], noise: float = 0.0, seed: int = 1
) -> dict[float, Level]:
    """Search on a server whose p99 at a load is known, but for a noise of so much (a standard deviation)."""
    dice = random.Random(seed)
    p99s: dict[float, list[float]] = {}
    levels: dict[float, Level] = {}
    while (value := next_value(levels, search, start)) is not None:
        assert len(p99s) < 60, "it doesn't end"
        p99s.setdefault(value, []).append(p99_ns_at(value) * dice.lognormvariate(0, noise))
        mean = sum(p99s[value]) / len(p99s[value])
        low, high = mean * (1 - 2 * noise), mean * (1 + 2 * noise)
        verdict = Verdict.OPEN
        if high < search.p99_limit_ns:
            verdict = Verdict.PASSES
        elif low > search.p99_limit_ns:
            verdict = Verdict.FAILS
        levels[value] = Level(value, verdict, len(p99s[value]), mean, low, high)
    return levels


@pytest.mark.parametrize("limit", [7.3, 100.0, 12_345.0, 777_000.0])
@pytest.mark.parametrize("start", [1.0, 500.0, 1e6])
@pytest.mark.parametrize("search", [RATE, CONNECTIONS])
def test_it_finds_the_limit_and_confirms_both_ends(search: Search, start: float, limit: float) -> None:
    levels = simulate(search, start, lambda value: 5 * MS if value <= limit else 50 * MS)
    passes, fails = bracket(levels, search)
    assert passes is not None
    assert fails is not None
    assert passes.value <= limit < fails.value
    assert fails.value - passes.value <= max(1.01, 0.06 * passes.value)
    assert passes.trials >= 5
    assert fails.trials >= 5


def test_with_noise_it_ends_near_the_limit() -> None:
    """p99 grows with the load and passes 10 ms at 1000."""
    for seed in range(20):
        levels = simulate(RATE, 100, lambda value: 10 * MS * (value / 1000) ** 3, noise=0.05, seed=seed)
        passes, fails = bracket(levels, RATE)
        assert passes is not None
        assert fails is not None
        assert 800 < passes.value < fails.value < 1250


def test_nothing_passes() -> None:
    levels = simulate(RATE, 100, lambda _: 50 * MS)
    assert bracket(levels, RATE).passes is None
    assert min(levels) == 1


def test_what_stays_open_does_not_pass() -> None:
    levels = simulate(RATE, 100, lambda value: (5 if value < 90 else 10) * MS, noise=0.1)
    passes, fails = bracket(levels, RATE)
    assert passes is not None
    assert passes.value < 90 <= fails.value


def test_an_end_that_does_not_hold_is_moved() -> None:
    """The first trial at 100 passed by luck; the next ones don't."""
    levels = {
        100.0: Level(100.0, Verdict.FAILS, 2, None, None, None),
        104.0: Level(104.0, Verdict.FAILS, 5, None, None, None),
        50.0: Level(50.0, Verdict.PASSES, 1, None, None, None),
    }
    assert 50 < next_value(levels, RATE, 1) < 100


MakeRecords = Callable[..., list[Record]]


def with_p99s(record: Record, *p99s_ns: int, **load: object) -> Record:
    """The record, with slices of such percentiles."""
    assert record.load is not None
    slices = [msgspec.structs.replace(record.load.slices[0], p99_ns=p99_ns) for p99_ns in p99s_ns]
    return msgspec.structs.replace(record, load=msgspec.structs.replace(record.load, slices=slices, **load))


def test_verdicts(make_records: MakeRecords) -> None:
    (record, *_) = make_records({"epoll": 9000}, connections=(10,), repeats=1)
    under, over, around = (8 * MS, 9 * MS, 8 * MS), (12 * MS, 13 * MS, 12 * MS), (5 * MS, 15 * MS, 9 * MS)
    assert judge(1, [with_p99s(record, *under)], RATE).verdict is Verdict.PASSES
    assert judge(1, [with_p99s(record, *over)], RATE).verdict is Verdict.FAILS
    assert judge(1, [with_p99s(record, *around)], RATE).verdict is Verdict.OPEN
    assert judge(1, [with_p99s(record, 8 * MS, 8 * MS)], RATE).verdict is Verdict.OPEN  # two say nothing
    several = judge(1, [with_p99s(record, *under), with_p99s(record, *under)], RATE)
    assert (several.verdict, several.trials) == (Verdict.PASSES, 2)
    assert several.low_ns is not None
    assert several.low_ns < several.p99_ns < several.high_ns < 10 * MS
    with_errors = judge(1, [with_p99s(record, *under, errors={"reset": 2})], RATE)
    assert (with_errors.verdict, with_errors.reason) == (Verdict.FAILS, "2 reset")
    refused = msgspec.structs.replace(record, status="refused", reason="holds 512", load=None)
    assert judge(1, [refused], RATE).verdict is Verdict.FAILS


def test_a_rate_that_is_not_reached_fails(make_records: MakeRecords) -> None:
    (record, *_) = make_records({"epoll": 9000}, connections=(10,), repeats=1)
    loop = OpenLoop(
        rate_per_s=100, arrivals="constant", due=300, given_up=0, reached=0.98,
        lateness_p50_ns=1, lateness_p99_ns=1, lateness_max_ns=1,
    )  # fmt: skip
    level = judge(100, [with_p99s(record, MS, MS, MS, open_loop=loop)], RATE)
    assert level.verdict is Verdict.FAILS
    assert level.reason == "98.0 % of the rate was reached"


class Silent:
    """An observer that shows nothing."""

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_: None


SUITE = """
schema = 1
title = "t"
rounds = 3
slice = "100ms"
contenders = ["plain"]
[contender.plain]
model = "threads"
[[experiment]]
name = "rate"
search = { maximise = "rate", p99_limit = "LIMIT", precision = 1.0, confirmations = 1 }
load = { connections = 4, arrivals = "poisson" }
[[experiment]]
name = "shares"
offered_shares = [0.02, 0.05]
repeats = 1
load = { connections = 4, arrivals = "poisson" }
"""


@pytest.mark.slow
def test_on_a_real_server_and_resumed(tmp_path: Path) -> None:
    """Interrupted after two trials; the rest is what would have come."""
    file = tmp_path / "mine.toml"
    file.write_text(SUITE.replace("LIMIT", "200ms"))
    found = servers(own())
    suite = suites.load(str(file), found.models, Overrides())
    with create(suite, seed=1, placement=Placement.SPLIT, results=tmp_path, interpreter=own()) as folder:
        assert Measurement(folder, suite, found, Silent()).run() == 0
        records = folder.records()
        again = Measurement(folder, suite, found, Silent())
        assert again.run() == 0
        assert folder.records() == records  # nothing is missing
    of_rate = [one for one in records if one.cell.experiment == "rate"]
    assert of_rate[0].cell.load == Load(connections=4)  # the closed loop comes first
    tried = {one.cell.load.offered_per_s for one in of_rate[1:]}
    assert len(tried) >= 2
    assert all(one.cell.load.arrivals == "poisson" for one in of_rate[1:])
    (capacity,) = capacities("r", suite, records)
    assert capacity.trials == len(of_rate) - 1
    assert capacity.is_over
    assert capacity.found.passes is not None
    assert capacity.found.passes.value > 100
    shares = [one for one in records if one.cell.experiment == "shares" and one.cell.contender == "plain"]
    closed = next(one for one in shares if not one.cell.load.offered_per_s)
    rates = sorted(one.cell.load.offered_per_s for one in shares if one.cell.load.offered_per_s)
    assert rates == [float(f"{share * closed.load.rate_per_s:.3g}") for share in (0.02, 0.05)]


@pytest.mark.parametrize(
    ("search", "says"),
    [
        ('search = { maximise = "rates", p99_limit = "1ms" }', "search"),
        ('search = { maximise = "rate", p99_limit = "1" }', "is not a duration"),
        ('search = { maximise = "rate", p99_limitt = "1ms" }', "p99_limit"),
        ('search = { maximise = "rate", p99_limit = "1ms" }\nload = { offered_per_s = 5 }', "leave it out"),
        (
            'search = { maximise = "connections", p99_limit = "1ms" }\nload = { connections = [1, 2] }',
            "one number",
        ),
        ("offered_shares = [0.5]\nload = { offered_per_s = 5 }", "leave it out"),
        ("offered_shares = [0]", "offered_shares"),
    ],
)
def test_bad_suites(tmp_path: Path, search: str, says: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        f'schema = 1\ntitle = "t"\ncontenders = ["threads"]\n[[experiment]]\nname = "x"\n{search}'
    )
    with pytest.raises(UserError, match=says):
        suites.load(str(file), servers(own()).models, Overrides())


def test_what_a_search_varies() -> None:
    assert searched_value(Load(connections=7), CONNECTIONS) == 7
    assert searched_value(Load(offered_per_s=7.5), RATE) == 7.5
