"""The core without Python, under sanitizers: histogram, payload, schedule, load on good and bad servers."""

import random
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hdrh.histogram import HdrHistogram

from loadgen.engine import FAILURES
from loadgen.histogram import HIGHEST, LOWEST, SIGNIFICANT_DIGITS

pytestmark = pytest.mark.linux("sanitizers, and a compiler that has them")


def test_histogram_is_laid_out_as_hdrhistogram_lays_it_out(core_test: Callable[..., str]) -> None:
    reference = HdrHistogram(LOWEST, HIGHEST, SIGNIFICANT_DIGITS)
    dice = random.Random(1)
    values = [1, 2, 1023, 1024, 2047, 2048, 2049, 4095, 4096, HIGHEST - 1, HIGHEST]
    values += [round(10 ** dice.uniform(0, 12)) for _ in range(5000)]
    for value in values:
        assert reference.record_value(value)
    lines = core_test("histogram", text="\n".join(map(str, values))).splitlines()
    for value, line in zip(values, lines[: len(values)], strict=True):
        assert line == f"{value} {reference._counts_index_for(value)}"
    figures = dict(line.split() for line in lines[len(values) :])
    for percent in (1, 50, 90, 99, 99.9):
        highest_equivalent = reference.get_value_at_percentile(percent)
        assert int(figures[f"p{percent:g}"]) == min(highest_equivalent, max(values))
    assert int(figures["sum"]) == sum(values)
    assert int(figures["max"]) == max(values)


def test_values_past_the_end_are_counted_at_the_end(core_test: Callable[..., str]) -> None:
    lines = core_test("histogram", text=f"5 {HIGHEST * 2}").splitlines()
    assert f"max {HIGHEST}" in lines
    assert "beyond 1" in lines


def test_messages_of_other_connections_and_times_differ(core_test: Callable[..., str]) -> None:
    assert core_test("payload") == "equal 0\n"


def test_starts_are_spread_over_one_response_time(core_test: Callable[..., str]) -> None:
    *due, state = core_test("schedule").split()
    assert due == ["1", "2", "3", "2", "2"]
    assert state == "all"


class Outcome(NamedTuple):
    """What core_test printed of a load."""

    errors: dict[str, int]
    requests: int
    lives: int
    idle: int


def load(core_test: Callable[..., str], kind: str, port: int, **settings: object) -> Outcome:
    printed = core_test(kind, str(port), *(f"{name}={value}" for name, value in settings.items()))
    lines = [line.split() for line in printed.splitlines()]
    errors = {FAILURES[int(line[1])]: int(line[2]) for line in lines if line[0] == "error"}
    assert list(errors) == list(FAILURES)
    figures = {name: int(value) for name, value, *rest in lines if not rest}
    return Outcome({name: count for name, count in errors.items() if count}, **figures)


LOADS: list[dict[str, object]] = [
    {},
    {"connections": 50},
    {"connections": 3, "message_bytes": 1000, "depth": 7},
    {"connections": 2, "message_bytes": 300_000, "depth": 2},
    {"connections": 5, "idle": 100},
    {"connections": 5, "rate": 2000},
    {"connections": 5, "rate": 2000, "poisson": 1, "idle": 10},
    {"connections": 5, "requests_per_connection": 3},
    {"connections": 5, "requests_per_connection": 4, "depth": 3, "close_by_reset": 1},
    {"connections": 5, "requests_per_connection": 1, "rate": 500, "poisson": 1},
    {"connections": 5, "newcomers": 200, "idle": 3},
    {"connections": 5, "newcomers": 100, "rate": 1000},
]


@pytest.mark.parametrize("kind", ["slices", "run"])
@pytest.mark.parametrize("settings", LOADS, ids=lambda settings: "-".join(settings) or "default")
def test_load_under_sanitizers(
    faulty: Callable[..., int], core_test: Callable[..., str], kind: str, settings: dict[str, object]
) -> None:
    port = faulty("none", "--message-bytes", str(settings.get("message_bytes", 64)))
    outcome = load(core_test, kind, port, **settings)
    assert outcome.errors == {}
    assert outcome.requests > 0
    assert outcome.idle == settings.get("idle", 0)
    comes_and_goes = "requests_per_connection" in settings or "newcomers" in settings
    opened = settings.get("connections", 1) + settings.get("idle", 0)
    assert outcome.lives > opened if comes_and_goes else outcome.lives == opened


@pytest.mark.parametrize("settings", LOADS[1:], ids="-".join)
def test_threads_share_nothing(
    faulty: Callable[..., int], core_test_of_threads: Callable[..., str], settings: dict[str, object]
) -> None:
    port = faulty("none", "--message-bytes", str(settings.get("message_bytes", 64)))
    outcome = load(core_test_of_threads, "run", port, threads=3, **settings)
    assert outcome.errors == {}
    assert outcome.requests > 0


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        ("change-a-byte", "mismatch"),
        ("reset", "reset"),
        ("close-early", "closed"),
        ("never-answer", "response_timeout"),
        ("answer-twice", "mismatch"),
    ],
)
@pytest.mark.parametrize("settings", [{}, {"requests_per_connection": 8}, {"rate": 1000}], ids=str)
def test_failures_under_sanitizers(
    faulty: Callable[..., int],
    core_test: Callable[..., str],
    settings: dict[str, object],
    fault: str,
    failure: str,
) -> None:
    # Closing with a second request unread resets the connection, or doesn't: that server gets no second.
    depth = 1 if fault == "close-early" or "rate" in settings else 2
    port = faulty(fault)
    outcome = load(core_test, "slices", port, connections=4, depth=depth, timeout_ms=200, **settings)
    if not settings:
        assert outcome.errors == {failure: 4}
    elif fault != "answer-twice":  # its second answer may come when all have what they asked for
        assert outcome.errors[failure] >= 4


@pytest.mark.parametrize(
    "settings", [{}, {"requests_per_connection": 2}, {"rate": 100}, {"idle": 2}], ids=str
)
def test_nobody_listens_under_sanitizers(core_test: Callable[..., str], settings: dict[str, object]) -> None:
    outcome = load(core_test, "slices", 1, connections=3, timeout_ms=200, **settings)
    assert outcome.errors["refused"] >= 3
    assert outcome.requests == 0
