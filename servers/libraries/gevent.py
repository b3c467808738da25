"""gevent: a greenlet for each connection, which seems to block in recv and send. Linux and Windows.

The code of a thread for each connection, without the threads: a call that would block switches to a hub,
which waits for all sockets by libev (epoll) on Linux and libuv on Windows. A greenlet's stack is copied away
when another needs its place, so a connection costs little memory, and a switch costs a copy.

Source: gevent's documentation, "gevent.socket" and "gevent.pool".
"""

import importlib
import importlib.util
import signal
import socket

from servers.contract import Counters, Options
from servers.listener import EXHAUSTED, PAUSE_S
from servers.stop import Stop


def unavailable_reason(_options: Options) -> str | None:
    """Why this model can't run here, and the cure; None where it can."""
    return (
        None
        if importlib.util.find_spec("gevent")
        else "gevent isn't installed: pip install gevent, or uv run --extra libraries"
    )


def connections_max(_options: Options) -> int | None:
    """How many connections it can carry: as many as there are descriptors."""
    return None


def prepare(_options: Options) -> None:
    """Import it: that takes a while, which the first clients would wait for."""
    for name in ("gevent.pool", "gevent.socket"):
        importlib.import_module(name)


def serve(listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
    """Echo on every connection of `listener` until `stop` becomes readable."""
    import gevent
    import gevent.pool
    import gevent.socket

    connections = gevent.pool.Group()
    is_stopping = False

    def echo(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(options.buffer_bytes):
                    connection.sendall(data)
            except Exception as error:  # noqa: BLE001 - one connection's fault must not end the server
                if not is_stopping:
                    counters.failed(error)

    def accept_all() -> None:
        # gevent's own server would log what fails, and count nothing.
        accepting = gevent.socket.socket(fileno=listener.fileno())
        try:
            while True:
                try:
                    connection, _ = accepting.accept()
                except OSError as error:
                    counters.failed(error)
                    gevent.sleep(PAUSE_S if error.errno in EXHAUSTED else 0)
                    continue
                connections.start(connections.greenlet_class(echo, connection))
                counters.accepted(len(connections))
        finally:
            accepting.detach()

    signal.set_wakeup_fd(-1)  # the hub has its own; the stop's handlers work without
    accepting = gevent.spawn(accept_all)
    gevent.socket.wait_read(stop.fileno())
    is_stopping = True
    accepting.kill()
    connections.kill()
