"""What ends a generator early, with the result of what was measured until then: SIGINT and SIGTERM.

On Windows nobody can send SIGTERM, `Popen.terminate` kills there: who started a generator sends Ctrl+Break.
"""

import contextlib
import os
import select
import signal
import socket
import sys
from _thread import start_new_thread  # threading takes 2 ms to import
from collections.abc import Callable

STDIN = 0


class _Interrupted(BaseException):
    """A signal came while waiting for a line."""


class Stop:
    """`receiver` becomes readable when this process is to end early. Make it once, in the main thread."""

    def __init__(self) -> None:
        self.receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self._waiting = False
        self.requested = False
        self.on_request: Callable[[], None] | None = None  # called in a signal handler
        self._lines: _Lines | None = None
        # The core runs in C, where no handler of Python's is called: a byte on this socket wakes it.
        signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), self._handle)

    def receivers(self, count: int) -> list[socket.socket]:
        """`count` sockets that become readable as `receiver` does, for as many waiters."""
        if sys.platform != "win32" or count == 1:
            return [self.receiver] * count
        # There a socket has one waiter at a time (WSAEventSelect): each gets a socket of its own.
        pairs = [socket.socketpair() for _ in range(count)]
        start_new_thread(self._pass_on, ([sender for _, sender in pairs],))
        return [receiver for receiver, _ in pairs]

    def _pass_on(self, senders: list[socket.socket]) -> None:
        select.select([self.receiver], [], [])
        for sender in senders:
            sender.send(b"\0")

    def watch_stdin(self) -> None:
        """End early when stdin ends, too: who started this process has ended."""
        start_new_thread(self._watch_stdin, ())

    def _watch_stdin(self) -> None:
        # A read by way of sys.stdin would hold its lock at exit, and the interpreter would abort.
        with contextlib.suppress(OSError):
            while os.read(STDIN, 4096):
                pass
        self.request()

    def request(self) -> None:
        """End early, as after a signal."""
        self.requested = True
        with contextlib.suppress(OSError):  # full: it was asked for often enough
            self._sender.send(b"\0")

    def read_line(self) -> str:
        """The next line of stdin, empty at its end or after a signal."""
        if self.requested:
            return ""
        if sys.platform == "win32":
            self._lines = self._lines or _Lines()
            return self._lines.next_unless(self.receiver)
        self._waiting = True
        try:
            return sys.stdin.readline()
        except _Interrupted:
            return ""
        finally:
            self._waiting = False

    def _handle(self, *_: object) -> None:
        self.requested = True
        if self.on_request is not None:
            self.on_request()
        if self._waiting:
            raise _Interrupted


class _Lines:
    """Stdin as a socket: on Windows no signal ends a read of a pipe, and select takes sockets alone."""

    def __init__(self) -> None:
        self._receiver, sender = socket.socketpair()
        self._rest = b""
        start_new_thread(self._forward, (sender,))

    @staticmethod
    def _forward(sender: socket.socket) -> None:
        # A read by way of sys.stdin would hold its lock at exit, and the interpreter would abort.
        with sender, contextlib.suppress(OSError):
            while data := os.read(STDIN, 4096):
                sender.sendall(data)

    def next_unless(self, stop: socket.socket) -> str:
        """The next line, empty at the end or when `stop` is readable."""
        while b"\n" not in self._rest:
            readable, _, _ = select.select([stop, self._receiver], [], [])
            if stop in readable:
                return ""
            data = self._receiver.recv(4096)
            if not data:
                break
            self._rest += data
        line, end, self._rest = self._rest.partition(b"\n")
        return (line + end).decode(errors="replace")
