"""The core without Python, under sanitizers: histogram, payload, schedule, load on good and bad servers."""

import random
from collections.abc import Callable

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


def test_messages_of_other_connections_and_times_differ(core_test: Callable[..., str]) -> None:
    assert core_test("payload") == "equal 0\n"


def test_starts_are_spread_over_one_response_time(core_test: Callable[..., str]) -> None:
    *due, state = core_test("schedule").split()
    assert due == ["1", "2", "3", "2", "2"]
    assert state == "all"


@pytest.mark.parametrize("kind", ["slices", "run"])
@pytest.mark.parametrize("load", [(1, 1, 1), (50, 64, 1), (3, 1000, 7), (2, 300_000, 2)])
def test_load_under_sanitizers(
    faulty: Callable[..., int],
    core_test: Callable[..., str],
    kind: str,
    load: tuple[int, int, int],
) -> None:
    connections, message_bytes, depth = load
    port = faulty("none", "--message-bytes", str(message_bytes))
    lines = core_test(kind, *map(str, (port, connections, message_bytes, depth, 5000))).splitlines()
    errors = [int(line.split()[2]) for line in lines if line.startswith("error")]
    assert errors == [0] * len(FAILURES)
    assert int(lines[-1].removeprefix("requests ")) > 0


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
def test_failures_under_sanitizers(
    faulty: Callable[..., int], core_test: Callable[..., str], fault: str, failure: str
) -> None:
    # Closing with a second request unread resets the connection, or doesn't: that server gets no second.
    depth = "1" if fault == "close-early" else "2"
    lines = core_test("slices", str(faulty(fault)), "4", "64", depth, "200").splitlines()
    counted = {
        FAILURES[int(line.split()[1])]: int(line.split()[2]) for line in lines if line.startswith("error")
    }
    assert counted == dict.fromkeys(FAILURES, 0) | {failure: 4}


def test_nobody_listens_under_sanitizers(core_test: Callable[..., str]) -> None:
    lines = core_test("slices", "1", "3", "64", "1", "200").splitlines()
    assert f"error {FAILURES.index('refused')} 3" in lines
