"""The generator as a process: its result, its slices, what it calls each failure, what it refuses."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from hdrh.histogram import HdrHistogram

WINDOWS = sys.platform == "win32"
MIB = 1 << 20
SHORT = ("--duration-s", "0.3", "--warmup-s", "0.05")
Result = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("connections", "message_bytes", "depth"),
    [
        *[(1, 1, 1), (100, 64, 1), (5, 100, 16), (2, 75 * 4096, 3)],
        pytest.param(10, 64, 1, marks=pytest.mark.slow),
        pytest.param(3, MIB, 1, marks=pytest.mark.slow),
        pytest.param(2, 16 * MIB, 1, marks=pytest.mark.slow),
        pytest.param(1500, 64, 1, marks=pytest.mark.slow),
    ],
)
def test_result_adds_up(
    faulty: Callable[..., int], result: Result, connections: int, message_bytes: int, depth: int
) -> None:
    port = faulty("none", "--message-bytes", str(min(message_bytes, 4096)))
    load = ("--connections", str(connections), "--message-bytes", str(message_bytes), "--depth", str(depth))
    duration_s = 4.0 if message_bytes > MIB else 0.5  # a slow machine echoes one such message in it
    r = result(port, *load, "--duration-s", str(duration_s), "--warmup-s", "0.1")
    assert r["errors"] == {}
    assert r["requests"] > 0
    assert r["rate_per_s"] == pytest.approx(r["requests"] / r["duration_s"])
    assert r["duration_s"] == duration_s
    assert r["connections_opened"] == r["connections_open_min"] == connections
    assert r["connect_time"]["count"] == r["first_echo_time"]["count"] == connections
    assert r["connect_time"]["max_ns"] <= r["first_echo_time"]["max_ns"]
    assert abs(r["response_time"]["count"] - r["requests"]) <= connections * depth
    # What one look at all connections brings before the window's end is noticed, and messages in part.
    slack = connections * (2 * depth + 1) * message_bytes
    assert abs(r["bytes_received"] - r["requests"] * message_bytes) <= slack
    assert abs(r["bytes_sent"] - r["bytes_received"]) <= slack
    assert 0 < r["fairness"] <= 1
    spread = r["requests_per_connection"]
    assert spread["min"] <= spread["p1"] <= spread["p50"] <= spread["max"]
    assert sum(point["requests"] for point in r["series"]) == r["requests"]
    assert [round(10 * point["t_s"], 5) for point in r["series"]] == [*range(1, round(10 * duration_s) + 1)]
    assert all(point["in_flight"] <= connections * depth for point in r["series"])
    if r["requests"] > 20 * connections * depth:  # what lies across the window's ends doesn't count much
        assert r["checks"]["littles_law_ratio"] == pytest.approx(1, abs=0.2)


def test_percentiles_are_those_of_the_histogram(faulty: Callable[..., int], result: Result) -> None:
    times = result(faulty("none"), "--connections", "10", *SHORT)["response_time"]
    decoded = HdrHistogram.decode(times["histogram"])
    assert decoded.get_total_count() == times["count"]
    recorded = [
        (step.value_iterated_to, step.total_count_to_this_value) for step in decoded.get_recorded_iterator()
    ]
    for name, percent in (("p50_ns", 50), ("p90_ns", 90), ("p99_ns", 99), ("p99_9_ns", 99.9)):
        at_least = times["count"] * percent / 100
        value = next(value for value, count_so_far in recorded if count_so_far >= at_least)
        assert times[name] == min(decoded.get_highest_equivalent_value(value), times["max_ns"])
    assert decoded.get_mean_value() == pytest.approx(times["mean_ns"], rel=0.001)


def test_what_share_of_the_time_is_the_clients(faulty: Callable[..., int], result: Result) -> None:
    share = result(faulty("none"), "--connections", "20", *SHORT)["client"]["in_client_share"]
    assert share is None if WINDOWS else 0 < share < 1  # Windows doesn't stamp what it receives


def test_a_server_that_takes_20_ms_gives_20_ms(faulty: Callable[..., int], result: Result) -> None:
    port = faulty("answer-late", "--good", "0", "--delay-s", "0.02")
    r = result(port, "--connections", "5", *SHORT)
    assert r["errors"] == {}
    assert r["response_time"]["p50_ns"] >= 20_000_000
    assert r["first_echo_time"]["p50_ns"] >= 20_000_000
    assert r["requests"] <= 5 * (300 / 20 + 1)


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        ("drop-a-byte", "response_timeout"),
        ("change-a-byte", "mismatch"),
        ("answer-late", "response_timeout"),
        ("swap", "mismatch"),
        ("answer-twice", "mismatch"),
        ("answer-the-previous", "mismatch"),
        ("close-early", "closed"),
        ("reset", "reset"),
        ("never-answer", "response_timeout"),
    ],
)
def test_each_fault_has_its_name(
    faulty: Callable[..., int], result: Result, fault: str, failure: str
) -> None:
    port = faulty(fault, "--delay-s", "3")
    began = time.monotonic()
    load = ("--connections", "6", "--response-timeout-s", "0.5", "--duration-s", "0.3", "--warmup-s", "0")
    r = result(port, *load)
    assert r["errors"] == {failure: 6}
    assert r["connections_opened"] == 6
    assert r["connections_open_min"] == 0
    assert time.monotonic() - began < 30  # no hang
    if failure == "response_timeout":
        assert r["response_time"]["max_ns"] >= 500_000_000


def test_a_byte_dropped_inside_a_stream_is_a_mismatch(faulty: Callable[..., int], result: Result) -> None:
    r = result(faulty("drop-a-byte-inside"), "--connections", "3", "--depth", "4", *SHORT)
    assert r["errors"] == {"mismatch": 3}


# --- slices -----------------------------------------------------------------------------------------


def test_slices_count_only_what_they_should(faulty: Callable[..., int], slices: Callable[..., Any]) -> None:
    generator = slices(faulty("none"), "--connections", "8")
    assert generator.ready["connections_opened"] == 8
    warmup = generator.slice(0, warmup=True)
    counted = [generator.slice(i) for i in (1, 2, 3)]
    r = generator.end()
    assert warmup["warmup"]
    assert warmup["requests"] > 0
    assert [s["round"] for s in r["slices"]] == [1, 2, 3]
    assert r["requests"] == sum(s["requests"] for s in counted)
    assert r["duration_s"] == pytest.approx(0.15)
    assert r["connections_opened"] == 8
    for s in counted:
        assert s["requests_total"] > s["requests"]  # ramp and drain
        assert s["span_s"] > 0.07
        assert s["connections_served"] == 8
        assert s["in_flight_mean"] == pytest.approx(8, abs=0.5)
        assert s["p50_ns"] <= s["p99_ns"]


def test_a_request_started_in_the_slice_counts_however_late_it_ends(
    faulty: Callable[..., int], slices: Callable[..., Any]
) -> None:
    """The server stands still for 0.4 s in a slice of 50 ms: all 4 connections have that in their times."""
    generator = slices(faulty("stall-all", "--good", "1", "--delay-s", "0.4"), "--connections", "4")
    answer = generator.slice(1, slice_s=0.05, ramp_s=0)
    r = generator.end()
    assert answer["duration_s"] == 0.05
    assert answer["span_s"] >= 0.4
    assert r["response_time"]["max_ns"] >= 390_000_000
    assert r["response_time"]["count"] >= 4
    assert answer["requests"] < r["response_time"]["count"]  # those came too late for the rate


def test_how_long_load_lingers_for_late_requests_can_be_limited(slices: Callable[..., Any]) -> None:
    """A server that serves one connection alone, as long as that sends: for ever, unless load goes off."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connections = []
            for _ in range(3):  # the probe and two connections
                connections.append(listener.accept()[0])
                connections[-1].sendall(connections[-1].recv(4096))
            _, favourite, other = connections
            favourite.settimeout(0.3)
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    while data := favourite.recv(4096):
                        favourite.sendall(data)
                    return
                other.sendall(other.recv(4096))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        generator = slices(listener.getsockname()[1], "--connections", "2", "--response-timeout-s", "20")
        generator.slice(0, slice_s=0.05, ramp_s=0.02, warmup=True, linger_s=0)
        answer = generator.slice(1, slice_s=0.05, ramp_s=0, linger_s=0.1)
        ended.set()
        r = generator.end()
        thread.join()
    assert answer["censored"] == 1
    assert 0.05 + 0.1 + 0.3 <= answer["span_s"] < 5
    assert r["response_time"]["max_ns"] >= 440_000_000  # counted at what it took all the same
    assert r["checks"]["censored_share"] == pytest.approx(1 / r["response_time"]["count"])


