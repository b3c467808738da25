"""Tornado: a coroutine for each connection, on an IOStream. Every system.

Older than asyncio and by now a layer on its event loop; its streams read into and write from buffers of their
own.

Source: Tornado's documentation, "tornado.iostream".
"""

import asyncio
import importlib
import importlib.util
import socket
import sys
from typing import TYPE_CHECKING

from servers.contract import Counters, Options
from servers.libraries.asyncio_loop import BESIDE_CONNECTIONS, STOP_TIMEOUT_S
from servers.listener import accept_those_there
from servers.readiness import fd_set
from servers.stop import Stop

if TYPE_CHECKING:
    from tornado.iostream import IOStream


def unavailable_reason(_options: Options) -> str | None:
    """Why this model can't run here, and the cure; None where it can."""
    return (
        None
        if importlib.util.find_spec("tornado")
        else "tornado isn't installed: pip install tornado, or uv run --extra libraries"
    )


def connections_max(_options: Options) -> int | None:
    """How many connections it can carry: on Windows what select has room for."""
    return fd_set.room(beside=BESIDE_CONNECTIONS) if sys.platform == "win32" else None


def prepare(_options: Options) -> None:
    """Import it: that takes a while, which the first clients would wait for."""
    importlib.import_module("tornado.iostream")


def serve(listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
    """Echo on every connection of `listener` until `stop` becomes readable."""
    listener.setblocking(False)
    server = _Server(listener, stop, options, counters)
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(server.run())


class _Server:
    """The connections' streams and tasks."""

    def __init__(self, listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
        self.listener, self.stop, self.counters = listener, stop, counters
        self.buffer_bytes = options.buffer_bytes
        self.maximum = connections_max(options)
        self.streams: set[IOStream] = set()
        self.tasks: set[asyncio.Task[None]] = set()  # a loop itself refers to its tasks weakly

    async def run(self) -> None:
        """Serve until the stop."""
        from tornado.ioloop import IOLoop

        loop, stopped = IOLoop.current(), asyncio.Event()
        loop.add_handler(self.stop.fileno(), lambda *_: stopped.set(), IOLoop.READ)
        loop.add_handler(self.listener.fileno(), lambda *_: self.accept_all(), IOLoop.READ)
        await stopped.wait()
        loop.remove_handler(self.listener.fileno())
        loop.remove_handler(self.stop.fileno())
        for stream in list(self.streams):
            stream.close()  # which ends its task
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=STOP_TIMEOUT_S)

    def accept_all(self) -> None:
        """Start a task for each connection. Tornado's own handler would raise what fails."""
        from tornado.iostream import IOStream

        for connection in accept_those_there(self.listener, self.stop, self.counters, 0):
            if self.maximum is not None and len(self.streams) >= self.maximum:
                self.counters.failed(fd_set.FdSetsizeExceeded())
                connection.close()
                continue
            stream = IOStream(connection)
            self.streams.add(stream)
            self.counters.accepted(len(self.streams))
            task = asyncio.get_running_loop().create_task(self.echo(stream))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def echo(self, stream: "IOStream") -> None:
        """Send back what comes until the peer has ended."""
        from tornado.iostream import StreamClosedError

        try:
            while True:
                await stream.write(await stream.read_bytes(self.buffer_bytes, partial=True))
        except StreamClosedError as error:
            if error.real_error is not None:  # otherwise it was the end of the stream
                self.counters.failed(error.real_error)
        except Exception as error:  # noqa: BLE001 - one connection's fault must not end the server
            self.counters.failed(error)
        finally:
            self.streams.discard(stream)
            stream.close()
