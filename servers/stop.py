"""A stop is a socket that becomes readable: every model can wait for that with the others.

Three things ask for it: SIGINT, SIGTERM, and the end of stdin, which also comes when the parent dies. The
signals reach the socket through `signal.set_wakeup_fd`, which writes from the signal handler itself: a
handler in Python would not run while the main thread is inside a C library. There is one all the same, since
an event loop may take the wake-up descriptor for itself (uvloop does).

Source: signal.set_wakeup_fd in the Python reference.
"""

import contextlib
import os
import signal
import socket
from _thread import start_new_thread  # threading takes 2 ms to import, and few models need it

STDIN = 0


def stop_socket() -> socket.socket:
    """The socket that becomes readable when this process is to stop. Call it once, from the main thread."""
    stop, asked = socket.socketpair()
    asked.setblocking(False)  # as set_wakeup_fd wants it: a signal handler must not wait

    def ask(*_: object) -> None:
        with contextlib.suppress(OSError):  # full: it was asked for often enough
            asked.send(b"\0")

    def watch_stdin() -> None:
        with contextlib.suppress(OSError):  # closed from the start: nobody will ever close it
            # A read by way of sys.stdin would hold its lock at exit, and the interpreter would abort.
            while os.read(STDIN, 4096):
                pass
        ask()

    signal.set_wakeup_fd(asked.fileno(), warn_on_full_buffer=False)
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, ask)
    start_new_thread(watch_stdin, ())
    return stop
