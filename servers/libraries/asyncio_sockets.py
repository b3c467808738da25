"""asyncio, sockets: a coroutine for each connection that awaits the loop's own calls. Every system.

The event loop is asyncio's own (on Windows there are two), uvloop or winloop.

The lowest of asyncio's three levels: no transport, no stream and no buffer stand between; a coroutine awaits
`sock_recv` and `sock_sendall`. Each tries the call at once and has the loop watch the socket only where
nothing is there. A transport's socket is watched all the time; here a request costs a receive that finds
nothing, and two calls that begin and end the watching. A peer that always has something to say never lets
the loop go on to others.

Source: "Working with socket objects directly" in the asyncio reference.
"""

import asyncio
import contextlib
import socket

from servers.contract import Counters, Options
from servers.libraries import asyncio_loop
from servers.libraries.asyncio_loop import Connections, connections_max, unavailable_reason
from servers.stop import Stop

__all__ = ["connections_max", "serve", "unavailable_reason"]


def serve(listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
    """Echo on every connection of `listener` until `stop` becomes readable."""

    async def begin(connections: Connections, connection: socket.socket) -> None:
        connection.setblocking(False)
        Echo(connections, connection, options.buffer_bytes)

    asyncio_loop.serve(begin, listener, stop, options, counters)


class Echo:
    """One connection, and the task that serves it."""

    def __init__(self, connections: Connections, connection: socket.socket, buffer_bytes: int) -> None:
        self._connections, self._connection, self._buffer_bytes = connections, connection, buffer_bytes
        connections.opened(self)
        self._task = asyncio.get_running_loop().create_task(self._run())

    def abort(self) -> None:
        """Close the connection in the loop's next turn."""
        self._task.cancel()

    async def _run(self) -> None:
        failure = None
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await self._echo()
        except Exception as error:  # noqa: BLE001 - a task's exception would be logged, and count nothing
            failure = error
        finally:
            self._connection.close()
            self._connections.closed(self, failure)

    async def _echo(self) -> None:
        loop, connection, buffer_bytes = asyncio.get_running_loop(), self._connection, self._buffer_bytes
        while data := await loop.sock_recv(connection, buffer_bytes):
            await loop.sock_sendall(connection, data)
