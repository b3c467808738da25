"""Connections that come and go: churn, and newcomers beside a load that stays."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from servers.ffi import win32

WINDOWS = sys.platform == "win32"
WINE = win32.wine_version() is not None
MS = 1_000_000
SHORT = ("--duration-s", "0.5", "--warmup-s", "0.1")
Result = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("close", ["fin", "reset"])
@pytest.mark.parametrize(("requests", "depth"), [(1, 1), (5, 1), (6, 3)])
def test_connections_are_opened_again(
    counting_server: Callable[..., Any], result: Result, close: str, requests: int, depth: int
) -> None:
    server = counting_server()
    load = ("--connections", "4", "--requests-per-connection", str(requests), "--close", close)
    r = result(server.port, *load, "--depth", str(depth), *SHORT)
    server.wait_for_the_end()
    assert r["errors"] == {}
    ever = r["ever"]
    assert server.accepted == ever["connections"] + 1  # the probe
    assert server.received == (ever["echoes"] + 1) * 64
    assert ever["echoes"] > 20
    if depth == 1:  # what was in flight when the load went off is a life cut short
        assert abs(ever["echoes"] - requests * ever["connections"]) <= requests * 4
    # All but those that were open at the end, and the probe, ended as they were told to.
    if close == "fin":
        assert server.ended >= ever["connections"] - 4
    elif WINE:  # it often tells the end of the stream instead
        assert server.reset > 10
    else:
        assert server.reset >= ever["connections"] - 4
    # Response times are of all requests, connect and first-echo times of the lives that began in the window.
    assert r["requests"] / requests * 0.5 < r["first_echo_time"]["count"] <= r["requests"] / requests + 4
    assert abs(r["connect_time"]["count"] - r["first_echo_time"]["count"]) <= 4
    assert r["connect_time"]["p50_ns"] <= r["first_echo_time"]["p50_ns"]
    assert r["connections_opened"] == r["connections_open_min"] == 4


def test_churn_at_a_rate(counting_server: Callable[..., Any], result: Result) -> None:
    """A new connection for each request, at the moments of the schedule."""
    server = counting_server()
    load = ("--connections", "10", "--requests-per-connection", "1", "--rate", "100")
    r = result(server.port, *load, "--duration-s", "1", "--warmup-s", "0.1")
    server.wait_for_the_end()
    assert r["errors"] == {}
    assert r["open_loop"]["due"] == r["response_time"]["count"] == 100
    assert r["first_echo_time"]["count"] == 100
    assert server.accepted == r["ever"]["connections"] + 1
    assert r["response_time"]["p50_ns"] >= r["first_echo_time"]["p50_ns"]  # from when it was due


def test_newcomers_beside_a_load(counting_server: Callable[..., Any], result: Result) -> None:
    server = counting_server()
    load = ("--connections", "3", "--newcomers-per-s", "100")
    r = result(server.port, *load, "--duration-s", "1", "--warmup-s", "0")
    server.wait_for_the_end()
    assert r["errors"] == {}
    assert server.accepted == r["ever"]["connections"] + 1
    newcomers = r["first_echo_time"]["count"]
    assert 55 < newcomers < 150  # 100 on the average; by chance alone within 60 to 145
    assert r["connect_time"]["count"] == pytest.approx(newcomers, abs=2)
    # They are neither in the rate nor in the response times of the others.
    assert r["response_time"]["count"] == pytest.approx(r["requests"], abs=3)
    assert sum(point["requests"] for point in r["series"]) == r["requests"]
    assert r["connections_opened"] == r["connections_open_min"] == 3


def test_a_newcomer_that_is_kept_waiting_counts_what_it_waited(result: Result) -> None:
    """The server accepts the probe and two connections and then nobody any more."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:

        def serve(number: int) -> None:
            connection = listener.accept()[0]
            with connection:
                if number < 2:
                    threading.Thread(target=serve, args=(number + 1,), daemon=True).start()
                while data := connection.recv(4096):
                    connection.sendall(data)

        threading.Thread(target=serve, args=(0,), daemon=True).start()
        load = ("--connections", "2", "--newcomers-per-s", "50", "--response-timeout-s", "0.4")
        r = result(listener.getsockname()[1], *load, *SHORT)
    assert r["requests"] > 100
    assert r["first_echo_time"]["count"] > 5
    assert r["first_echo_time"]["p50_ns"] >= 400 * MS
    assert r["errors"]["response_timeout"] >= r["first_echo_time"]["count"]


