"""The options of listeners, and of what they accept."""

import errno
import os
import socket
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from servers import listener


@pytest.fixture
def listening():
    with closing(listener.create("127.0.0.1", 0, 16)) as created:
        yield created


def test_accepted_sockets_send_small_answers_at_once(listening):
    """TCP_NODELAY is handed down."""
    with (
        closing(socket.create_connection(listening.getsockname())),
        closing(listener.accept(listening)) as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_a_non_blocking_accept_with_nobody_waiting_returns_at_once(listening):
    listening.setblocking(False)
    with pytest.raises(BlockingIOError) as raised:
        listening.accept()
    if sys.platform == "win32":
        assert raised.value.winerror == errno.WSAEWOULDBLOCK == 10035
    else:
        assert raised.value.errno == errno.EAGAIN


def test_an_accepted_socket_inherits_non_blocking_mode_on_windows_alone(listening):
    """The chapter's S1."""
    listening.setblocking(False)
    with closing(socket.create_connection(listening.getsockname())):
        while True:
            try:
                accepted, _ = listening.accept()
                break
            except BlockingIOError:  # the handshake isn't done yet
                time.sleep(0.01)
        with closing(accepted):
            if sys.platform == "win32":  # Python believes it to be blocking; the system doesn't block
                with pytest.raises(BlockingIOError):
                    accepted.recv(1)
            else:
                assert os.get_blocking(accepted.fileno())


def test_a_port_can_be_listened_at_again_at_once():
    """Connections that the last listener closed are in TIME_WAIT."""
    with closing(listener.create("127.0.0.1", 0, 16)) as first:
        address = first.getsockname()
        client = socket.create_connection(address)
        first.accept()[0].close()
        client.close()
    listener.create(*address, 16).close()


@pytest.mark.linux("counts descriptors in /proc")
def test_a_failed_bind_leaves_no_socket_open(listening):
    before = _descriptor_count()
    with pytest.raises(OSError, match="in use"):
        listener.create(*listening.getsockname(), 16)
    assert _descriptor_count() == before


def _descriptor_count():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EINVAL])
def test_pauses_where_the_system_has_nothing_to_give(code):
    stop, asked = socket.socketpair()
    with closing(stop), closing(asked):
        start = time.monotonic()
        listener.pause_if_exhausted(OSError(code, ""), stop)
        assert time.monotonic() - start >= listener.PAUSE_S / 2  # select may wake a little early


def test_does_not_pause_once_it_is_to_stop_nor_for_other_errors(monkeypatch):
    monkeypatch.setattr(listener, "PAUSE_S", 3600)
    stop, asked = socket.socketpair()
    with closing(stop), closing(asked):
        listener.pause_if_exhausted(OSError(errno.ECONNABORTED, ""), stop)
        asked.send(b"\0")
        listener.pause_if_exhausted(OSError(errno.EMFILE, ""), stop)
