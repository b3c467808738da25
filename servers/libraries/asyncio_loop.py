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
import sys
from collections.abc import Awaitable, Callable
from typing import Protocol

from servers.contract import Counters, Options
from servers.listener import EXHAUSTED, PAUSE_S
from servers.readiness import fd_set
from servers.readiness.fd_set import FdSetsizeExceeded
from servers.stop import Stop

BESIDE_CONNECTIONS = 3  # the listener, the stop, and the loop's own way to be woken
STOP_TIMEOUT_S = 5  # an aborted transport tells its protocol in the loop's next turn


def unavailable_reason(options: Options) -> str | None:
    """Why an asyncio model can't run here, and the cure; None where it can."""
    on_windows = sys.platform == "win32"
    if options.loop in ("proactor", "winloop") and not on_windows:
        return f"{options.loop} belongs to Windows: run it there, or use --loop selector or uvloop"
    if options.loop == "uvloop" and on_windows:
        return "uvloop doesn't run on Windows: use --loop winloop"
    if options.loop == "proactor" and options.processes > 1:
        return "a listener belongs to one completion port: several processes share it with --loop selector"
    if options.loop in ("uvloop", "winloop") and importlib.util.find_spec(options.loop) is None:
        return f"{options.loop} isn't installed: pip install {options.loop}, or uv run --extra libraries"
    return None


def connections_max(options: Options) -> int | None:
    """How many connections it can carry: as many as there are descriptors; by select on Windows fewer."""
    is_limited = options.loop == "selector" and sys.platform == "win32"
    return fd_set.room(beside=BESIDE_CONNECTIONS) if is_limited else None


def serve(begin: "Begin", listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
    """Have `begin` take on each connection of `listener` until `stop` becomes readable."""
    with asyncio.Runner(loop_factory=_loop_factory(options.loop)) as runner:
        runner.run(_serve(begin, listener, stop, Connections(counters, connections_max(options))))


def with_protocol(make_protocol: Callable[["Connections"], asyncio.BaseProtocol]) -> "Begin":
    """The way to begin a connection that a transport and `make_protocol`'s protocol serve."""

    async def begin(connections: "Connections", connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: make_protocol(connections), connection)

    return begin


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name in ("uvloop", "winloop"):
        factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(name).new_event_loop
        return factory
    if sys.platform == "win32" and name == "proactor":
        return asyncio.ProactorEventLoop
    return asyncio.SelectorEventLoop


class Abortable(Protocol):
    """What serves a connection, and closes it at once where it is told to: a transport does."""

    def abort(self) -> None:
        """Close, and drop what isn't sent."""


class Connections:
    """The open connections. Whoever serves one tells when it begins and ends."""

    def __init__(self, counters: Counters, maximum: int | None) -> None:
        self._open: set[Abortable] = set()
        self._counters = counters
        self._maximum = maximum
        self._starting = 0
        self._stopping = False
        self._all_closed = asyncio.Event()

    def take_place(self) -> None:
        """Reserve a place for a connection that is starting. Raises FdSetsizeExceeded where there is none."""
        if self._maximum is not None and len(self._open) + self._starting >= self._maximum:
            raise FdSetsizeExceeded
        self._starting += 1

    def give_place(self) -> None:
        """Let go of the place: the connection has started, or failed to."""
        self._starting -= 1

    def opened(self, one: Abortable) -> None:
        """Keep what serves a connection, to abort it when the server stops."""
        self._open.add(one)
        self._counters.accepted(open_count=len(self._open))

    def closed(self, one: Abortable, error: BaseException | None) -> None:
        """Let go of it; count the error that ended it, if it was one."""
        self._open.discard(one)
        if error is not None:
            self.failed(error)
        if self._stopping and not self._open:
            self._all_closed.set()

    def failed(self, error: BaseException) -> None:
        """Count a connection's failure, unless it is this server's own doing."""
        if not self._stopping:
            self._counters.failed(error)

    async def abort_all(self) -> None:
        """Close all, drop what isn't sent, and wait until those who serve them know."""
        self._stopping = True
        for one in self._open:
            one.abort()
        if self._open:
            await asyncio.wait_for(self._all_closed.wait(), STOP_TIMEOUT_S)


Begin = Callable[[Connections, socket.socket], Awaitable[None]]


async def _serve(
    begin: Begin,
    listener: socket.socket,
    stop: Stop,
    connections: Connections,
) -> None:
    loop = asyncio.get_running_loop()
    # What asyncio would log as an unhandled exception is a connection's failure: counted.
    loop.set_exception_handler(
        lambda _, context: connections.failed(context.get("exception", RuntimeError()))
    )
    listener.setblocking(False)
    accepting = loop.create_task(_accept_all(begin, listener, connections))
    await _stopped(loop, stop)
    accepting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await accepting
    await connections.abort_all()


async def _stopped(loop: asyncio.AbstractEventLoop, stop: Stop) -> None:
    """Wait until `stop` becomes readable."""
    if sys.platform == "win32" and isinstance(loop, asyncio.ProactorEventLoop):  # it has no add_reader
        stop.as_socket.setblocking(False)
        await loop.sock_recv(stop.as_socket, 1)
        return
    stopped = asyncio.Event()
    loop.add_reader(stop, stopped.set)
    await stopped.wait()
    loop.remove_reader(stop)


async def _accept_all(begin: Begin, listener: socket.socket, connections: Connections) -> None:
    loop = asyncio.get_running_loop()
    starting: set[asyncio.Task[None]] = set()  # a loop itself refers to its tasks weakly

    async def start(connection: socket.socket) -> None:
        try:
            connections.take_place()
        except FdSetsizeExceeded as error:
            connections.failed(error)
            connection.close()
            return
        try:
            await begin(connections, connection)
        except Exception as error:  # noqa: BLE001 - a reset before asyncio looked at it, say
            connections.failed(error)
            connection.close()
        finally:
            connections.give_place()

    while True:
        try:
            connection, _ = await loop.sock_accept(listener)
        except OSError as error:
            connections.failed(error)
            await asyncio.sleep(PAUSE_S if error.errno in EXHAUSTED else 0)
            continue
        task = loop.create_task(start(connection))
        starting.add(task)
        task.add_done_callback(starting.discard)
