"""The binding to the core: engines one after the other in a process, stops, failures of the system."""

import socket
import sys
import types
from collections.abc import Callable, Iterator

import pytest

from loadgen import profile
from loadgen.engine import Engines
from loadgen.part import SlicePart

WINDOWS = sys.platform == "win32"
FEW, MANY_TIMES = 10, 20


@pytest.fixture
def stop() -> Iterator[tuple[socket.socket, socket.socket]]:
    receiver, sender = socket.socketpair()
    with receiver, sender:
        yield receiver, sender


def engines(port: int, stop: socket.socket, *options: str) -> Engines:
    wanted = profile.parse([f"127.0.0.1:{port}", "--connections", str(FEW), *options])
    return Engines(wanted, [stop] * wanted.threads)


def in_a_slice(opened: Engines, slice_s: float) -> SlicePart:
    return opened.slice(round(slice_s * 1e9), 0, warmup=False, linger_ns=None)


def test_engines_one_after_the_other_share_a_stop(
    faulty: Callable[..., int], stop: tuple[socket.socket, socket.socket]
) -> None:
    port, (receiver, sender) = faulty("none"), stop
    for _ in range(MANY_TIMES):  # each leaves a receive waiting on every connection
        with engines(port, receiver) as opened:
            assert opened.connect() == (FEW, {})
            assert in_a_slice(opened, 0.01).requests_total > 0
    sender.send(b"\0")
    for _ in range(2):  # a stop isn't used up by the engine that it ended
        with engines(port, receiver) as opened:
            opened.connect()
            assert in_a_slice(opened, 30).duration_ns < 20e9


def test_what_was_in_flight_on_a_lost_connection_harms_nothing(
    faulty: Callable[..., int], stop: tuple[socket.socket, socket.socket]
) -> None:
    """Large messages that the server doesn't read: sends and receives are cut off by the timeout."""
    port = faulty("never-answer", "--message-bytes", "64", "--good", "0")
    options = ("--message-bytes", "8000000", "--response-timeout-s", "0.2")
    with engines(port, stop[0], *options) as opened:
        assert opened.connect() == (FEW, {"response_timeout": FEW})
        assert in_a_slice(opened, 0.05).requests_total == 0
        assert opened.part().errors == {"response_timeout": FEW}


def test_nobody_listens(stop: tuple[socket.socket, socket.socket]) -> None:
    with engines(1, stop[0]) as opened:
        assert opened.connect() == (0, {"refused": FEW})


def test_a_failure_of_the_system_has_its_number_and_text() -> None:
    no_socket = types.SimpleNamespace(fileno=lambda: 999_996)
    with pytest.raises(OSError, match="WSAENOTSOCK" if WINDOWS else "Bad file descriptor") as caught:
        engines(1, no_socket)
    assert str(10038 if WINDOWS else 9) in str(caught.value)


@pytest.mark.windows("codes of Windows")
def test_codes_have_names_that_can_be_looked_up() -> None:
    from loadgen import win32

    reset = win32.error(10054)
    assert isinstance(reset, ConnectionResetError)
    assert "10054" in str(reset)
    assert "WSAECONNRESET" in str(reset)
    assert "ENOEXEC" not in str(win32.error(8))  # no memory, which errno has under another number
