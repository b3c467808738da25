"""A thread for each connection, which blocks in recv and send. Every system.

The simplest code, and no searching for who is ready: the kernel wakes the one thread that waits. The costs
that set it apart are a stack for each connection and a switch of threads for each request, and in Python the
switch of the interpreter's lock with it.

Source: pthreads(7), sched(7); CancelIoEx in the Windows reference.
"""

import contextlib
import select
import socket
import sys
import threading

from servers.contract import Counters, Options
from servers.listener import accept, pause, pause_if_exhausted
from servers.stop import Stop

# Deep enough for CPython, whose calls of Python functions use no C stack; the usual 8 MiB would ask for 80 GB
# of address space for 10 000 connections, more than some containers allow.
STACK_BYTES = 256 * 1024
SHUTDOWN_TIMEOUT_S = 2
STOP_TIMEOUT_S = 5  # closed connections let go of their threads within milliseconds


def unavailable_reason(_options: Options) -> str | None:
    """Why this model can't run here, and the cure; None where it can."""
    return None


def connections_max(_options: Options) -> int | None:
    """How many connections it can carry: as many as there are threads and descriptors."""
    return None


def serve(listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
    """Echo on every connection of `listener` until `stop` becomes readable."""
    threading.stack_size(STACK_BYTES)
    server = _Server(options, counters)
    listener.setblocking(False)  # a peer that gives up between the wait and the accept must not block it
    stop_fd, listener_fd = stop.fileno(), listener.fileno()
    while stop_fd not in select.select([listener_fd, stop_fd], [], [])[0]:
        try:
            connection = accept(listener)
            connection.setblocking(True)  # on Windows it is as its listener
        except BlockingIOError:
            continue
        except OSError as error:  # no descriptor left, say
            counters.failed(error)
            pause_if_exhausted(error, stop)
            continue
        if not server.start(connection):
            pause(stop)
    server.close_all()


class _Server:
    """The open connections and their threads."""

    def __init__(self, options: Options, counters: Counters) -> None:
        self.buffer_bytes = options.buffer_bytes
        self.counters = counters
        self.connections: set[socket.socket] = set()
        self.closed = threading.Condition()
        self.stopping = False

    def start(self, connection: socket.socket) -> bool:
        """Serve `connection` in a thread of its own; close it where there is none to be had."""
        with self.closed:
            self.connections.add(connection)
            self.counters.accepted(open_count=len(self.connections))
        try:
            threading.Thread(target=self.echo, args=(connection,), daemon=True).start()
        except (RuntimeError, MemoryError) as error:  # the system's limit of threads, or of memory
            self.counters.failed(error)
            self.close(connection)
            return False
        return True

    def echo(self, connection: socket.socket) -> None:
        """Send back what comes until the peer has ended; a send blocks until the peer has taken it."""
        buffer_bytes = self.buffer_bytes
        try:
            while data := connection.recv(buffer_bytes):
                connection.sendall(data)
        except Exception as error:  # noqa: BLE001 - a thread's traceback on stderr would count nothing
            if not self.stopping:  # otherwise it is this server's own doing
                self.counters.failed(error)
        finally:
            self.close(connection)

    def close(self, connection: socket.socket) -> None:
        """Close one connection."""
        with self.closed:
            self.connections.remove(connection)
            self.closed.notify()
        connection.close()

    def close_all(self) -> None:
        """Wake all threads from their calls and wait until they are gone."""
        if sys.platform == "win32":
            from servers.ffi import win32

        with self.closed:
            self.stopping = True
            for connection in self.connections:
                with contextlib.suppress(OSError):  # reset meanwhile: its thread knows
                    connection.shutdown(socket.SHUT_RDWR)
                if sys.platform == "win32":  # Wine leaves a send waiting, after a close as well
                    win32.CancelIoEx(connection.fileno(), None)
            if self.closed.wait_for(lambda: not self.connections, SHUTDOWN_TIMEOUT_S):
                return
            for connection in self.connections:  # what a shutdown leaves waiting on Windows, a close doesn't
                connection.close()
            if not self.closed.wait_for(lambda: not self.connections, STOP_TIMEOUT_S):
                raise TimeoutError(f"{len(self.connections)} threads did not end")
