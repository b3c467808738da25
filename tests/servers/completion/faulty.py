"""A server process in which a system call, or a step of our own, fails now and then.

    python faulty.py FAULT EVERY MODEL [options]

FAULT is `Function=code` (of servers.ffi.win32; it then fails with that code without having been made) or
`exception=name` (that method of the model raises); every EVERY-th call fails. With `--implementation=c` the
function is put into the import table of the library, so what fails is the C server's own call.
"""

import ctypes
import importlib
import itertools
import sys
import threading
from collections.abc import Callable
from typing import Any

fault, every, *arguments = sys.argv[1:]
sys.argv[1:] = arguments
name, _, what = fault.partition("=")
counter, lock = itertools.count(1), threading.Lock()

from servers import native, process  # noqa: E402
from servers.ffi import win32  # noqa: E402
from servers.registry import MODELS  # noqa: E402


def is_due() -> bool:
    with lock:
        return next(counter) % int(every) == 0


def imported(wanted: str) -> int:
    """The address of the pointer by which libservers.dll calls `wanted`: its place in the import table.

    Source: "PE Format" in the Windows reference: the optional header's data directories, .idata.
    """
    base = ctypes.CDLL(native.LIBRARY)._handle

    def number(offset: int) -> int:
        return ctypes.c_uint32.from_address(base + offset).value

    descriptor = number(number(0x3C) + 24 + 112 + 8)
    while names := number(descriptor):
        places = number(descriptor + 16)
        while entry := ctypes.c_uint64.from_address(base + names).value:
            if ctypes.string_at(base + entry + 2) == wanted.encode():
                return base + places
            names, places = names + 8, places + 8
        descriptor += 20
    raise LookupError(f"the library doesn't call {wanted}")


def put(wanted: str, call: Callable[..., int]) -> None:
    """Have the library call `call` where it calls the function `wanted`."""
    function = getattr(win32, wanted)
    kind = ctypes.WINFUNCTYPE(function.restype, *function.argtypes, use_last_error=True)
    kept.append(kind(call))
    place, before = imported(wanted), ctypes.c_uint32()
    writable = 4  # PAGE_READWRITE
    protect = ctypes.WinDLL("kernel32").VirtualProtect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32, ctypes.c_void_p)
    assert protect(place, 8, writable, ctypes.byref(before))
    ctypes.c_void_p.from_address(place).value = win32.address_of(kept[-1])


def failing_of(made: Callable[..., int], failure: int) -> Callable[..., int]:
    """`made`, but every so often a call fails without having been made."""

    def failing(*given: int) -> int:
        if is_due():
            ctypes.set_last_error(int(what))
            if name == "GetQueuedCompletionStatus":  # takes nothing, so it gives no operation
                ctypes.c_void_p.from_address(given[3]).value = None
            return failure
        return made(*given)

    return failing


def find(listener: int) -> Callable[..., int]:
    """AcceptEx, which fails every so often."""
    return failing_of(found(listener), failure=0)


def answer(*given: int) -> int:
    """What a C server asks to find AcceptEx."""
    result = win32.WSAIoctl(*given)
    address = ctypes.c_void_p.from_address(given[4])
    kept.append(win32.AcceptEx(failing_of(win32.AcceptEx(address.value or 0), failure=0)))
    address.value = win32.address_of(kept[-1])
    return result


kept: list[Any] = []  # as long as the system may call them
in_c = "--implementation=c" in arguments
found = win32.accept_ex
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
    if in_c:
        put("WSAIoctl", answer)
    else:
        win32.accept_ex = find
else:
    # What the call returns where it failed: SOCKET_ERROR is Winsock's, zero or null is all others'.
    failure = win32.SOCKET_ERROR if name in {"WSASend", "WSARecv", "setsockopt"} else 0
    failing = failing_of(getattr(win32, name), failure)
    if in_c:
        put(name, failing)
    else:
        setattr(win32, name, failing)

raise SystemExit(process.main())
