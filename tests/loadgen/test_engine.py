"""The binding to the core: engines one after the other in a process, stops, failures of the system."""

import socket
import sys
import types
from collections.abc import Callable, Iterator

import pytest

from loadgen import profile
from loadgen.engine import Engine

WINDOWS = sys.platform == "win32"
FEW, MANY_TIMES = 10, 20


@pytest.fixture
def stop() -> Iterator[tuple[socket.socket, socket.socket]]:
    receiver, sender = socket.socketpair()
    with receiver, sender:
        yield receiver, sender


def engine(port: int, stop: socket.socket | None = None, *options: str) -> Engine:
    return Engine(profile.parse([f"127.0.0.1:{port}", "--connections", str(FEW), *options]), stop)


def test_engines_one_after_the_other_share_a_stop(
    faulty: Callable[..., int], stop: tuple[socket.socket, socket.socket]
) -> None:
    port, (receiver, sender) = faulty("none"), stop
    for _ in range(MANY_TIMES):  # each leaves a receive waiting on every connection
        with engine(port, receiver) as opened:
            assert opened.connect() == {"connections_opened": FEW, "errors": {}}
            assert opened.slice(1, 0.01, 0, warmup=False, linger_s=None)["requests_total"] > 0
    sender.send(b"\0")
    for _ in range(2):  # a stop isn't used up by the engine that it ended
        with engine(port, receiver) as opened:
            opened.connect()
            assert opened.slice(1, 30, 0, warmup=False, linger_s=None)["duration_s"] < 20


def test_what_was_in_flight_on_a_lost_connection_harms_nothing(faulty: Callable[..., int]) -> None:
    """Large messages that the server doesn't read: sends and receives are cut off by the timeout."""
    port = faulty("never-answer", "--message-bytes", "64", "--good", "0")
    options = ("--message-bytes", "8000000", "--response-timeout-s", "0.2")
    with engine(port, None, *options) as opened:
        assert opened.connect()["errors"] == {"response_timeout": FEW}
        answer = opened.slice(1, 0.05, 0, warmup=False, linger_s=None)
        assert answer["requests_total"] == 0
        assert opened.result()["errors"] == {"response_timeout": FEW}


def test_nobody_listens() -> None:
    with engine(1) as opened:
        assert opened.connect() == {"connections_opened": 0, "errors": {"refused": FEW}}


def test_a_failure_of_the_system_has_its_number_and_text() -> None:
    no_socket = types.SimpleNamespace(fileno=lambda: 999_996)
    with pytest.raises(OSError, match="WSAENOTSOCK" if WINDOWS else "Bad file descriptor") as caught:
        engine(1, no_socket)
    assert str(10038 if WINDOWS else 9) in str(caught.value)


@pytest.mark.windows("codes of Windows")
def test_codes_have_names_that_can_be_looked_up() -> None:
    from loadgen import win32

    reset = win32.error(10054)
    assert isinstance(reset, ConnectionResetError)
    assert "10054" in str(reset)
    assert "WSAECONNRESET" in str(reset)
    assert "ENOEXEC" not in str(win32.error(8))  # no memory, which errno has under another number
