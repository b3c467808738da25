"""anyio: a task for each connection, in a task group, on asyncio or on trio. Every system.

One interface for two libraries: code that runs on either. On asyncio it brings trio's rules along (cancel
scopes, checkpoints, streams that send all), so it shows what those cost there; on trio it is a thin layer.

Source: anyio's documentation, "Networking" and "Creating and managing tasks".
"""

import importlib
import importlib.util
import signal
import socket
from typing import TYPE_CHECKING

from servers.contract import Counters, Options
from servers.libraries import trio
from servers.listener import accept_those_there
from servers.stop import Stop

if TYPE_CHECKING:
    from anyio.abc import TaskGroup


def unavailable_reason(options: Options) -> str | None:
    """Why this model can't run here, and the cure; None where it can."""
    for name in ("anyio", options.backend):
        if importlib.util.find_spec(name) is None:
            return f"{name} isn't installed: pip install {name}, or uv run --extra libraries"
    return trio.unavailable_reason(options) if options.backend == "trio" else None


def connections_max(_options: Options) -> int | None:
    """How many connections it can carry: as many as there are descriptors."""
    return None


def prepare(options: Options) -> None:
    """Import it: that takes 0.1 s, which the first clients would wait for."""
    for name in ("anyio", "anyio.abc", f"anyio._backends._{options.backend}"):
        importlib.import_module(name)


def serve(listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
    """Echo on every connection of `listener` until `stop` becomes readable."""
    import anyio

    server = _Server(options.buffer_bytes, counters)
    listener.setblocking(False)

    async def run() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(server.accept_all, listener, stop, group)
            await anyio.wait_readable(stop)
            group.cancel_scope.cancel()

    signal.set_wakeup_fd(-1)  # trio has its own, and warns of another's; the stop's handlers work without
    anyio.run(run, backend=options.backend)


class _Server:
    """The connections' tasks."""

    def __init__(self, buffer_bytes: int, counters: Counters) -> None:
        self.buffer_bytes, self.counters = buffer_bytes, counters
        self.open_count = 0

    async def accept_all(self, listener: socket.socket, stop: Stop, group: "TaskGroup") -> None:
        """Start a task for each connection."""
        import anyio

        while True:
            await anyio.wait_readable(listener)
            for connection in accept_those_there(listener, stop, self.counters, 0):
                self.open_count += 1
                self.counters.accepted(self.open_count)
                group.start_soon(self.echo, connection)

    async def echo(self, connection: socket.socket) -> None:
        """Send back what comes until the peer has ended."""
        import anyio
        from anyio.abc import SocketStream

        try:
            stream = await SocketStream.from_socket(connection)
        except Exception as error:  # noqa: BLE001 - it was reset before anyio looked at it, say
            self.failed(error)
            connection.close()
            return
        async with stream:  # whose end is a checkpoint: what went wrong is counted before others have a turn
            try:
                while True:
                    await stream.send(await stream.receive(self.buffer_bytes))
            except anyio.EndOfStream:
                self.open_count -= 1
            except Exception as error:  # noqa: BLE001 - one connection's fault must not end the server
                self.failed(error)

    def failed(self, error: Exception) -> None:
        """A connection is over; count why, by the system's name, which anyio's error has behind it."""
        self.open_count -= 1
        self.counters.failed(error.__cause__ or error)
