"""epoll. Linux.

Two costs set it apart from select and poll: the list of watched sockets lives in the kernel, so it
isn't passed in again at each wait; and a wait returns the ready sockets alone, so nothing is searched.
Level-triggered unless `trigger` says otherwise, because an edge must be drained: one more recv for each
request, only to see EAGAIN. Where several loops share a listener, each connection wakes all of them that
wait, unless they watch it with EPOLLEXCLUSIVE (`exclusive`). `epoll.c` is its twin in C.

Source: epoll(7), epoll_ctl(2).
"""

import select
import socket
from collections.abc import Iterable

from servers.contract import Counters, Options
from servers.readiness import loop
from servers.stop import Stop

EVENTS_PER_WAIT = 1024  # of 1000 ready sockets none waits for a second call


def unavailable_reason(_options: Options) -> str | None:
    """Why this model can't run here, and the cure; None where it can."""
    return None if hasattr(select, "epoll") else "epoll belongs to Linux: run it there"


def connections_max(_options: Options) -> int | None:
    """How many connections it can carry: as many as there are descriptors."""
    return None


def serve(listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
    """Echo on every connection of `listener` until `stop` becomes readable."""
    poller = Poller(
        edge_triggered=options.trigger == "edge", exclusive=listener.fileno() if options.exclusive else None
    )
    loop.serve(poller, listener, stop, options, counters)


class Poller(loop.Poller):
    """The kernel's list of watched sockets."""

    def __init__(self, *, edge_triggered: bool, exclusive: int | None) -> None:
        self.edge_triggered = edge_triggered
        self._trigger = select.EPOLLET if edge_triggered else 0
        self._exclusive = exclusive
        self._epoll = select.epoll()
        self._watched: set[int] = set()

    def watch_read(self, fd: int) -> None:
        """Report `fd` when it has something to take."""
        self._watch(fd, select.EPOLLIN)

    def watch_write(self, fd: int) -> None:
        """Report `fd` when it takes bytes again."""
        self._watch(fd, select.EPOLLOUT)

    def forget(self, fd: int) -> None:
        """Stop reporting `fd`."""
        self._watched.remove(fd)
        self._epoll.unregister(fd)

    def wait(self) -> Iterable[tuple[int, object]]:
        """Block until a watched socket is ready."""
        return self._epoll.poll(-1, EVENTS_PER_WAIT)

    def _watch(self, fd: int, events: int) -> None:
        if fd == self._exclusive:
            if fd in self._watched:  # the kernel modifies none that is exclusive
                self._epoll.unregister(fd)
            self._epoll.register(fd, events | self._trigger | select.EPOLLEXCLUSIVE)
            self._watched.add(fd)
        elif fd in self._watched:
            self._epoll.modify(fd, events | self._trigger)
        else:
            self._epoll.register(fd, events | self._trigger)
            self._watched.add(fd)
