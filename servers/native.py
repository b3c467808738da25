"""The binding of the servers in C: one library, one function a model, and the structures of `native.h`.

ctypes releases the interpreter's lock for as long as the function runs, which is until the server stops.
"""

import ctypes
import errno
import os
import socket
import sys
from collections.abc import Callable
from ctypes import POINTER, Structure, c_int, c_int32, c_size_t, c_uint32, c_uint64

from servers.contract import Counters, Options
from servers.stop import Stop

NAME = "libservers.dll" if sys.platform == "win32" else "libservers.so"
# Not by pathlib, which takes 7 ms to import: the yardstick is started for every block.
LIBRARY = os.path.join(os.path.dirname(__file__), NAME)  # noqa: PTH118, PTH120
ERROR_KINDS = 16
SETUPS = ("defer_taskrun", "plain", "sqpoll")  # enum setup
ACCEPTS = ("thread", "alternating", "acceptex")  # enum accept
OWN_CODES = {-1: "FdSetsizeExceeded"}
SOCKET = c_size_t if sys.platform == "win32" else c_int

Serve = Callable[[socket.socket, Stop, Options, Counters], None]


class ServeOptions(Structure):
    """`struct serve_options`."""

    _fields_ = (
        *(("buffer_bytes", c_uint32), ("accepts_per_wait", c_uint32), ("edge_triggered", c_uint32)),
        ("exclusive", c_uint32),
        *(("setup", c_uint32), ("multishot", c_uint32)),
        *(("raw_fd_set", c_uint32), ("accept", c_uint32), ("accept_poll_ms", c_uint32)),
        *(("port_threads", c_uint32), ("concurrency", c_uint32), ("batch", c_uint32)),
        *(("skip_on_success", c_uint32), ("zero_byte_receive", c_uint32), ("routines_per_wait", c_uint32)),
    )


class ErrorCount(Structure):
    """`struct error_count`."""

    _fields_ = (("count", c_uint64), ("code", c_int32))


class ServeCounters(Structure):
    """`struct serve_counters`."""

    _fields_ = (
        ("connections_accepted", c_uint64),
        ("connections_open_max", c_uint64),
        ("errors_other", c_uint64),
        ("is_serving", c_uint64),
        ("errors", ErrorCount * ERROR_KINDS),
    )


def unavailable_reason() -> str | None:
    """Why no server in C can run here, and the cure; None where they can."""
    if not os.path.exists(LIBRARY):  # noqa: PTH110
        return f"{NAME} isn't built: run python build_native.py"
    try:
        ctypes.CDLL(LIBRARY)
    except OSError as error:
        return f"{NAME} can't be loaded ({error}): run python build_native.py"
    return None


def bind(model: str) -> Serve:
    """`serve_<model>`, called as a model in Python is: where it returns a code, this raises OSError."""
    function = getattr(ctypes.CDLL(LIBRARY, use_errno=True), f"serve_{model}")
    function.restype = c_int
    function.argtypes = (SOCKET, SOCKET, POINTER(ServeOptions), POINTER(ServeCounters))

    def serve(listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
        serve_options = ServeOptions(
            buffer_bytes=options.buffer_bytes,
            accepts_per_wait=getattr(options, "accepts_per_wait", 0),
            edge_triggered=getattr(options, "trigger", None) == "edge",
            exclusive=getattr(options, "exclusive", False),
            setup=SETUPS.index(getattr(options, "setup", "plain")),
            multishot=getattr(options, "multishot", False),
            raw_fd_set=getattr(options, "fd_set", None) == "raw",
            accept=ACCEPTS.index(getattr(options, "accept", "thread")),
            accept_poll_ms=getattr(options, "accept_poll_ms", 0),
            port_threads=getattr(options, "threads", 1),
            concurrency=getattr(options, "concurrency", 1),
            batch=getattr(options, "batch", 1),
            skip_on_success=getattr(options, "skip_on_success", False),
            zero_byte_receive=getattr(options, "zero_byte_receive", False),
            routines_per_wait=getattr(options, "routines_per_wait", 0),
        )
        serve_counters = ServeCounters()
        counters.is_serving = lambda: bool(serve_counters.is_serving)  # type: ignore[method-assign]
        code = function(listener.fileno(), stop.fileno(), serve_options, serve_counters)
        take(serve_counters, counters)
        if code:
            raise _error(code)

    return serve


def take(serve_counters: ServeCounters, counters: Counters) -> None:
    """Put what a server in C has counted into `counters`, errors under the names that Python gives them."""
    counters.connections_accepted = serve_counters.connections_accepted
    counters.connections_open_max = serve_counters.connections_open_max
    for error in serve_counters.errors:
        if error.count:
            counters.failed_times(OWN_CODES.get(error.code) or _symbol(error.code), error.count)
    if serve_counters.errors_other:
        counters.failed_times("other", serve_counters.errors_other)


def _symbol(code: int) -> str:
    """The system's name for `code`."""
    if sys.platform == "win32":
        from servers.ffi import win32

        return win32.symbol(code)
    return errno.errorcode.get(code, str(code))


def _error(code: int) -> OSError:
    """What `code` stands for."""
    if sys.platform == "win32":
        from servers.ffi import win32

        return win32.error(code)
    return OSError(code, os.strerror(code))