def test_between_slices_nothing_is_sent_and_nothing_used(slices: Callable[..., Any]) -> None:
    received = 0
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def echo(connection: socket.socket) -> None:
            nonlocal received
            with connection:
                while data := connection.recv(4096):
                    received += len(data)
                    connection.sendall(data)

        def accept() -> None:
            for _ in range(3):  # the probe and two connections
                connection, _ = listener.accept()
                threading.Thread(target=echo, args=(connection,), daemon=True).start()
            ended.wait()

        threading.Thread(target=accept, daemon=True).start()
        generator = slices(listener.getsockname()[1], "--connections", "2")
        generator.slice(1)
        before_bytes, before = received, generator.interpreter.cpu_times()
        time.sleep(0.5)
        after = generator.interpreter.cpu_times()
        assert received == before_bytes
        # A tick of the system's clock may hit it by chance.
        assert after.user + after.system - before.user - before.system < 0.02
        generator.slice(2)
        assert received > before_bytes
        generator.end()
        ended.set()


def test_a_dead_server_ends_a_slice(faulty: Callable[..., int], slices: Callable[..., Any]) -> None:
    generator = slices(faulty("reset", "--good", "5"), "--connections", "3")
    answer = generator.slice(1, slice_s=5)
    r = generator.end()
    assert answer["span_s"] < 4
    assert r["errors"] == {"reset": 3}
    assert r["duration_s"] < 4


