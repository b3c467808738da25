"""What the asyncio models share: the event loop, accepting, stopping. How bytes are echoed is theirs.

It accepts in a loop of its own, not with `create_server`, so that every model accepts alike: all connections
that are there at once, and a pause where the system has no descriptors left (create_server's is a second
long).

Source: "Event Loop" in the asyncio reference; "Transports and Protocols" there.
"""

import asyncio
import contextlib
import importlib
import importlib.util
import socket
from collections.abc import Callable

from servers.contract import Counters, Options
from servers.listener import EXHAUSTED, PAUSE_S
from servers.stop import Stop

STOP_TIMEOUT_S = 5  # an aborted transport tells its protocol in the loop's next turn


def unavailable_reason(options: Options) -> str | None:
    """Why an asyncio model can't run here, and the cure; None where it can."""
    if options.loop == "uvloop" and importlib.util.find_spec("uvloop") is None:
        return "uvloop isn't installed: pip install uvloop"
    return None


def serve(
    make_protocol: Callable[["Connections"], asyncio.BaseProtocol],
    listener: socket.socket,
    stop: Stop,
    options: Options,
    counters: Counters,
) -> None:
    """Run `make_protocol`'s protocols on connections of `listener` until `stop` becomes readable."""
    make_loop = asyncio.SelectorEventLoop
    if options.loop == "uvloop":
        make_loop = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(_serve(make_protocol, listener, stop, counters))


class Connections:
    """The open connections. A protocol tells when its own begins and ends."""

    def __init__(self, counters: Counters) -> None:
        self._transports: set[asyncio.WriteTransport] = set()
        self._counters = counters
        self._stopping = False
        self._all_closed = asyncio.Event()

    def opened(self, transport: asyncio.WriteTransport) -> None:
        """Keep `transport`, to close it when the server stops."""
        self._transports.add(transport)
        self._counters.accepted(open_count=len(self._transports))

    def closed(self, transport: asyncio.WriteTransport, error: BaseException | None) -> None:
        """Let go of `transport`; count the error that ended it, if it was one."""
        self._transports.discard(transport)
        if error is not None:
            self.failed(error)
        if self._stopping and not self._transports:
            self._all_closed.set()

    def failed(self, error: BaseException) -> None:
        """Count a connection's failure, unless it is this server's own doing."""
        if not self._stopping:
            self._counters.failed(error)

    async def abort_all(self) -> None:
        """Close all, drop what isn't sent, and wait until their protocols know."""
        self._stopping = True
        for transport in self._transports:
            transport.abort()
        if self._transports:
            await asyncio.wait_for(self._all_closed.wait(), STOP_TIMEOUT_S)


async def _serve(
    make_protocol: Callable[[Connections], asyncio.BaseProtocol],
    listener: socket.socket,
    stop: Stop,
    counters: Counters,
) -> None:
    loop = asyncio.get_running_loop()
    connections = Connections(counters)
    # What asyncio would log as an unhandled exception is a connection's failure: counted.
    loop.set_exception_handler(
        lambda _, context: connections.failed(context.get("exception", RuntimeError()))
    )
    listener.setblocking(False)
    accepting = loop.create_task(_accept_all(make_protocol, listener, connections, counters))
    stopped = asyncio.Event()
    loop.add_reader(stop, stopped.set)
    await stopped.wait()
    loop.remove_reader(stop)
    accepting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await accepting
    await connections.abort_all()


async def _accept_all(
    make_protocol: Callable[[Connections], asyncio.BaseProtocol],
    listener: socket.socket,
    connections: Connections,
    counters: Counters,
) -> None:
    loop = asyncio.get_running_loop()
    starting: set[asyncio.Task[None]] = set()  # a loop itself refers to its tasks weakly

    async def start(connection: socket.socket) -> None:
        try:
            await loop.connect_accepted_socket(lambda: make_protocol(connections), connection)
        except Exception as error:  # noqa: BLE001 - a reset before asyncio looked at it, say
            connections.failed(error)
            connection.close()

    while True:
        try:
            connection, _ = await loop.sock_accept(listener)
        except OSError as error:
            counters.failed(error)
            await asyncio.sleep(PAUSE_S if error.errno in EXHAUSTED else 0)
            continue
        task = loop.create_task(start(connection))
        starting.add(task)
        task.add_done_callback(starting.discard)
