"""Several threads and processes as one generator: shares, sums, stops, limits."""

import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen import histogram, profile
from loadgen.histogram import Histogram
from loadgen.part import HISTOGRAMS, Part, Point, SlicePart, add, add_points, add_slices

WINDOWS = sys.platform == "win32"
SHORT = ("--duration-s", "0.4", "--warmup-s", "0.1")
SHAPES = [("--threads", "3"), ("--processes", "2"), ("--processes", "2", "--threads", "2")]
Result = Callable[..., dict[str, Any]]


# --- adding up --------------------------------------------------------------------------------------


def recorded(values: list[int]) -> Histogram:
    """As the core records them."""
    counts = [0] * 34_000
    for value in values:
        bucket = max(0, value.bit_length() - 11)
        counts[bucket * 1024 + (value >> bucket)] += 1
    return Histogram(counts, sum(values), max(values, default=0))


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 10**12), max_size=40), min_size=1, max_size=4))
def test_added_histograms_are_the_histogram_of_all(parts: list[list[int]]) -> None:
    everything = sorted(value for part in parts for value in part)
    together = Histogram()
    for part in parts:
        together.add(recorded(part))
    assert together.count == len(everything)
    assert together.total == sum(everything)
    reference = HdrHistogram(1, 3_600_000_000_000, 3)
    for percent in (50, 90, 99, 99.9, 100):
        found = together.percentile(percent)
        if not everything:
            assert found is None
        else:
            exact = everything[math.ceil(len(everything) * percent / 100) - 1]
            assert found == min(reference.get_highest_equivalent_value(exact), everything[-1])


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**40), max_size=300))
def test_text_and_back(counts: list[int]) -> None:
    back = histogram.decode(histogram.encode(counts))
    assert back == counts[: len(back)]
    assert not any(counts[len(back) :])


@pytest.mark.parametrize("text", ["", "x", "AAAA", "HISTFAAAAAB42pNpmSzMwMDAxAABzFCaEUoz2X+AsQA/awKA"])
def test_what_is_no_histogram(text: str) -> None:
    with pytest.raises(ValueError, match="not a histogram"):
        histogram.decode(text[:-3])


def part(requests: int, times: list[int]) -> Part:
    names = ("requests", "duration_ns", "longest_silence_ns")
    return Part(
        totals=dict(zip(names, (requests, 10, requests), strict=True)),
        errors={"reset": requests},
        histograms={name: recorded(times) for name in HISTOGRAMS},
        series=[Point(100, requests, 1, 2, 3, len(times), 5, 6, [(time, 1) for time in times])],
        stamps=[(1, 2)],
        requests_per_connection=[requests],
        memory_bytes=4096,
    )


def test_parts_add_up_and_travel_as_json() -> None:
    parts = [part(1, [10, 20]), part(2, [30]), part(3, [40, 50, 60])]
    whole = add([Part.from_json(json.loads(json.dumps(one.to_json()))) for one in parts])
    assert whole.totals == {"requests": 6, "duration_ns": 10, "longest_silence_ns": 3}
    assert whole.errors == {"reset": 6}
    assert whole.histograms["response_time"].percentile(50) == 30
    assert whole.series == [Point(100, 6, 3, 6, 9, 6, 30, 60, whole.series[0].counts)]
    assert whole.requests_per_connection == [1, 2, 3]
    assert whole.memory_bytes == 3 * 4096


def test_an_engine_that_ended_early_has_a_shorter_series() -> None:
    long, short = part(1, [10]), part(2, [20])
    long = long._replace(series=long.series * 3)
    assert [point.requests for point in add([short, long]).series] == [3, 1, 1]


def test_points_without_responses_have_no_percentiles() -> None:
    nothing = Point(100, 0, 0, 0, 0, 0, None, None, [])
    assert add_points([nothing, nothing]).figures()["p50_ns"] is None


def test_slices_add_up() -> None:
    one = SlicePart(1, 2, 50, 70, 3, 0, 0, 0, 1.5, 4, recorded([10]))
    other = SlicePart.from_json(json.loads(json.dumps(one._replace(span_ns=90).to_json())))
    both = add_slices([one, other])
    assert both[:-1] == (2, 4, 50, 90, 6, 0, 0, 0, 3.0, 8)
    assert both.interval.count == 2


@settings(deadline=None)
@given(st.integers(1, 5000), st.integers(0, 5000), st.integers(1, 8), st.integers(1, 4))
def test_shares_are_all_of_it_and_nothing_twice(
    connections: int, idle: int, processes: int, threads: int
) -> None:
    if processes * threads > connections:
        return
    options = ("--connections", str(connections), "--idle", str(idle), "--newcomers-per-s", "5")
    whole = profile.parse(["127.0.0.1:9", *options, "--processes", str(processes), "--threads", str(threads)])
    shares = [
        whole.divided(i, processes).divided(j, threads) for i in range(processes) for j in range(threads)
    ]
    active = [range(one.first_connection, one.first_connection + one.connections) for one in shares]
    assert [number for numbers in active for number in numbers] == list(range(connections))
    all_numbers = [range(one.first_number, one.first_number + one.connections + one.idle) for one in shares]
    assert [number for numbers in all_numbers for number in numbers] == list(range(connections + idle))
    assert all(one.all_connections == connections for one in shares)
    assert sum(one.newcomers_per_s or 0 for one in shares) == 5
    assert len({one.part for one in shares}) == processes * threads


