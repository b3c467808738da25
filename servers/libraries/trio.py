"""trio: a task for each connection, in a nursery. Every system.

Structured concurrency: the server is one nursery, and leaves it when every connection's task has ended. On
Linux trio waits by epoll, on Windows by a completion port, where it asks for readiness as well (AFD); under
Wine it doesn't start. Each call is a checkpoint, so a task that always has something to do can't keep the
others waiting, and that is paid for with every request.

Source: trio's reference, "I/O in Trio" and "trio.SocketStream".
"""

import importlib
import importlib.util
import signal
import socket
import sys
from typing import TYPE_CHECKING

from servers.contract import Counters, Options
from servers.listener import EXHAUSTED, PAUSE_S
from servers.stop import Stop

if TYPE_CHECKING:
    import trio

NO_WAY_TO_WAIT = "trio asks for SIO_BSP_HANDLE_SELECT, which Wine doesn't know: run it on Windows or Linux"


def unavailable_reason(_options: Options) -> str | None:
    """Why this model can't run here, and the cure; None where it can."""
    if importlib.util.find_spec("trio") is None:
        return "trio isn't installed: pip install trio, or uv run --extra libraries"
    return None if _finds_its_way_to_wait() else NO_WAY_TO_WAIT


def _finds_its_way_to_wait() -> bool:
    """Whether the system answers what trio asks it first."""
    if sys.platform != "win32":
        return True
    from servers.ffi import win32

    with socket.socket() as any_socket:
        try:
            win32.select_handle(any_socket.fileno())
        except OSError:
            return False
    return True


def connections_max(_options: Options) -> int | None:
    """How many connections it can carry: as many as there are descriptors."""
    return None


def prepare(_options: Options) -> None:
    """Import it: that takes 0.1 s, which the first clients would wait for."""
    importlib.import_module("trio")


def serve(listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
    """Echo on every connection of `listener` until `stop` becomes readable."""
    import trio

    server = _Server(options.buffer_bytes, counters)

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.accept_all, trio.socket.from_stdlib_socket(listener), nursery)
            await trio.lowlevel.wait_readable(stop)
            nursery.cancel_scope.cancel()

    signal.set_wakeup_fd(-1)  # trio has its own, and warns of another's; the stop's handlers work without
    trio.run(run)


class _Server:
    """The connections' tasks."""

    def __init__(self, buffer_bytes: int, counters: Counters) -> None:
        self.buffer_bytes, self.counters = buffer_bytes, counters
        self.open_count = 0

    async def accept_all(self, listener: "trio.socket.SocketType", nursery: "trio.Nursery") -> None:
        """Start a task for each connection. trio's own loop would log what fails, and count nothing."""
        import trio

        while True:
            try:
                connection, _ = await listener.accept()
                stream = trio.SocketStream(connection)
            except OSError as error:
                self.counters.failed(error)
                await trio.sleep(PAUSE_S if error.errno in EXHAUSTED else 0)
                continue
            self.open_count += 1
            self.counters.accepted(self.open_count)
            nursery.start_soon(self.echo, stream)

    async def echo(self, stream: "trio.SocketStream") -> None:
        """Send back what comes until the peer has ended."""
        async with stream:  # whose end is a checkpoint: what went wrong is counted before others have a turn
            try:
                while data := await stream.receive_some(self.buffer_bytes):
                    await stream.send_all(data)
            except Exception as error:  # noqa: BLE001 - one connection's fault must not end the server
                self.counters.failed(error.__cause__ or error)  # behind trio's is the system's
            finally:
                self.open_count -= 1
