"""Does it measure right? Servers with known delays, and counters that others keep; see docs/method.md."""

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hdrh.histogram import HdrHistogram

DELAY_SERVER = Path(__file__).parents[1] / "faulty" / "delay_server.py"
WINDOWS = sys.platform == "win32"
MS = 1_000_000
# What is not the server's delay: the way there and back, timers (3 ms at most on a quiet machine), and on a
# busy one the wait of either process for a CPU.
SLACK_NS = (40 if WINDOWS else 15) * MS
Result = Callable[..., dict[str, Any]]


@contextmanager
def delaying(*arguments: str) -> Iterator[int]:
    """A server that waits before each echo as its command line says; its port."""
    command = [sys.executable, str(DELAY_SERVER), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield int(process.stdout.readline())
        process.stdin.close()


def shares(recorded: HdrHistogram) -> Iterator[tuple[int, float]]:
    """Each recorded value, and which share of all is at most that."""
    seen = 0
    for step in recorded.get_recorded_iterator():
        seen += step.count_added_in_this_iter_step
        yield step.value_iterated_to, seen / recorded.get_total_count()


def fixed(seconds: float) -> Callable[[float], float]:
    return lambda t_ns: float(t_ns >= seconds * 1e9)


def bimodal(fast: float, slow: float) -> Callable[[float], float]:
    return lambda t_ns: 0.9 * (t_ns >= fast * 1e9) + 0.1 * (t_ns >= slow * 1e9)


def exponential(mean: float) -> Callable[[float], float]:
    return lambda t_ns: 1 - math.exp(-max(0.0, t_ns) / (mean * 1e9))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "known"),
    [
        (("fixed", "0.02"), fixed(0.02)),
        (("bimodal", "0.01", "0.1"), bimodal(0.01, 0.1)),
        (("exponential", "0.02"), exponential(0.02)),
    ],
    ids=["fixed", "bimodal", "exponential"],
)
@pytest.mark.parametrize("load", [(), ("--rate", "300", "--arrivals", "poisson")], ids=["closed", "open"])
def test_known_delays_are_measured(
    result: Result, arguments: tuple[str, ...], known: Callable[[float], float], load: tuple[str, ...]
) -> None:
    """The measured distribution lies between the known one and the known one shifted by the slack.

    By more than chance: the bound is Kolmogorov's for 1 in 10 000.
    """
    with delaying(*arguments) as port:
        r = result(port, "--connections", "40", *load, "--duration-s", "3", "--warmup-s", "0.3")
    assert r["errors"] == {}
    # The wait for a connection that isn't free is part of the response time; the delay is in the service.
    times = r["service_time"] if load else r["response_time"]
    recorded = HdrHistogram.decode(times["histogram"])
    count = recorded.get_total_count()
    assert count > 500
    chance = math.sqrt(math.log(2 / 1e-4) / 2 / count)
    for t_ns, share in shares(recorded):
        assert share <= known(t_ns * 1.001) + chance, f"{t_ns} ns: some took less than the server did"
        assert share >= known(t_ns - SLACK_NS) - chance, (
            f"{t_ns} ns: some took much longer than the server did"
        )


@pytest.mark.parametrize(
    "load",
    [
        ("--connections", "5"),
        ("--connections", "3", "--depth", "8", "--message-bytes", "1000"),
        ("--connections", "2", "--message-bytes", "300000"),
        ("--connections", "4", "--rate", "500"),
        ("--connections", "4", "--requests-per-connection", "3"),
        ("--connections", "3", "--idle", "20"),
        ("--connections", "6", "--threads", "2"),
        ("--connections", "6", "--processes", "2"),
    ],
    ids=" ".join,
)
def test_counts_agree_three_ways(
    counting_server: Callable[..., Any], result: Result, load: tuple[str, ...]
) -> None:
    """Generator, server and kernel, from the first connect to the last echo."""
    message_bytes = int(load[load.index("--message-bytes") + 1]) if "--message-bytes" in load else 64
    server = counting_server()
    r = result(server.port, *load, "--duration-s", "0.5", "--warmup-s", "0.1")
    server.wait_for_the_end()
    assert r["errors"] == {}
    ever = r["ever"]
    probe_bytes = min(message_bytes, 4096)
    assert ever["bytes_sent"] == ever["bytes_received"] == ever["echoes"] * message_bytes
    assert server.received == server.sent == ever["bytes_sent"] + probe_bytes
    assert server.accepted == ever["connections"] + 1
    assert r["requests"] <= ever["echoes"]
    if ever["kernel_bytes_sent"] is None:
        assert WINDOWS
        return
    assert ever["kernel_bytes_sent"] == ever["bytes_sent"]
    assert ever["kernel_bytes_received"] == ever["bytes_received"]


def test_no_result_exceeds_what_the_kernel_counted(faulty: Callable[..., int], result: Result) -> None:
    """Also where connections fail in the middle."""
    r = result(faulty("close-early", "--good", "20"), "--connections", "5", "--duration-s", "0.5")
    ever = r["ever"]
    if ever["kernel_bytes_received"] is None:
        assert WINDOWS
        return
    assert r["requests"] * 64 <= ever["bytes_received"] <= ever["kernel_bytes_received"]


def test_exports_are_read_by_hdrhistogram(faulty: Callable[..., int], result: Result) -> None:
    r = result(
        faulty("none"), "--connections", "4", "--rate", "400", "--duration-s", "0.5", "--warmup-s", "0"
    )
    for name in ("response_time", "service_time", "connect_time", "first_echo_time"):
        decoded = HdrHistogram.decode(r[name]["histogram"])
        assert decoded.get_total_count() == r[name]["count"]
        assert decoded.get_max_value() >= r[name]["max_ns"]


def test_a_pipeline_is_written_at_once(counting_server: Callable[..., Any], result: Result) -> None:
    """As clients that pipeline do; and Little's law holds with what it has in flight on the average."""
    server = counting_server()
    r = result(server.port, "--connections", "2", "--depth", "16", "--duration-s", "0.5")
    assert r["errors"] == {}
    assert server.received / 64 / sum(server.reads) > 4
    assert 0.98 < r["checks"]["littles_law_ratio"] < 1.02
