"""A server process in which a system call, or a step of our own, fails now and then.

    python faulty.py FAULT EVERY MODEL [options]

FAULT is `Function=code` (of servers.ffi.win32; it then fails with that code without having been made) or
`exception=name` (that method of the model raises); every EVERY-th call fails.
"""

import ctypes
import importlib
import itertools
import sys
import threading

fault, every, *arguments = sys.argv[1:]
sys.argv[1:] = arguments
name, _, what = fault.partition("=")
counter, lock = itertools.count(1), threading.Lock()

from servers import process  # noqa: E402
from servers.ffi import win32  # noqa: E402
from servers.registry import MODELS  # noqa: E402


def is_due() -> bool:
    with lock:
        return next(counter) % int(every) == 0


if name == "exception":
    module = importlib.import_module(f"servers.{MODELS[arguments[0]].module}")
    owner = next(one for one in vars(module).values() if isinstance(one, type) and what in vars(one))
    original = getattr(owner, what)

    def raising(self, *given, **named):
        if is_due():
            raise ZeroDivisionError("on purpose")
        return original(self, *given, **named)

    setattr(owner, what, raising)
elif name == "AcceptEx":
    found = win32.accept_ex

    def find(listener):
        accept_ex = found(listener)

        def failing(*given):
            if is_due():
                ctypes.set_last_error(int(what))
                return 0
            return accept_ex(*given)

        return failing

    win32.accept_ex = find
else:
    made = getattr(win32, name)
    # What the call returns where it failed: SOCKET_ERROR is Winsock's, zero or null is all others'.
    failure = win32.SOCKET_ERROR if name in {"WSASend", "WSARecv", "setsockopt"} else 0

    def failing(*given):
        if is_due():
            ctypes.set_last_error(int(what))
            if name == "GetQueuedCompletionStatus":  # takes nothing, so it gives no operation
                ctypes.c_void_p.from_address(given[3]).value = None
            return failure
        return made(*given)

    setattr(win32, name, failing)

raise SystemExit(process.main())
