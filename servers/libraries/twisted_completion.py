"""Twisted's reactor at a completion port: overlapped receives and sends, AcceptEx. Windows.

As Twisted's Port does, this has one AcceptEx in flight. The Port itself would log what fails and count
nothing, and stop accepting after the first connection that is reset before SO_UPDATE_ACCEPT_CONTEXT.
"""

import errno
import re
import socket
import struct
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.iocpreactor import iocpsupport, tcp
from twisted.python.failure import Failure

from servers.contract import Counters, Options
from servers.ffi import win32
from servers.libraries.twisted_echo import Connections, Echo
from servers.listener import PAUSE_S, with_options
from servers.stop import Stop

NOBODY = IPv4Address("TCP", "", 0)  # the peer's address, which a transport wants for its log alone
CODE = re.compile(r"\((\d+)\)$")  # "read error -- WSAECONNABORTED (10053)"


def start(listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
    """Have the reactor, when it runs, echo on every connection of `listener` until `stop` is readable."""
    connections = Connections(counters)
    Transport.readBufferSize = Transport.writeBufferSize = options.buffer_bytes

    _Stopping(stop.as_socket, connections.stop).start()
    _Accepting(listener, connections).start()


def system_error(code: int) -> OSError:
    """The failure that a completion reports as `code`, as Winsock calls it."""
    return win32.error(errno.ECONNRESET if code == win32.Error.ERROR_NETNAME_DELETED else code)


class Transport(tcp.Server):  # type: ignore[misc]
    """Twisted's, with one buffer for a read where that has up to sixteen."""

    dynamicReadBuffers = False  # noqa: N815 - Twisted's name

    def system_error(self, reason: Failure) -> BaseException:
        """What ended it: the system's own failure, whose code is in the text of Twisted's."""
        found = CODE.search(str(reason.value.args[0])) if reason.value.args else None
        return system_error(int(found[1])) if found else reason.value


class _Waiting:
    """An operation at the reactor's port that isn't a connection's: what the reactor asks of its owner."""

    def __init__(self, waited_for: socket.socket) -> None:
        self.socket = waited_for
        self.getFileHandle = waited_for.fileno
        reactor.registerHandle(waited_for.fileno())

    def logPrefix(self) -> str:  # noqa: N802 - Twisted's name
        """Nothing is logged of it."""
        return "-"


class _Stopping(_Waiting):
    """Receives from the stop, which then has become readable."""

    def __init__(self, stop: socket.socket, end: Callable[[], None]) -> None:
        super().__init__(stop)
        self.end = end

    def start(self) -> None:
        """Start the receive."""
        iocpsupport.recv(self.socket.fileno(), [bytearray(1)], iocpsupport.Event(self.done, self))

    def done(self, *_: object) -> None:
        """It has completed."""
        self.end()


class _Accepting(_Waiting):
    """One AcceptEx after the other."""

    def __init__(self, listener: socket.socket, connections: Connections) -> None:
        super().__init__(listener)
        self.connections = connections
        self.addresses_bytes = 2 * (
            iocpsupport.maxAddrLen(listener.fileno()) + win32.RELATION_EXTRA_ADDRESS_BYTES
        )

    def start(self) -> None:
        """Start an AcceptEx; where that fails, after a moment again."""
        addresses = bytearray(self.addresses_bytes)
        try:
            connection = reactor.createSocket(self.socket.family, self.socket.type)
            event = iocpsupport.Event(self.done, self, connection=connection)
            code = iocpsupport.accept(self.socket.fileno(), connection.fileno(), addresses, event)
            if code:
                raise system_error(code)
        except OSError as failure:
            self.connections.counters.failed(failure)
            reactor.callLater(PAUSE_S, self.start)

    def done(self, code: int, _bytes: int, event: Any) -> None:
        """One has completed: serve the connection, and accept the next."""
        try:
            self.open(code, event.connection)
        except Exception as failure:  # noqa: BLE001 - one that was reset, say: it costs itself alone
            self.connections.counters.failed(failure)
            event.connection.close()
        self.start()

    def open(self, code: int, connection: socket.socket) -> None:
        """Serve `connection`, where `code` doesn't say that it failed. Raises OSError."""
        if code:
            raise system_error(code)
        listener = struct.pack("P", self.socket.fileno())
        connection.setsockopt(win32.SOL_SOCKET, win32.SO_UPDATE_ACCEPT_CONTEXT, listener)
        echo = Echo(self.connections)
        transport = Transport(
            with_options(connection), echo, NOBODY, NOBODY, self.connections.open_count, reactor
        )
        echo.makeConnection(transport)
