"""poll. Linux and other Unix systems.

As select, every wait passes in all watched sockets and searches all answers, so idle connections cost time;
but it passes an array instead of a bitmap, so nothing limits the number of a descriptor. Python keeps that
array from wait to wait and fills it anew after a change.

Source: poll(2).
"""

import select
import socket
from collections.abc import Iterable

from servers.contract import Counters, Options
from servers.readiness import loop
from servers.stop import Stop


def unavailable_reason(_options: Options) -> str | None:
    """Why this model can't run here, and the cure; None where it can."""
    return None if hasattr(select, "poll") else "poll belongs to Unix systems: run it there"


def connections_max(_options: Options) -> int | None:
    """How many connections it can carry: as many as there are descriptors."""
    return None


def serve(listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
    """Echo on every connection of `listener` until `stop` becomes readable."""
    loop.serve(Poller(), listener, stop, options, counters)


class Poller(loop.Poller):
    """Python's array of watched sockets."""

    def __init__(self) -> None:
        self._poll = select.poll()

    def watch_read(self, fd: int) -> None:
        """Report `fd` when it has something to take."""
        self._poll.register(fd, select.POLLIN)

    def watch_write(self, fd: int) -> None:
        """Report `fd` when it takes bytes again."""
        self._poll.register(fd, select.POLLOUT)

    def forget(self, fd: int) -> None:
        """Stop reporting `fd`."""
        self._poll.unregister(fd)

    def wait(self) -> Iterable[tuple[int, object]]:
        """Block until a watched socket is ready."""
        return self._poll.poll()
