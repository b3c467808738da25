"""A server of several processes: connections dealt to all, counted by all, ended together."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psutil
import pytest

WINDOWS = sys.platform == "win32"
COUNT, CLIENTS = 3, 40


def workers(running: Any) -> list[int]:
    """Their ids, as the system counts them."""
    return [child.pid for child in psutil.Process(running.ready["pid"]).children(recursive=True)]


def accepts_at_its_port(contender: Any) -> bool:
    """On Windows processes share a listener, and that belongs to one completion port."""
    by_default = WINDOWS and contender.model.startswith(("asyncio", "twisted")) and not contender.options
    return by_default or contender.options.get("accept") == "acceptex"


def test_connections_are_dealt_to_all(contender: Any, server: Any, client: Any, run: Any) -> None:
    if accepts_at_its_port(contender):
        done = run(*contender.arguments(), "--processes", str(COUNT))
        assert done.returncode == 3
        assert "belongs to one completion port" in done.stdout
        return
    with server(contender, processes=COUNT) as running, ExitStack() as stack:
        ready = running.ready
        assert ready["options"]["processes"] == COUNT
        assert len(set(ready["pids"])) == COUNT
        assert ready["pid"] not in ready["pids"]
        for number in range(CLIENTS):
            connection = stack.enter_context(closing(running.connect()))
            assert client.exchange(connection, b"%d" % number) == b"%d" % number
        stopped = running.stop()
    assert stopped["connections_accepted"] == CLIENTS
    assert stopped["connections_open_max"] == CLIENTS
    assert stopped["errors"] == {}


def socket_count(pid: int) -> int:
    """How many sockets a process has; other descriptors come and go after it has said that it is ready."""
    return sum(str(one.readlink()).startswith("socket:") for one in Path(f"/proc/{pid}/fd").iterdir())


@pytest.mark.linux("/proc tells who holds a connection")
def test_each_has_some_of_them(server: Any, client: Any) -> None:
    """By the kernel's hash: that one of three has none of 200 happens once in 10^35 times."""
    with server("epoll", processes=COUNT) as running, ExitStack() as stack:
        idle = {pid: socket_count(pid) for pid in running.ready["pids"]}
        for _ in range(200):
            connection = stack.enter_context(closing(running.connect()))
            assert client.exchange(connection, b"x") == b"x"
        held = {pid: socket_count(pid) - count for pid, count in idle.items()}
    assert sum(held.values()) == 200
    assert min(held.values()) > 20


def test_they_end_with_the_one_that_started_them(
    server: Any, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    with server("threads", processes=COUNT) as running:
        pids = workers(running)
        assert len(pids) >= COUNT
        running.process.kill()
        running.process.communicate()
        running.stopped = {"event": "killed"}
        eventually(lambda: not any(psutil.pid_exists(pid) for pid in pids))


@pytest.mark.linux("POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all(server: Any, client: Any, number: int) -> None:
    with server("selectors", processes=COUNT) as running:
        pids = workers(running)
        with closing(running.connect()) as connection:
            assert client.exchange(connection, b"x") == b"x"
        running.process.send_signal(number)
        assert running.wait()["connections_accepted"] == 1
        assert not any(psutil.pid_exists(pid) for pid in pids)


@pytest.mark.linux("/proc tells who runs")
def test_one_that_dies_is_told_at_the_end(server: Any, eventually: Any) -> None:
    with server("threads", processes=COUNT) as running:
        os.kill(running.ready["pids"][0], signal.SIGKILL)
        eventually(lambda: psutil.Process(running.ready["pids"][0]).status() == psutil.STATUS_ZOMBIE)
        running.process.stdin.close()
        running.process.stdin = None
        running.process.communicate(timeout=20)
        assert running.process.returncode not in (0, None)
        running.stopped = {"event": "failed"}


def test_a_port_that_is_taken(run: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("threads", "--processes", "2", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "is taken" in line or "reserved" in line


def test_a_port_that_several_of_its_kind_share_is_taken(server: Any, run: Any) -> None:
    """SO_REUSEPORT alone would let a second server in, which would get half of the connections."""
    with server("threads", processes=2) as running:
        port = str(running.ready["port"])
        assert run("threads", "--processes", "2", "--port", port).returncode == 1
        assert run("threads", "--port", port).returncode == 1


@pytest.mark.linux("where an fd_set has a fixed size")
def test_each_can_hold_as_many_as_one(server: Any) -> None:
    with server("select") as one, server("select", processes=4) as four:
        # A few descriptors are the process's own.
        assert four.ready["connections_max"] == pytest.approx(4 * one.ready["connections_max"], rel=0.02)


@pytest.mark.slow
def test_nothing_is_left_of_many_starts_and_stops(server: Any, client: Any) -> None:
    for _ in range(5):
        with server("threads", processes=COUNT) as running:
            pids = workers(running)
            with closing(running.connect()) as connection:
                assert client.exchange(connection, b"x") == b"x"
            running.stop()
        deadline = time.monotonic() + 10
        while any(psutil.pid_exists(pid) for pid in pids):
            assert time.monotonic() < deadline
            time.sleep(0.02)
