"""The echo server that every readiness model shares: only the way to wait differs between them.

Readiness: the system says which sockets *can* be read or written, and this thread then does the I/O. select,
poll, epoll and the selectors module each give a `Poller`; whatever else could differ between them (how a
connection is accepted, read, answered and closed) is here once, so a difference that is measured is a
difference in waiting. `loop.h` is its twin in C, with the same names.
"""

import socket
from abc import ABC, abstractmethod
from collections.abc import Iterable

from servers.contract import Counters, Options
from servers.listener import accept_those_there
from servers.stop import Stop

READS_PER_EDGE = 16  # a peer that never stops sending would otherwise keep the thread for itself


class Poller(ABC):
    """One way to wait for many sockets. Sockets are named by file descriptor."""

    edge_triggered = False  # reports a socket once when it gets ready, instead of as long as it is

    @abstractmethod
    def watch_read(self, fd: int) -> None:
        """Report `fd` when it has bytes, a connection or an end of stream to take.

        Of one that is watched already, an edge-triggered poller reports once more what is there.
        """

    @abstractmethod
    def watch_write(self, fd: int) -> None:
        """Report `fd` when it takes bytes again, and no longer when it has some."""

    @abstractmethod
    def forget(self, fd: int) -> None:
        """Stop reporting `fd`. Called before it is closed."""

    @abstractmethod
    def wait(self) -> Iterable[tuple[int, object]]:
        """Block until a watched socket is ready; return all that are, each once, and what the system adds."""


def serve(poller: Poller, listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
    """Echo on every connection of `listener` until `stop` becomes readable."""
    server = _Server(poller, listener, stop, options, counters)
    connections, listener_fd, stop_fd = server.connections, listener.fileno(), stop.fileno()
    echo = server.echo_all if poller.edge_triggered else server.echo
    listener.setblocking(False)
    poller.watch_read(stop_fd)
    poller.watch_read(listener_fd)
    wait = poller.wait
    counters.serving()
    while True:
        for fd, _ in wait():
            connection = connections.get(fd)
            if connection is not None:
                try:
                    echo(fd, connection)
                except BlockingIOError:  # drained; or nothing there after all, as select(2) warns
                    pass
                except Exception as error:  # noqa: BLE001 - one connection's fault must not end the server
                    counters.failed(error)
                    server.close(fd)
            elif fd == listener_fd:
                server.accept_all()
            elif fd == stop_fd:
                server.close_all()
                return


class _Server:
    """What a server knows of its connections, and what it does when one is ready."""

    __slots__ = (
        "accepts_per_wait",
        "buffer_bytes",
        "connections",
        "counters",
        "listener",
        "poller",
        "stop",
        "unsent",
    )

    def __init__(
        self,
        poller: Poller,
        listener: socket.socket,
        stop: Stop,
        options: Options,
        counters: Counters,
    ) -> None:
        self.poller, self.listener, self.stop, self.counters = poller, listener, stop, counters
        self.buffer_bytes = options.buffer_bytes
        self.accepts_per_wait = options.accepts_per_wait
        self.connections: dict[int, socket.socket] = {}
        self.unsent: dict[int, memoryview] = {}  # what a slow reader hasn't taken yet; empty in a ping-pong

    def accept_all(self) -> None:
        for connection in accept_those_there(self.listener, self.stop, self.counters, self.accepts_per_wait):
            self.open(connection)
        if self.poller.edge_triggered:
            self.poller.watch_read(self.listener.fileno())

    def open(self, connection: socket.socket) -> None:
        fd = connection.fileno()
        try:
            connection.setblocking(False)
            self.poller.watch_read(fd)
        except Exception as error:  # noqa: BLE001 - one that can't be watched costs itself alone
            self.counters.failed(error)
            connection.close()
            return
        self.connections[fd] = connection
        self.counters.accepted(open_count=len(self.connections))

    def close(self, fd: int) -> None:
        self.unsent.pop(fd, None)
        self.poller.forget(fd)
        self.connections.pop(fd).close()

    def close_all(self) -> None:
        for connection in self.connections.values():
            connection.close()

    def echo(self, fd: int, connection: socket.socket) -> bool:
        """Read once and send it back; return whether there may be more to read. Raises OSError."""
        if fd in self.unsent:
            return self.send_unsent(fd, connection)
        data = connection.recv(self.buffer_bytes)
        if not data:
            self.close(fd)
            return False
        try:
            sent = connection.send(data)
        except BlockingIOError:  # Winsock takes all or nothing, so a slow reader often gets here
            sent = 0
        if sent < len(data):  # read no more until the peer has taken this: memory stays bounded
            self.unsent[fd] = memoryview(data)[sent:]
            self.poller.watch_write(fd)
            return False
        return True

    def echo_all(self, fd: int, connection: socket.socket) -> bool:
        """Read until nothing is there, as an edge wants it, or for long enough."""
        for _ in range(READS_PER_EDGE):
            if not self.echo(fd, connection):
                return False
        self.poller.watch_read(fd)
        return True

    def send_unsent(self, fd: int, connection: socket.socket) -> bool:
        rest = self.unsent[fd]
        try:
            sent = connection.send(rest)
        except BlockingIOError:
            return False
        if sent < len(rest):
            self.unsent[fd] = rest[sent:]
        else:
            del self.unsent[fd]
            self.poller.watch_read(fd)
        return False
