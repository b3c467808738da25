"""When a new client gets its first echo: claims C3 and C4 as counts and lower bounds."""

import threading
import time
from contextlib import ExitStack, closing

import pytest

pytestmark = [pytest.mark.windows, pytest.mark.slow]
POLL_MS = 400


def _first_echo_times_s(running, client):
    """Of ten clients, one after the other, with pauses in which the server falls asleep again."""
    times = []
    for _ in range(10):
        time.sleep(0.05)
        began = time.perf_counter()
        with closing(running.connect()) as connection:
            assert client.exchange(connection, b"x") == b"x"
            times.append(time.perf_counter() - began)
    return times


@pytest.mark.parametrize("model", ["overlapped", "overlapped:c", "iocp", "iocp:c"])
def test_alternating_makes_clients_wait_for_the_poll(server, client, model):
    with server(model, accept="alternating", accept_poll_ms=POLL_MS) as running:
        times = _first_echo_times_s(running, client)
    assert sum(one >= 0.3 for one in times) >= 9, times


@pytest.mark.parametrize(
    ("model", "accept"),
    [
        *(("overlapped", "thread"), ("iocp", "thread"), ("iocp", "acceptex")),
        *(("overlapped:c", "thread"), ("iocp:c", "thread"), ("iocp:c", "acceptex")),
    ],
)
def test_a_thread_for_accepting_cures_that(server, client, model, accept):
    with server(model, accept=accept, accept_poll_ms=POLL_MS) as running:
        times = _first_echo_times_s(running, client)
    assert sum(one >= 0.3 for one in times) == 0, times


class _Busy:
    """100 connections that ask again as soon as they are answered."""

    def __init__(self, running, stack):
        self.stop = threading.Event()
        self.connections = [stack.enter_context(closing(running.connect())) for _ in range(100)]
        for connection in self.connections:  # each was accepted, and echoes
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
        self.threads = [threading.Thread(target=self.ask, args=(self.connections[i::4],)) for i in range(4)]
        for thread in self.threads:
            thread.start()

    def ask(self, connections):
        while not self.stop.is_set():
            for connection in connections:
                connection.sendall(b"x" * 64)
            for connection in connections:
                missing = 64
                while missing:
                    missing -= len(connection.recv(missing))

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.parametrize("model", ["overlapped", "overlapped:c"])
def test_a_busy_server_still_accepts_with_bounded_routines(server, client, model):
    with server(model, accept_poll_ms=10) as running, ExitStack() as stack:
        busy = _Busy(running, stack)
        try:
            waited = []
            for _ in range(5):
                began = time.perf_counter()
                with closing(running.connect()) as connection:
                    assert client.exchange(connection, b"new") == b"new"
                waited.append(time.perf_counter() - began)
        finally:
            busy.end()
    assert min(waited) < 1, waited


@pytest.mark.parametrize("model", ["overlapped", "overlapped:c"])
def test_one_routine_a_wait_serves_everybody_in_turn(server, client, model):
    """With one a wait, and eight connections that have all sent, each is served in turn."""
    with server(model, accept_poll_ms=1, routines_per_wait=1) as running, ExitStack() as stack:
        connections = [stack.enter_context(closing(running.connect())) for _ in range(8)]
        for _ in range(5):
            for connection in connections:
                connection.sendall(b"x")
            for connection in connections:
                assert client.receive(connection, 1) == b"x"
        assert running.stop()["errors"] == {}
