"""What the readiness models share, as far as the conformance suite doesn't show it."""

import threading
from contextlib import ExitStack, closing

import pytest

pytestmark = pytest.mark.linux("the loop is the same everywhere; here with Linux's pollers")
TRIGGERS = [("epoll", "edge"), ("epoll:c", "level"), ("epoll:c", "edge")]


@pytest.mark.parametrize("model", ["select", "poll", "epoll", "selectors"])
def test_one_accept_a_wait_accepts_them_all_the_same(server, model):
    _check_all_are_accepted(server(model, accepts_per_wait=1))


@pytest.mark.parametrize(("model", "trigger"), TRIGGERS)
def test_one_accept_a_wait_leaves_nobody_waiting(server, model, trigger):
    """Edge-triggered, what one wait leaves behind would never be reported again by itself."""
    _check_all_are_accepted(server(model, trigger=trigger, accepts_per_wait=1))


def _check_all_are_accepted(starting):
    with starting as running, ExitStack() as stack:
        connections = [stack.enter_context(closing(running.connect())) for _ in range(50)]
        for connection in connections:
            connection.sendall(b"x")
        for connection in connections:
            assert connection.recv(1) == b"x"
        assert running.stop()["connections_accepted"] == 50


@pytest.mark.parametrize(("model", "trigger"), TRIGGERS)
def test_a_peer_that_never_stops_sending_leaves_others_their_turn(server, client, model, trigger):
    """Edge-triggered, a socket is read until it is empty; but not for ever."""
    others_are_served = threading.Event()

    def flood(connection):
        while not others_are_served.is_set():
            assert client.exchange(connection, bytes(1 << 18)) == bytes(1 << 18)

    with (
        server(model, trigger=trigger, buffer_bytes=16) as running,
        closing(running.connect()) as flooding,
        closing(running.connect()) as other,
    ):
        sender = threading.Thread(target=flood, args=(flooding,))
        sender.start()
        try:
            for number in range(10):
                assert client.exchange(other, b"%d" % number) == b"%d" % number
        finally:
            others_are_served.set()
            sender.join()