# --- as one generator -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_a_result_of_all(faulty: Callable[..., int], result: Result, shape: tuple[str, ...]) -> None:
    r = result(faulty("none"), "--connections", "10", "--idle", "7", *shape, *SHORT)
    assert r["errors"] == {}
    assert r["connections_opened"] == r["connections_open_min"] == 10
    assert r["idle"]["echoed_again"] == 7
    assert r["requests_per_connection"]["min"] > 0
    assert sum(point["requests"] for point in r["series"]) == r["requests"]
    assert all(point["connections_served"] == 10 for point in r["series"][1:-1])
    assert r["duration_s"] == 0.4
    assert r["checks"]["littles_law_ratio"] == pytest.approx(1, abs=0.2)
    assert (
        HdrHistogram.decode(r["response_time"]["histogram"]).get_total_count() == r["response_time"]["count"]
    )
    assert (r["client"]["threads"], r["client"]["processes"]) == (
        int(shape[-1]) if "--threads" in shape else 1,
        2 if "--processes" in shape else 1,
    )
    assert 0 < r["client"]["busy"] <= 1.2


@pytest.mark.parametrize("shape", SHAPES)
def test_one_schedule_for_all(faulty: Callable[..., int], result: Result, shape: tuple[str, ...]) -> None:
    load = ("--connections", "8", "--rate", "300", "--duration-s", "1", "--warmup-s", "0.2")
    r = result(faulty("none"), *load, *shape)
    assert r["open_loop"]["due"] == 300
    assert r["response_time"]["count"] == 300
    assert r["errors"] == {}


@pytest.mark.parametrize("shape", SHAPES)
def test_slices_of_all(
    faulty: Callable[..., int], slices: Callable[..., Any], shape: tuple[str, ...]
) -> None:
    generator = slices(faulty("none"), "--connections", "8", *shape)
    assert generator.ready["connections_opened"] == 8
    answers = [generator.slice(number, slice_s=0.1) for number in (1, 2)]
    assert all(answer["connections_served"] == 8 for answer in answers)
    assert all(answer["in_flight_mean"] == pytest.approx(8, abs=0.5) for answer in answers)
    r = generator.end()
    assert r["requests"] == sum(answer["requests"] for answer in answers)
    assert r["duration_s"] == pytest.approx(0.2)


@pytest.mark.parametrize("shape", SHAPES)
def test_progress_of_all(
    faulty: Callable[..., int], loadgen: Callable[..., Any], shape: tuple[str, ...]
) -> None:
    load = ("--connections", "4", "--duration-s", "1.2", "--warmup-s", "0", "--progress")
    lines = [json.loads(line) for line in loadgen(faulty("none"), *load, *shape).stdout.splitlines()]
    assert [line["event"] for line in lines] == ["progress", "result"]
    assert lines[0]["connections_open"] == 4
    assert lines[0]["p50_ns"] > 0


@pytest.mark.linux("POSIX signals; on Windows a console tells the whole group")
@pytest.mark.parametrize("shape", SHAPES)
def test_a_signal_ends_all(faulty: Callable[..., int], shape: tuple[str, ...]) -> None:
    command = [sys.executable, "-P", "-m", "loadgen", f"127.0.0.1:{faulty('none')}", "--connections", "6"]
    with subprocess.Popen(
        [*command, "--duration-s", "30", "--progress", *shape], stdout=subprocess.PIPE, text=True
    ) as process:
        assert json.loads(process.stdout.readline())["event"] == "progress"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        last = json.loads(process.stdout.read().splitlines()[-1])
    assert last["event"] == "result"
    assert last["errors"] == {}
    assert last["duration_s"] < 20


@pytest.mark.linux("/proc tells who is running")
def test_processes_end_with_the_one_that_started_them(faulty: Callable[..., int]) -> None:
    command = [sys.executable, "-P", "-m", "loadgen", f"127.0.0.1:{faulty('none')}", "--connections", "4"]
    process = subprocess.Popen(
        [*command, "--processes", "2", "--duration-s", "60", "--progress"], stdout=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(workers) == 2
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.linux("POSIX limits a process's descriptors")
def test_more_connections_than_descriptors_take_more_processes(faulty: Callable[..., int]) -> None:
    port = faulty("none")
    target = f"{sys.executable} -P -m loadgen 127.0.0.1:{port}"
    command = f"ulimit -n 150; {target} --connections 300 --duration-s 0.3 --warmup-s 0"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    r = json.loads(done.stdout.splitlines()[-1])
    assert r["connections_opened"] == r["connections_open_min"] == 300
    assert r["client"]["processes"] == 3
    done = subprocess.run(
        ["bash", "-c", f"{command} --processes 2"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "150 connections in a process" in done.stderr
    assert "--processes" in done.stderr
    done = subprocess.run(
        ["bash", "-c", f"ulimit -n 150; {target} --connections 9000"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "64 processes may have 7552" in done.stderr
    assert "ulimit -Hn 173" in done.stderr


def test_memory_of_a_connection_is_told(faulty: Callable[..., int], result: Result) -> None:
    many = result(faulty("none"), "--connections", "400", *SHORT)["client"]["memory_bytes_per_connection"]
    assert 0 < many < (16384 if WINDOWS else 8192)  # there each has an inbox


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--connections", "3", "--processes", "2", "--threads", "2"), "make 4 parts"),
        (("--threads", "0"), "not within"),
        (("--connections", "100000", "--sources", "127.0.0.1"), "source address has"),
        (("--sources", "127.0.0.1,192.0.2.1"), "no address of this machine"),
    ],
)
def test_bad_input(loadgen: Callable[..., Any], options: tuple[str, ...], says: str) -> None:
    done = loadgen(1, *options)
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[-1]
