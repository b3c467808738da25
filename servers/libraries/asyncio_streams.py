"""asyncio, streams: a coroutine for each connection. Every system.

The event loop is asyncio's own (on Windows there are two), uvloop or winloop.

The highest of asyncio's three levels, and the one that reads like blocking code. It costs a task for each
connection, and for each request a future, a switch into the task, and a copy through the stream's buffer.

Source: "Streams" in the asyncio reference.
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
    buffer_bytes = options.buffer_bytes

    def make_protocol(connections: Connections) -> asyncio.BaseProtocol:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.opened(writer.transport)
            failure = None
            try:
                while data := await reader.read(buffer_bytes):
                    writer.write(data)
                    await writer.drain()
                writer.close()
                await writer.wait_closed()
            except Exception as error:  # noqa: BLE001 - a task's exception would be logged, and count nothing
                failure = error
                writer.close()
            finally:
                connections.closed(writer.transport, failure)

        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), echo)

    asyncio_loop.serve(asyncio_loop.with_protocol(make_protocol), listener, stop, options, counters)
