"""select. Every system.

The oldest way, and the costliest in sockets that are idle: at each wait every watched socket is passed in,
copied, examined, copied back and searched. And the set has a fixed size (fd_set.py). On Windows that is only
Python's choice: `fd_set=raw` makes the same system call with sets of its own (raw_select.py), with room for
all. A connection for which there is no room is closed at once, and counted.

Source: select(2); "select function" in the Winsock reference.
"""

import itertools
import select
import socket
import sys
from collections.abc import Iterable

from servers.contract import Counters, Options
from servers.readiness import fd_set, loop
from servers.stop import Stop

BESIDE_CONNECTIONS = 2  # the listener and the stop


def unavailable_reason(options: Options) -> str | None:
    """Why this model can't run here, and the cure; None where it can."""
    if options.fd_set == "raw" and sys.platform != "win32":
        return "a set with room for all is Windows' alone: run it there, or use --fd-set python"
    return None


def connections_max(options: Options) -> int | None:
    """How many connections it can carry: what the set has room for."""
    if options.fd_set == "raw":
        return None
    return fd_set.room(beside=BESIDE_CONNECTIONS)


def serve(listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
    """Echo on every connection of `listener` until `stop` becomes readable."""
    poller: loop.Poller = Poller()
    if options.fd_set == "raw":
        from servers.readiness import raw_select  # ctypes costs time and memory: only who needs it pays

        poller = raw_select.Poller()
    loop.serve(poller, listener, stop, options, counters)


class Poller(loop.Poller):
    """The sockets to watch, passed in again at each wait."""

    def __init__(self) -> None:
        self._readers: set[int] = set()
        self._writers: set[int] = set()

    def watch_read(self, fd: int) -> None:
        """Report `fd` when it has something to take. Raises FdSetsizeExceeded."""
        fd_set.check(fd, len(self._readers) + len(self._writers - {fd}))
        self._writers.discard(fd)
        self._readers.add(fd)

    def watch_write(self, fd: int) -> None:
        """Report `fd` when it takes bytes again."""
        self._readers.discard(fd)
        self._writers.add(fd)

    def forget(self, fd: int) -> None:
        """Stop reporting `fd`."""
        self._readers.discard(fd)
        self._writers.discard(fd)

    def wait(self) -> Iterable[tuple[int, object]]:
        """Block until a watched socket is ready."""
        readable, writable, _ = select.select(self._readers, self._writers, ())
        return zip(readable + writable, itertools.repeat(None))