def test_not_a_slice(faulty: Callable[..., int], slices: Callable[..., Any]) -> None:
    generator = slices(faulty("none"))
    generator.process.stdin.write("hello\n")
    generator.process.stdin.flush()
    assert generator.process.wait(10) == 2


# --- the process ------------------------------------------------------------------------------------


# A console of Windows calls the handler in a thread of its own: here one that waits for a byte. It takes no
# console, which a service and Wine don't have.
WITH_SIGNAL = """
import _thread, runpy, signal, socket, sys
asked = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
number = int(sys.argv[2])
del sys.argv[1:3]
_thread.start_new_thread(lambda: asked.recv(1) and signal.raise_signal(number), ())
runpy.run_module("loadgen", run_name="__main__", alter_sys=True)
"""


@contextlib.contextmanager
def interruptible(*arguments: str, number: signal.Signals) -> Iterator[tuple[subprocess.Popen[str], Any]]:
    """A generator, and a call that sends it the signal."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    if not WINDOWS:
        command = [sys.executable, "-P", "-m", "loadgen", *arguments]
        with subprocess.Popen(command, **pipes) as process:
            yield process, lambda: process.send_signal(number)
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = str(listener.getsockname()[1])
        command = [sys.executable, "-P", "-c", WITH_SIGNAL, where, str(int(number)), *arguments]
        with subprocess.Popen(command, **pipes) as process, listener.accept()[0] as asking:
            yield process, lambda: asking.send(b"x")


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGBREAK if sys.platform == "win32" else signal.SIGTERM]
)
@pytest.mark.parametrize(
    "options", [pytest.param(("--duration-s", "30", "--progress"), marks=pytest.mark.slow), ("--slices",)]
)
def test_a_signal_ends_it_with_a_result(
    faulty: Callable[..., int], number: signal.Signals, options: tuple[str, ...]
) -> None:
    with interruptible(f"127.0.0.1:{faulty('none')}", *options, number=number) as (process, interrupt):
        assert json.loads(process.stdout.readline())["event"] in {"ready", "progress"}
        interrupt()
        # Its stdin stays open: communicate() would close it, which ends it as well.
        assert process.wait(10) == 0
        out = process.stdout.read()
    last = json.loads(out.splitlines()[-1])
    assert last["event"] == "result"
    assert last["duration_s"] < 20


@pytest.mark.parametrize("options", [("--slices",), ("--duration-s", "30", "--progress")])
def test_it_ends_in_silence_where_nobody_reads_any_more(
    faulty: Callable[..., int], options: tuple[str, ...]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "loadgen", f"127.0.0.1:{faulty('none')}", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    process.stdout.close()
    process.stdin.write('{"round": 1, "slice_s": 0.05, "ramp_s": 0.02}\n')
    process.stdin.flush()
    assert process.wait(20) == 0
    assert process.stderr.read() == ""
    process.stderr.close()
    with contextlib.suppress(OSError):
        process.stdin.close()


@pytest.mark.slow
def test_progress_says_something_each_second(faulty: Callable[..., int], loadgen: Callable[..., Any]) -> None:
    done = loadgen(faulty("none"), "--duration-s", "2.2", "--warmup-s", "0", "--progress")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["event"] for line in lines] == ["progress", "progress", "result"]
    assert all(line["rate_per_s"] > 0 for line in lines)


@pytest.mark.slow
def test_spinning_uses_the_whole_cpu(faulty: Callable[..., int], result: Result) -> None:
    r = result(faulty("answer-late", "--good", "0"), "--wait", "spin", *SHORT)
    client = r["client"]
    assert client["wait"] == "spin"
    assert client["spun_s"] > 0.1
    # Each look is a round trip to another process under Wine, in which this one sleeps.
    assert client["cpu_user_s"] + client["cpu_system_s"] > 0.2 * client["spun_s"]
    assert client["busy"] < 0.5  # what is spun isn't needed
    asleep = result(faulty("answer-late", "--good", "0"), *SHORT)["client"]
    assert asleep["spun_s"] == 0
    assert asleep["cpu_user_s"] + asleep["cpu_system_s"] < client["cpu_user_s"] + client["cpu_system_s"]


def test_connections_come_from_the_sources(result: Result) -> None:
    seen = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(5):
                connection, (address, _) = listener.accept()
                seen.append(address)
                threading.Thread(target=echo, args=(connection,), daemon=True).start()

        def echo(connection: socket.socket) -> None:
            with connection:
                while data := connection.recv(4096):
                    connection.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        port = listener.getsockname()[1]
        result(port, "--connections", "4", "--sources", "127.0.0.5,127.0.0.6", *SHORT)
    assert sorted(seen[1:]) == ["127.0.0.5", "127.0.0.5", "127.0.0.6", "127.0.0.6"]


def test_it_runs_where_it_is_told(faulty: Callable[..., int], slices: Callable[..., Any]) -> None:
    cpu = max(psutil.Process().cpu_affinity())
    generator = slices(faulty("none"), "--cpus", str(cpu))
    assert generator.interpreter.cpu_affinity() == [cpu]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--connections", "0"), 2, "within 1 to"),
        (("--message-bytes", "16777217"), 2, "within 1 to"),
        (("--duration-s", "-1"), 2, "within 0"),
        (("--cpus", "4095"), 2, "CPUs that may be used"),
        (("--sources", "192.0.2.1"), 2, "no address of this machine"),
        (("--conections", "1"), 2, "unrecognized"),
    ],
)
def test_bad_options(
    faulty: Callable[..., int], loadgen: Callable[..., Any], options: tuple[str, ...], code: int, message: str
) -> None:
    done = loadgen(faulty("none"), *options)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("target", ["127.0.0.1", "127.0.0.1:0", "127.0.0.1:70000", "no.such.host.invalid:80"])
def test_bad_targets(target: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "loadgen", target], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_remote_addresses_want_permission() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "loadgen", "192.0.2.1:80"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--allow-remote" in done.stderr


def test_it_refuses_what_does_not_echo(faulty: Callable[..., int], loadgen: Callable[..., Any]) -> None:
    cases = [
        (faulty("change-a-byte", "--good", "0"), "other bytes"),
        (faulty("never-answer", "--good", "0"), "no answer"),
        (1, "nothing listens"),
    ]
    for port, message in cases:
        done = loadgen(port, "--response-timeout-s", "0.3")
        assert done.returncode == 1
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
