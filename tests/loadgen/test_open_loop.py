"""The open loop: a schedule that goes on whatever the server does, and times from when a request was due."""

import ctypes
import itertools
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from scipy import stats

from loadgen.engine import LIBRARY

WINDOWS = sys.platform == "win32"
MS = 1_000_000
# How far a server in Python may be behind when the window ends: under Wine it may not be up to these rates.
BEHIND = 1.0 if WINDOWS else 0.1
STARTS_WITHIN_S = 10.0 if WINDOWS else 4.0
Result = Callable[..., dict[str, Any]]


class Arrivals(ctypes.Structure):
    """`struct arrivals`."""

    _fields_ = (
        ("random", ctypes.c_uint64),
        ("begin_ns", ctypes.c_uint64),
        ("next_ns", ctypes.c_uint64),
        ("count", ctypes.c_uint64),
        ("interval_ns", ctypes.c_double),
        ("phase", ctypes.c_double),
        ("offset_ns", ctypes.c_double),
        ("poisson", ctypes.c_bool),
    )


def schedule(rate_per_s: float, count: int, *, poisson: bool, seed: int = 1) -> list[int]:
    """When the first `count` requests are due, in ns from the begin."""
    core = ctypes.CDLL(LIBRARY)
    core.arrivals_begin.argtypes = (
        *(ctypes.POINTER(Arrivals), ctypes.c_uint64, ctypes.c_double),
        *(ctypes.c_bool, ctypes.c_uint64),
    )
    core.arrivals_take.argtypes = (ctypes.POINTER(Arrivals),)
    core.arrivals_take.restype = ctypes.c_uint64
    arrivals, begin_ns = Arrivals(), 10**15
    core.arrivals_begin(arrivals, begin_ns, rate_per_s, poisson, seed)
    return [core.arrivals_take(arrivals) - begin_ns for _ in range(count)]


