"""A stop is a descriptor that becomes readable: every model can wait for it with its sockets.

Three things ask for it: SIGINT, SIGTERM, and the end of stdin, which also comes when the parent dies. The
signals reach a socket through `signal.set_wakeup_fd`, which writes from the signal handler itself: a handler
in Python would not run while the main thread is inside a C library. There is one all the same, since an event
loop may take the wake-up descriptor for itself (uvloop does). On Windows, where nobody can send SIGTERM, a
console's Ctrl+Break asks as well.

On Linux an epoll set holds that socket and stdin, and is the descriptor: one that becomes ready makes the set
readable, and bytes on stdin, which mean nothing, don't. A thread that blocks in reading stdin would do as
well, and does elsewhere, but a process with a second thread pays for it in every system call: the kernel
counts references to the descriptor, and the C library guards against a cancelled thread. That was 0.2 us for
each request, of 7.

Source: signal.set_wakeup_fd in the Python reference; epoll(7) and epoll_ctl(2), which say that an epoll
descriptor can be watched itself and that EPOLLHUP is always reported.
"""

import contextlib
import os
import select
import signal
import socket
import sys
from _thread import start_new_thread  # threading takes 2 ms to import, and few models need it
from types import TracebackType

STDIN = 0


class Stop:
    """Readable once this process is to stop. Make it once, in the main thread."""

    def __init__(self) -> None:
        self._asked, self._asking = socket.socketpair()
        self._asking.setblocking(False)  # as set_wakeup_fd wants it: a signal handler must not wait
        signal.set_wakeup_fd(self._asking.fileno(), warn_on_full_buffer=False)
        for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), self.ask)
        self._both = None
        if sys.stdin is None:  # closed from the start; its number may be another's by now
            self.ask()
        # Ctrl+D at a terminal is an end that only a read can see.
        elif hasattr(select, "epoll") and not os.isatty(STDIN):
            self._both = select.epoll()
            self._both.register(self._asked, select.EPOLLIN)
            self._watch_stdin(self._both)
        else:
            start_new_thread(self._read_stdin, ())

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return (self._both or self._asked).fileno()

    @property
    def as_socket(self) -> socket.socket:
        """On Windows the descriptor as a socket, for a way to wait that wants one."""
        return self._asked

    def __enter__(self) -> "Stop":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._both is not None:
            self._both.close()
        self._asked.close()

    def ask(self, *_: object) -> None:
        """Have this process stop. From any thread."""
        with contextlib.suppress(OSError):  # full: it was asked for often enough
            self._asking.send(b"\0")

    def _watch_stdin(self, both: "select.epoll") -> None:
        try:
            both.register(STDIN, select.EPOLLRDHUP)
        except PermissionError:  # a file, or /dev/null: it can't be waited for, and soon is at its end
            self.ask()

    def _read_stdin(self) -> None:
        with contextlib.suppress(OSError):  # a terminal that has gone
            # A read by way of sys.stdin would hold its lock at exit, and the interpreter would abort.
            while os.read(STDIN, 4096):
                pass
        self.ask()
