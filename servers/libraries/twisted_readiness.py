"""Twisted's reactors that wait for sockets: epoll, poll, select, and the one on asyncio.

Connections are accepted here and not by Twisted's Port: that closes what it accepts while the process has no
descriptors left, and counts nothing.
"""

import errno
import os
import socket
from collections.abc import Callable

from twisted.internet import error, reactor, tcp
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.main import CONNECTION_LOST
from twisted.python.failure import Failure
from twisted.python.util import untilConcludes
from zope.interface import implementer

from servers.contract import Counters, Options
from servers.libraries.twisted import BESIDE_CONNECTIONS, connections_max
from servers.libraries.twisted_echo import Connections, Echo
from servers.listener import accept_those_there
from servers.readiness import fd_set
from servers.stop import Stop

NOBODY = ("", 0)  # the peer's address, which a transport wants for its log alone


def start(listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
    """Have the reactor, when it runs, echo on every connection of `listener` until `stop` is readable."""
    connections = Connections(counters)
    has_fd_set = connections_max(options) is not None
    Transport.bufferSize = options.buffer_bytes
    listener.setblocking(False)

    def accept_all() -> None:
        for connection in accept_those_there(listener, stop, counters, 0):
            try:
                if has_fd_set:
                    fd_set.check(connection.fileno(), connections.open_count + BESIDE_CONNECTIONS)
                echo = Echo(connections)
                transport = Transport(connection, echo, NOBODY, None, connections.open_count, reactor)
            except Exception as failure:  # noqa: BLE001 - one that can't be watched costs itself alone
                counters.failed(failure)
                connection.close()
                continue
            echo.makeConnection(transport)

    reactor.addReader(Watched(listener, accept_all))
    reactor.addReader(Watched(stop, connections.stop))


class Transport(tcp.Server):  # type: ignore[misc]
    """Twisted's, and it keeps what the system said: Twisted makes a ConnectionLost of it that doesn't tell.

    The two methods do what Twisted's do, at the same cost.
    """

    repstr = "Transport"  # Twisted's own says which Port made it
    failure: OSError | None = None

    def doRead(self) -> Exception | None:  # noqa: N802 - Twisted's name, as the others
        """Read once; return what ends the connection."""
        try:
            data = self.socket.recv(self.bufferSize)
        except BlockingIOError:
            return None
        except OSError as failure:
            self.failure = failure
            return CONNECTION_LOST  # type: ignore[no-any-return]
        return self._dataReceived(data)  # type: ignore[no-any-return]

    def writeSomeData(self, data: bytes) -> int | Exception:  # noqa: N802
        """Send what the system takes; return how much that was, or what ends the connection."""
        try:
            return untilConcludes(self.socket.send, memoryview(data)[: self.SEND_LIMIT])  # type: ignore[no-any-return]
        except BlockingIOError:
            return 0
        except OSError as failure:
            if failure.errno == errno.ENOBUFS:
                return 0
            self.failure = failure
            return CONNECTION_LOST  # type: ignore[no-any-return]

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """Before the socket is gone, ask it: of one that isn't read from, poll alone has said so."""
        if self.failure is None and self.connected and reason.check(error.ConnectionLost):
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self.failure = OSError(code, os.strerror(code)) if code else None
        super().connectionLost(reason)

    def system_error(self, reason: Failure) -> BaseException:
        """What ended it: the system's own failure, Twisted's where it isn't the system's."""
        return self.failure or reason.value


@implementer(IReadDescriptor)
class Watched:
    """What the reactor is to watch that isn't a connection, and what to do when it becomes readable."""

    def __init__(self, watched: socket.socket | Stop, act: Callable[[], None]) -> None:
        self.fileno, self.doRead = watched.fileno, act

    def connectionLost(self, _reason: Failure) -> None:  # noqa: N802
        """The reactor has ended; who made it closes it."""

    def logPrefix(self) -> str:  # noqa: N802
        """Nothing is logged of it."""
        return "-"