def test_constant_arrivals_add_up_no_error() -> None:
    due = schedule(30_000, 300_000, poisson=False)
    assert 0 <= due[0] < 33_333
    assert due[-1] - due[0] == pytest.approx(9_999_966_667, abs=1)
    assert all(after - before in (33_333, 33_334) for before, after in itertools.pairwise(due))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_poisson_arrivals_are_exponential_and_independent(seed: int) -> None:
    due = schedule(20_000, 50_000, poisson=True, seed=seed)
    gaps = [(after - before) / 1e9 for before, after in zip([0, *due], due, strict=False)]
    assert stats.kstest(gaps, stats.expon(scale=1 / 20_000).cdf).pvalue > 0.001
    # Counts of a Poisson process scatter as widely as they are large, also over many gaps.
    counts = [0] * 1000
    for moment in due:
        if moment < 2_000_000_000:
            counts[moment // 2_000_000] += 1
    dispersion = sum((count - 40) ** 2 for count in counts) / 40
    assert stats.chi2(1000).cdf(dispersion) == pytest.approx(0.5, abs=0.4999)
    assert abs(stats.spearmanr(gaps[:-1], gaps[1:]).statistic) < 0.02


def test_other_seeds_are_other_schedules() -> None:
    assert schedule(1000, 10, poisson=True, seed=1) != schedule(1000, 10, poisson=True, seed=2)


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
def test_the_rate_is_reached_and_dealt_at_random(
    faulty: Callable[..., int], result: Result, arrivals: str
) -> None:
    load = ("--connections", "20", "--rate", "500", "--arrivals", arrivals)
    r = result(faulty("none"), *load, "--duration-s", "2", "--warmup-s", "0.2")
    assert r["errors"] == {}
    loop = r["open_loop"]
    assert loop["rate_per_s"] == 500
    assert loop["due"] == 1000 if arrivals == "constant" else abs(loop["due"] - 1000) < 130  # 4 deviations
    assert loop["reached"] == pytest.approx(1, abs=BEHIND)
    assert r["response_time"]["count"] == loop["due"]
    assert r["service_time"]["count"] == loop["due"]
    assert r["service_time"]["p50_ns"] <= r["response_time"]["p50_ns"]
    # By turns each connection would have 50; at random the counts scatter like Poisson's.
    spread = r["requests_per_connection"]
    assert spread["min"] < 50 < spread["max"]
    assert r["checks"]["littles_law_ratio"] == pytest.approx(1, abs=0.1)


def test_lateness_is_told(faulty: Callable[..., int], result: Result) -> None:
    r = result(faulty("none"), "--connections", "5", "--rate", "200", "--duration-s", "1")
    assert 0 < r["open_loop"]["lateness_p50_ns"] <= r["open_loop"]["lateness_p99_ns"]
    assert r["client"]["lateness_p99_ns"] == r["open_loop"]["lateness_p99_ns"]
    # Not the ms of a coarse timer. On a busy machine whoever has the CPU may keep it for a few.
    assert r["open_loop"]["lateness_p50_ns"] < (16 if WINDOWS else 0.5) * MS


def test_closed_loops_have_neither(faulty: Callable[..., int], result: Result) -> None:
    r = result(faulty("none"), "--duration-s", "0.2")
    assert "open_loop" not in r
    assert "service_time" not in r
    assert r["client"]["lateness_p99_ns"] is None


def test_requests_wait_for_their_connection(faulty: Callable[..., int], result: Result) -> None:
    """100 a second for one connection whose server takes 20 ms: half of what is due is too much for it."""
    port = faulty("answer-late", "--delay-s", "0.02")
    r = result(port, "--rate", "100", "--duration-s", "1", "--warmup-s", "0", "--backlog", "10")
    loop = r["open_loop"]
    assert loop["due"] == 100
    assert loop["reached"] < 0.6
    assert r["errors"] == {"backlog": loop["given_up"]}
    # Past the backlog of 10 each 20 ms two come and one goes: what went unsent is in the percentiles.
    assert 20 < loop["given_up"] < 60
    assert r["response_time"]["count"] == 100
    assert r["response_time"]["p50_ns"] > 100 * MS
    assert 20 * MS < r["service_time"]["p50_ns"] < 40 * MS


def test_a_stall_is_in_the_times_of_all_that_were_due(faulty: Callable[..., int], result: Result) -> None:
    """The server stands still for 0.5 s of 2 s: a quarter of the requests waited, evenly up to 0.5 s."""
    port = faulty("stall-all", "--delay-s", "0.5")
    r = result(port, "--connections", "10", "--rate", "200", "--duration-s", "2", "--warmup-s", "0")
    times = r["response_time"]
    assert times["count"] == 400
    assert times["p90_ns"] > 200 * MS  # of 25 % that waited, those above the lower 15: over 0.3 s
    assert times["p99_ns"] > 400 * MS
    assert r["service_time"]["p90_ns"] < 200 * MS  # ten were in flight, the others hadn't been sent


def test_what_can_not_be_sent_in_time_is_given_up(result: Result) -> None:
    """The server stops reading after the opening: the run ends, and every request that was due is counted."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept = []

        def serve() -> None:
            for _ in range(3):  # the probe and two connections
                kept.append(listener.accept()[0])
                kept[-1].sendall(kept[-1].recv(4096))

        threading.Thread(target=serve, daemon=True).start()
        began = time.monotonic()
        r = result(
            *(
                listener.getsockname()[1],
                "--connections",
                "2",
                "--rate",
                "100",
                "--response-timeout-s",
                "0.8",
            ),
            *("--duration-s", "0.5", "--warmup-s", "0"),
        )
        took_s = time.monotonic() - began
        for connection in kept:
            connection.close()
    assert took_s < 0.5 + 0.8 + STARTS_WITHIN_S
    assert r["requests"] == 0
    assert r["open_loop"]["due"] >= 49
    assert r["response_time"]["count"] == r["open_loop"]["due"]
    assert sum(r["errors"].values()) >= r["open_loop"]["due"]
    assert set(r["errors"]) == {"response_timeout", "backlog"}


def test_open_loop_in_slices(faulty: Callable[..., int], slices: Callable[..., Any]) -> None:
    generator = slices(faulty("none"), "--connections", "4", "--rate", "400", "--arrivals", "poisson")
    answers = [generator.slice(number, slice_s=0.5) for number in (1, 2)]
    r = generator.end()
    assert all(answer["due"] > 120 for answer in answers)
    assert answers[0]["due"] != answers[1]["due"]  # each slice has a schedule of its own
    assert r["open_loop"]["due"] == sum(answer["due"] for answer in answers)
    assert r["open_loop"]["reached"] == pytest.approx(1, abs=BEHIND)
    assert r["response_time"]["count"] == r["open_loop"]["due"]  # all were, in the end


def test_others_take_the_place_of_a_lost_connection(faulty: Callable[..., int], result: Result) -> None:
    """Each connection is reset with its fourth message: the schedule goes on with those that are left."""
    r = result(faulty("reset"), "--connections", "3", "--rate", "100", "--duration-s", "5", "--warmup-s", "0")
    assert r["errors"]["reset"] == 3
    assert set(r["errors"]) <= {"reset", "backlog"}
    assert r["requests"] == 6  # the first message of each was its opening
    assert r["duration_s"] < 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--rate", "0"), "not above 0"),
        (("--rate", "fast"), "not a number"),
        (("--rate", "100", "--depth", "2"), "--depth has no meaning with --rate"),
        (("--arrivals", "poisson"), "--rate"),
        (("--backlog", "5"), "--rate"),
    ],
)
def test_bad_input(loadgen: Callable[..., Any], options: tuple[str, ...], says: str) -> None:
    done = loadgen(1, *options)
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.linux("POSIX signals stop a process")
def test_what_a_closed_loop_hides_an_open_loop_shows() -> None:
    """A server is stopped for 1.4 s of 4 s, as in the documentation of wrk2."""
    server = subprocess.Popen(
        [sys.executable, "-P", "-m", "servers", "epoll"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    port = json.loads(server.stdout.readline())["port"]
    results = []
    for load in (("--rate", "1000"), ()):
        command = [sys.executable, "-P", "-m", "loadgen", f"127.0.0.1:{port}", "--connections", "10", *load]
        generator = subprocess.Popen(
            [*command, "--duration-s", "4", "--warmup-s", "0.5", "--progress"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert generator.stdout is not None
        generator.stdout.readline()  # a second of the four has passed
        server.send_signal(19)  # SIGSTOP
        time.sleep(1.4)
        server.send_signal(18)  # SIGCONT
        results.append(json.loads(generator.communicate()[0].splitlines()[-1]))
    server.communicate()
    opened, closed = results
    assert opened["errors"] == closed["errors"] == {}
    assert opened["response_time"]["count"] == 4000
    # 35 % of what was due waited, evenly up to 1.4 s.
    assert opened["response_time"]["p99_ns"] > 1200 * MS
    assert opened["response_time"]["p90_ns"] > 700 * MS
    # Ten requests of a hundred thousand waited.
    assert closed["response_time"]["p99_ns"] < 100 * MS
    assert closed["response_time"]["max_ns"] > 1300 * MS
