"""What a model gets and gives back: the contract between one server process and any way of doing I/O.

A model is a module with three functions:

- `unavailable_reason(options) -> str | None`: why it can't run here, and the cure; None where it can.
- `connections_max(options) -> int | None`: how many connections it can carry; None where only memory and
  descriptors limit it.
- `serve(listener, stop, options, counters)`: echo on every connection of `listener` until `stop` becomes
  readable. A connection's failure costs that connection alone and is counted; a failed accept neither ends
  nor spins it.

One that stands on a library has a fourth: `prepare(options)` imports it, before the server says `ready`. One
whose `serve` may fail for want of something has `cure(error)`, which says what helps, or None.
"""

import errno
import sys
from _thread import allocate_lock  # threading takes 2 ms to import, and few models need it


class Options:
    """Effective values of the options: those of every model, and those that a model declares in the registry.

    An attribute that the running model doesn't declare doesn't exist.
    """

    model: str
    implementation: str
    host: str
    port: int
    cpus: frozenset[int] | None
    buffer_bytes: int
    backlog: int
    processes: int
    listeners: str
    listener: str | None  # of a process that was given one
    accepts_per_wait: int
    accept: str
    accept_poll_ms: int
    backend: str
    batch: int
    concurrency: int
    exclusive: bool
    fd_set: str
    loop: str
    multishot: bool
    reactor: str
    routines_per_wait: int
    setup: str
    skip_on_success: bool
    threads: int
    trigger: str
    zero_byte_receive: bool

    def __init__(self, **values: object) -> None:
        vars(self).update(values)


class Counters:
    """What happened while a server ran; it becomes the `stopped` line."""

    def __init__(self) -> None:
        self.connections_accepted = 0
        self.connections_open_max = 0
        self.errors: dict[str, int] = {}
        self._is_serving = False
        self._errors_lock = allocate_lock()

    def accepted(self, open_count: int) -> None:
        """Count a connection, with which `open_count` are open. Only the thread that accepts calls it."""
        self.connections_accepted += 1
        self.connections_open_max = max(self.connections_open_max, open_count)

    def serving(self) -> None:
        """An event loop has all it needs and is about to wait: one of several isn't ready before.

        The others would accept meanwhile, and leave it no descriptor.
        """
        self._is_serving = True

    def is_serving(self) -> bool:
        """Whether `serving` was called."""
        return self._is_serving

    def add(self, other: "Counters") -> None:
        """Add what another event loop has counted. Its most connections may have been at another time."""
        self.connections_accepted += other.connections_accepted
        self.connections_open_max += other.connections_open_max
        for name, count in other.errors.items():
            self.failed_times(name, count)

    def failed(self, error: BaseException) -> None:
        """Count a failure under the system's own name for it, or the exception's. From any thread."""
        self.failed_times(error_name(error), 1)

    def failed_times(self, name: str, count: int) -> None:
        """Count `count` failures called `name`."""
        with self._errors_lock:
            self.errors[name] = self.errors.get(name, 0) + count


def error_name(error: BaseException) -> str:
    """`ECONNRESET` and the like for what the system reported, the class's name for everything else.

    On Windows they are its own names: `WSAECONNRESET`, `ERROR_NETNAME_DELETED`.
    """
    if sys.platform == "win32" and isinstance(error, OSError):
        from servers.ffi import win32  # ctypes costs time and memory: only a failure pays

        # asyncio makes a reset out of ERROR_NETNAME_DELETED, and leaves the code behind.
        reset = errno.ECONNRESET if isinstance(error, ConnectionResetError) and error.errno else None
        if code := reset or error.winerror or error.errno:
            return win32.symbol(code)
    code = error.errno if isinstance(error, OSError) else None
    return errno.errorcode.get(code, type(error).__name__) if code is not None else type(error).__name__
