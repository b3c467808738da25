"""asyncio, protocol and transport: callbacks. Every system.

The event loop is asyncio's own (on Windows there are two), uvloop or winloop.

The middle of asyncio's three levels: the loop reads and calls `data_received`; no task, no future and no copy
into a stream's buffer stand between. The transport decides how much it reads at once (256 KiB), and
`buffer_bytes` is from how much unsent on no more is read.

Source: "Transports and Protocols" in the asyncio reference.
"""

import asyncio
import socket

from servers.contract import Counters, Options
from servers.libraries import asyncio_loop
from servers.libraries.asyncio_loop import Connections, connections_max, unavailable_reason
from servers.stop import Stop

__all__ = ["connections_max", "serve", "unavailable_reason"]


def serve(listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
    """Echo on every connection of `listener` until `stop` becomes readable."""

    def make_protocol(connections: Connections) -> asyncio.BaseProtocol:
        return Echo(connections, options.buffer_bytes)

    asyncio_loop.serve(asyncio_loop.with_protocol(make_protocol), listener, stop, options, counters)


class Echo(asyncio.Protocol):
    """One connection. Its end of stream closes the transport, which sends what it still has first."""

    transport: asyncio.Transport

    def __init__(self, connections: Connections, unsent_max_bytes: int) -> None:
        self._connections = connections
        self._unsent_max_bytes = unsent_max_bytes

    # A stream's transport, as every loop gives it; uvloop's isn't a subclass that an assertion could find.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The loop serves the connection from now on."""
        self.transport = transport
        transport.set_write_buffer_limits(high=self._unsent_max_bytes)
        self._connections.opened(transport)

    def data_received(self, data: bytes) -> None:
        """Send it back; the transport keeps what the peer doesn't take yet."""
        self.transport.write(data)

    def pause_writing(self) -> None:
        """The peer doesn't read: read no more from it, so that memory stays bounded."""
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """The peer has taken what it was sent."""
        self.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        """It is over, in order or by `error`."""
        self._connections.closed(self.transport, error)
