"""The standard library's `selectors`, with the best way to wait that it finds. Every system.

On Linux that is epoll, on Windows select with its limit of 512 sockets. What it adds is the price of one
interface for all: for each event a lookup in a dict and a tuple of key and events, in Python.

Source: selectors in the Python reference.
"""

import selectors
import socket
from collections.abc import Iterable

from servers.contract import Counters, Options
from servers.readiness import fd_set, loop
from servers.stop import Stop

BESIDE_CONNECTIONS = 2  # the listener and the stop


def unavailable_reason(_options: Options) -> str | None:
    """Why this model can't run here, and the cure; None where it can."""
    return None


def connections_max(_options: Options) -> int | None:
    """How many connections it can carry: as many as there are descriptors, on Windows as select."""
    is_limited = issubclass(selectors.DefaultSelector, selectors.SelectSelector)
    return fd_set.room(beside=BESIDE_CONNECTIONS) if is_limited else None


def serve(listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
    """Echo on every connection of `listener` until `stop` becomes readable."""
    with selectors.DefaultSelector() as selector:
        loop.serve(Poller(selector), listener, stop, options, counters)


class Poller(loop.Poller):
    """A selector, which names a socket by what it was registered with: here its descriptor."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._limited = isinstance(selector, selectors.SelectSelector)

    def watch_read(self, fd: int) -> None:
        """Report `fd` when it has something to take. Raises FdSetsizeExceeded."""
        self._watch(fd, selectors.EVENT_READ)

    def watch_write(self, fd: int) -> None:
        """Report `fd` when it takes bytes again."""
        self._watch(fd, selectors.EVENT_WRITE)

    def forget(self, fd: int) -> None:
        """Stop reporting `fd`."""
        self._selector.unregister(fd)

    def wait(self) -> Iterable[tuple[int, object]]:
        """Block until a watched socket is ready."""
        return [(key.fd, events) for key, events in self._selector.select()]

    def _watch(self, fd: int, events: int) -> None:
        if fd in self._selector.get_map():
            self._selector.modify(fd, events)
        else:
            if self._limited:
                fd_set.check(fd, len(self._selector.get_map()))
            self._selector.register(fd, events)