def test_churn_goes_on_after_failures(faulty: Callable[..., int], result: Result) -> None:
    """Each connection is reset with its fourth message, and opened again."""
    load = ("--connections", "2", "--requests-per-connection", "10", "--duration-s", "1", "--warmup-s", "0")
    r = result(faulty("reset"), *load)
    assert r["errors"]["reset"] > 4
    assert set(r["errors"]) == {"reset"}
    assert r["ever"]["connections"] > 6
    assert r["requests"] > 6
    assert r["duration_s"] == 1


def test_a_server_that_dies_does_not_hang_it(result_after_death: Callable[..., Any]) -> None:
    load = ("--connections", "5", "--requests-per-connection", "3", "--response-timeout-s", "1")
    r, took_s = result_after_death(*load, "--duration-s", "2.5", "--warmup-s", "0")
    assert took_s < 2.5 + 1 + 2
    assert r["requests"] > 0
    assert r["errors"].get("refused", 0) + r["errors"].get("connect_timeout", 0) >= 5
    assert r["duration_s"] == 2.5


def test_bytes_after_the_last_echo_are_a_mismatch(result: Result) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            number = 0
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                with connection:
                    message = connection.recv(4096)
                    connection.sendall(message + b"more" * (number % 10 == 9))
                number += 1

        threading.Thread(target=serve, daemon=True).start()
        r = result(listener.getsockname()[1], "--requests-per-connection", "1", *SHORT)
    assert r["errors"]["mismatch"] >= 1


@pytest.mark.linux("Linux has network namespaces")
def test_without_ports_it_says_so(needs: Callable[[str, bool, str], None]) -> None:
    """One source address and ports for a few connections, in a network namespace of its own."""
    namespace = ("unshare", "--map-root-user", "--net", "--")
    allowed = subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode == 0
    needs("a network namespace", allowed, "run as root, or allow unprivileged user namespaces")
    code = """
import fcntl, json, socket, struct, subprocess, sys
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))
for name, value in (("ip_local_port_range", "40000 40030"), ("tcp_tw_reuse", "0")):
    open(f"/proc/sys/net/ipv4/{name}", "w").write(value)
server = subprocess.Popen(
    [sys.executable, "-P", "-m", "servers", "epoll", "--port", "9000"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
)
server.stdout.readline()
done = subprocess.run(
    [sys.executable, "-P", "-m", "loadgen", "127.0.0.1:9000", "--connections", "2",
     "--requests-per-connection", "1", "--sources", "127.0.0.1", "--duration-s", "0.5", "--warmup-s", "0"],
    capture_output=True, text=True)
server.communicate()
print(done.stdout, done.stderr)
"""
    done = subprocess.run(
        [*namespace, sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    r = json.loads(done.stdout.splitlines()[0])
    assert r["errors"]["no_port"] > 0
    assert r["requests"] < 31


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--close", "reset"), "--requests-per-connection"),
        (("--requests-per-connection", "0"), "not within"),
        (("--requests-per-connection", "3", "--depth", "4"), "--depth 4 can't be in flight"),
        (("--newcomers-per-s", "-1"), "not above 0"),
    ],
)
def test_bad_input(loadgen: Callable[..., Any], options: tuple[str, ...], says: str) -> None:
    done = loadgen(1, *options)
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[-1]
