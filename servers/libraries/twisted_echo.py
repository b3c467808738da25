"""What both kinds of Twisted's reactors share: the protocol that echoes, and which connections are open."""

from twisted.internet import error, reactor
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from servers.contract import Counters


class Connections:
    """How many are open, and whether the reactor is closing them."""

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self.open_count = 0
        self.is_stopping = False

    def opened(self) -> None:
        """Count a connection."""
        self.open_count += 1
        self.counters.accepted(self.open_count)

    def closed(self, failure: BaseException | None) -> None:
        """Count its end, and the failure that ended it, unless that is this server's own doing."""
        self.open_count -= 1
        if failure is not None and not self.is_stopping:
            self.counters.failed(failure)

    def stop(self) -> None:
        """Have the reactor close them all and end. It may see more than once that it is to."""
        if not self.is_stopping:
            self.is_stopping = True
            reactor.stop()


@implementer(IHalfCloseableProtocol)  # others lose what is unsent when the peer has ended
class Echo(Protocol):  # type: ignore[misc]
    """One connection. Its transport is one of those here, which know what the system said."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name, as the others
        """The transport is there. It is its own producer: it reads no more while it has too much unsent."""
        self._connections.opened()
        self.transport.registerProducer(self.transport, streaming=True)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Send it back; the transport keeps what the peer doesn't take yet."""
        self.transport.write(data)

    def readConnectionLost(self) -> None:  # noqa: N802
        """The peer has ended: close once everything is sent, for which no producer may be left."""
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:  # noqa: N802
        """Never so: nobody closes this side alone."""

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """It is over, in order or by a failure."""
        in_order = reason.check(error.ConnectionDone)
        self._connections.closed(None if in_order else self.transport.system_error(reason))
