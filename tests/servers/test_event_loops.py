"""Several event loops in one process: each has its connections, all are counted, and they end together."""

import os
import sys
import threading
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from servers.contract import Counters, Options
from servers.event_loops import serve

WINDOWS = sys.platform == "win32"
LOOPS, CLIENTS = 3, 200
MODELS = ["select", "poll", "epoll", "selectors", "io_uring", "select:c", "poll:c", "epoll:c", "io_uring:c"]
MODELS_WINDOWS = ["select", "selectors", "wsapoll"]


@pytest.mark.parametrize("listeners", ["shared"] if WINDOWS else ["reuseport", "shared"])
@pytest.mark.parametrize("model", MODELS_WINDOWS if WINDOWS else MODELS)
def test_all_connections_are_served_and_counted(server: Any, client: Any, model: str, listeners: str) -> None:
    with server(model, threads=LOOPS, listeners=listeners) as running, ExitStack() as stack:
        assert running.ready["options"]["threads"] == LOOPS
        assert running.ready["options"]["listeners"] == listeners
        assert psutil.Process(running.ready["pids"][0]).num_threads() > LOOPS
        for number in range(CLIENTS):
            connection = stack.enter_context(closing(running.connect()))
            assert client.exchange(connection, b"%d" % number) == b"%d" % number
        stopped = running.stop()
    assert stopped == {
        "event": "stopped",
        "connections_accepted": CLIENTS,
        "connections_open_max": CLIENTS,
        "errors": {},
    }


@pytest.mark.linux("/proc tells how many sets of epoll there are, and whom they watch")
@pytest.mark.parametrize("model", ["epoll", "epoll:c"])
def test_each_loop_has_an_epoll_with_connections_of_its_own(server: Any, client: Any, model: str) -> None:
    """By the kernel's hash: that one of three has under 20 of 200 happens once in 10^13 times."""
    with server(model, threads=LOOPS) as running, ExitStack() as stack:
        for _ in range(CLIENTS):
            connection = stack.enter_context(closing(running.connect()))
            assert client.exchange(connection, b"x") == b"x"
        # Each watches its listener and the stop as well, which is a set itself: of a socket and stdin.
        assert sum(_watched_by_each(running.ready["pid"])) == CLIENTS + 2 * LOOPS + 2
        assert sum(count > 20 for count in _watched_by_each(running.ready["pid"])) == LOOPS


def _watched_by_each(pid: int) -> list[int]:
    """How many descriptors each epoll set of a process watches."""
    sets = [one for one in Path(f"/proc/{pid}/fd").iterdir() if "eventpoll" in str(one.readlink())]
    infos = [Path(f"/proc/{pid}/fdinfo/{one.name}").read_text() for one in sets]
    return [sum(line.startswith("tfd:") for line in info.splitlines()) for info in infos]


@pytest.mark.linux("EPOLLEXCLUSIVE is epoll's")
@pytest.mark.parametrize("model", ["epoll", "epoll:c"])
@pytest.mark.parametrize("trigger", ["level", "edge"])
def test_an_exclusive_listener_wakes_fewer_loops(
    server: Any, client: Any, eventually: Any, model: str, trigger: str
) -> None:
    """A connection wakes all of eight loops that sleep at one listener, or with EPOLLEXCLUSIVE about one."""
    switches = {}
    for exclusive in (False, True):
        with server(model, threads=8, listeners="shared", trigger=trigger, exclusive=exclusive) as running:
            pid = running.ready["pid"]
            eventually(lambda pid=pid: _sleeping(pid) >= 8)
            before = _voluntary_switches(pid)
            for _ in range(100):
                with closing(running.connect()) as connection:
                    assert client.exchange(connection, b"x") == b"x"
            switches[exclusive] = _voluntary_switches(pid) - before
    assert switches[True] < 0.75 * switches[False], switches


def _sleeping(pid: int) -> int:
    return sum(
        (task / "stat").read_text().rsplit(")", 1)[1].split()[0] == "S"
        for task in Path(f"/proc/{pid}/task").iterdir()
    )


def _voluntary_switches(pid: int) -> int:
    """How often the threads of a process went to sleep."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


@pytest.mark.linux("processes of several listeners")
def test_processes_with_several_loops_each(server: Any, client: Any) -> None:
    with server("epoll:c", threads=2, processes=2) as running, ExitStack() as stack:
        assert len(running.ready["pids"]) == 2
        for number in range(CLIENTS):
            connection = stack.enter_context(closing(running.connect()))
            assert client.exchange(connection, b"%d" % number) == b"%d" % number
        stopped = running.stop()
    assert stopped["connections_accepted"] == CLIENTS
    assert stopped["errors"] == {}


def test_no_number_stands_for_one_for_each_cpu(server: Any) -> None:
    allowed = len(psutil.Process().cpu_affinity() or []) or os.cpu_count()
    with server("select", threads=0) as running:
        assert running.ready["options"]["threads"] == allowed


def _nothing(*_: object) -> None:
    """A model that serves nobody."""


class _Asked:
    """What `serve` needs of a stop."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def ask(self) -> None:
        self.event.set()


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_where_a_loop_fails_all_end_and_it_was_never_ready(failing: int) -> None:
    stop, counters = _Asked(), Counters()
    ended = []

    def serve_one(listener: Any, stop: Any, options: Any, own: Counters) -> None:
        own.accepted(open_count=1)
        if listener == failing:
            raise OSError(5, "no way to wait")
        own.serving()
        assert stop.event.wait(30)
        ended.append(listener)

    listeners: Any = [0, 1, 2]
    with pytest.raises(OSError, match="no way to wait"):
        serve(serve_one, listeners, stop, Options(threads=3), counters, ready=pytest.fail)  # type: ignore[arg-type]
    assert sorted(ended) == sorted({0, 1, 2} - {failing})
    assert counters.connections_accepted == 3


def test_what_loops_count_is_added_up() -> None:
    one, other = Counters(), Counters()
    one.accepted(open_count=2)
    one.failed_times("ECONNRESET", 1)
    other.accepted(open_count=5)
    other.failed_times("ECONNRESET", 2)
    other.failed_times("EPIPE", 1)
    one.add(other)
    assert (one.connections_accepted, one.connections_open_max) == (2, 7)
    assert one.errors == {"ECONNRESET": 3, "EPIPE": 1}


def test_a_thread_that_cannot_be_started_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    listeners: Any = [0]
    with pytest.raises(OSError, match="2 threads can't be started"):
        serve(_nothing, listeners, _Asked(), Options(threads=2), Counters(), ready=pytest.fail)  # type: ignore[arg-type]
