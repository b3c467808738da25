"""select. Every system.

The oldest way, and the costliest in sockets that are idle: at each wait every watched socket is written into
a bitmap, copied into the kernel, examined there, copied back and searched. And the bitmap has a fixed size:
on Linux no descriptor from FD_SETSIZE up can be watched, however few connections there are. A connection that
gets such a descriptor is closed at once, and counted.

Source: select(2); FD_SETSIZE is part of the C library's interface, so Python can't raise it.
"""

import itertools
import os
import select
import socket
from collections.abc import Iterable

from servers.contract import Counters, Options
from servers.readiness import loop
from servers.stop import Stop

FD_SETSIZE = 1024


class FdSetsizeExceeded(Exception):  # noqa: N818 - its name is what it is counted under
    """A descriptor that doesn't fit into the bitmap."""


def unavailable_reason(_options: Options) -> str | None:
    """Why this model can't run here, and the cure; None where it can."""
    return None


def connections_max(_options: Options) -> int | None:
    """How many connections it can carry: the descriptors below FD_SETSIZE that aren't taken yet."""
    return FD_SETSIZE - sum(_is_open(fd) for fd in range(FD_SETSIZE))


def serve(listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
    """Echo on every connection of `listener` until `stop` becomes readable."""
    loop.serve(Poller(), listener, stop, options, counters)


class Poller(loop.Poller):
    """The sockets to watch, passed in again at each wait."""

    def __init__(self) -> None:
        self._readers: set[int] = set()
        self._writers: set[int] = set()

    def watch_read(self, fd: int) -> None:
        """Report `fd` when it has something to take. Raises FdSetsizeExceeded."""
        if fd >= FD_SETSIZE:
            raise FdSetsizeExceeded
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


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
