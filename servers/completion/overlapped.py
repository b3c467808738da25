"""Overlapped I/O with completion routines: the chapter's first server (S2). Windows.

Each receive and send is started with a routine that the system calls when it is done, but only in the thread
that started it, and only while that thread waits in an alertable call: here SleepEx. A routine gets the
address of the OVERLAPPED; the per-client data hangs on its `hEvent`, which completion routines leave free. A
read routine starts the send, a write routine the next receive, so a connection has one operation and a peer
that doesn't read can't make memory grow.

What sets it apart is that one thread has two things to wait for, and can wait for one of them alone. So it
takes turns: look whether a connection is there, without waiting, then sleep for `accept_poll_ms` at most,
and return from that when routines have run. A client of an idle server waits for the rest of the sleep (claim
C3). And the system runs routines until none is queued, so a busy server that starts new I/O in each may never
come back to accept at all. `routines_per_wait` limits those that start I/O in one wait; what is over it is
started after the next look for connections. 0 is the chapter's form, without limit.

`accept=thread` is the cure that the chapter names (C4): another thread accepts, and hands over by a user APC,
which wakes the thread that sleeps.

Source: "Alertable I/O", WSARecv (completion routines), SleepEx and QueueUserAPC in the Win32 reference.
"""

import ctypes
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from servers.contract import Counters, Options
from servers.ffi import win32
from servers.ffi.win32 import DWORD, OVERLAPPED, WSABUF
from servers.listener import PAUSE_S, accept_those_there, wait
from servers.stop import Stop

STOP_TIMEOUT_S = 5  # cancelled operations complete within milliseconds; past this something is lost
STOP_POLL_MS = 100
NO_LIMIT = 2**31  # more routines than ever run in one wait


def unavailable_reason(_options: Options) -> str | None:
    """Why this model can't run here, and the cure; None where it can."""
    if sys.platform != "win32":
        return "completion routines belong to Windows: run it there"
    return win32.unavailable_reason("WSARecv", "WSASend", "SleepEx", "QueueUserAPC", "CancelIoEx")


def connections_max(_options: Options) -> int | None:
    """How many connections it can carry: as many as there is memory for."""
    return None


def serve(listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
    """Echo on every connection of `listener` until `stop` becomes readable; leave nothing in flight."""
    server = _Server(listener, stop, options, counters)
    listener.setblocking(False)
    helper = server.accept_for_it if options.accept == "thread" else server.wait_for_the_stop
    threading.Thread(target=helper, daemon=True).start()
    server.run()
    server.close()


class IoData(ctypes.Structure):
    """What the kernel reads and writes while an operation is in flight, OVERLAPPED first."""

    _fields_ = (("overlapped", OVERLAPPED), ("wsabuf", WSABUF), ("flags", DWORD))


class Connection:
    """The per-client data that hEvent leads to: a socket, a buffer, and the one operation on them."""

    __slots__ = ("address", "buffer", "data", "flags", "handle", "in_flight", "socket", "wsabuf")

    def __init__(self, accepted: socket.socket, buffer_bytes: int) -> None:
        self.socket = accepted
        self.handle = accepted.fileno()
        self.buffer = ctypes.create_string_buffer(buffer_bytes)
        self.data = IoData(wsabuf=WSABUF(buffer_bytes, ctypes.addressof(self.buffer)))
        # Not a pointer, as in C, but what Python finds an object by; the routine gets it back.
        self.data.overlapped.hEvent = self.handle
        self.address = ctypes.addressof(self.data)
        self.wsabuf = self.address + IoData.wsabuf.offset
        self.flags = self.address + IoData.flags.offset
        self.in_flight = False


class _Server:
    """The connections and the routines. All of it runs in one thread but `accept_for_it` and the stop."""

    def __init__(self, listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
        self.listener, self.stop, self.counters = listener, stop, counters
        self.buffer_bytes = options.buffer_bytes
        self.accepts_per_wait = options.accepts_per_wait
        self.routines_per_wait = options.routines_per_wait or NO_LIMIT
        self.alternates = options.accept == "alternating"
        self.timeout_ms = options.accept_poll_ms if self.alternates else win32.INFINITE
        self.connections: dict[int, Connection] = {}
        self.handed_over: deque[socket.socket] = deque()
        self.room = self.routines_per_wait  # routines that may still start I/O in this wait
        self.deferred: list[tuple[Callable[[Connection], None], Connection]] = []
        self.stopping = False
        # Kept here as long as the system may call them; passed by address.
        self.routines = (
            win32.CompletionRoutine(self.receive_completed),
            win32.CompletionRoutine(self.send_completed),
            win32.UserAPC(self.woken),
        )
        self.read_routine, self.write_routine, self.wake_routine = map(win32.address_of, self.routines)
        self.thread = win32.check(win32.OpenThread(win32.THREAD_SET_CONTEXT, 0, win32.GetCurrentThreadId()))

    # --- the loop ----------------------------------------------------------------------------------

    def run(self) -> None:
        """Accept and sleep in turns until told to stop."""
        sleep, timeout_ms = win32.SleepEx, self.timeout_ms
        while not self.stopping:
            if self.alternates:
                for accepted in self.those_there():
                    self.open(accepted)
            self.room = self.routines_per_wait
            deferred, self.deferred = self.deferred, []
            for step, connection in deferred:
                self.guarded(step, connection)
            sleep(timeout_ms, 1)

    def those_there(self) -> Iterator[socket.socket]:
        """The connections to accept now."""
        return accept_those_there(self.listener, self.stop, self.counters, self.accepts_per_wait)

    def open(self, accepted: socket.socket) -> None:
        """Serve `accepted`."""
        try:
            connection = Connection(accepted, self.buffer_bytes)
        except MemoryError as error:
            self.counters.failed(error)
            accepted.close()
            return
        self.connections[connection.handle] = connection
        self.counters.accepted(open_count=len(self.connections))
        self.guarded(self.receive, connection)

    def close_connection(self, connection: Connection) -> None:
        """Forget and close a connection of which nothing is in flight."""
        del self.connections[connection.handle]
        try:
            connection.socket.close()
        except OSError as error:
            self.counters.failed(error)

    def close(self) -> None:
        """Cancel what is in flight and wait until its routines have run. Raises TimeoutError."""
        self.deferred.clear()
        for accepted in self.handed_over:
            accepted.close()
        for connection in list(self.connections.values()):
            if connection.in_flight:
                win32.CancelIoEx(connection.handle, None)
            else:
                self.close_connection(connection)
        deadline = time.perf_counter() + STOP_TIMEOUT_S
        while self.connections:
            if time.perf_counter() > deadline:
                raise TimeoutError(f"{len(self.connections)} connections did not complete what was in flight")
            win32.SleepEx(STOP_POLL_MS, 1)
        win32.CloseHandle(self.thread)

    # --- routines: an exception in one would vanish ------------------------------------------------

    def receive_completed(self, error: int, transferred: int, overlapped: int, _flags: int) -> None:
        """The system has received: send it back."""
        connection = self.connections[OVERLAPPED.from_address(overlapped).hEvent]
        connection.in_flight = False
        try:
            if error:
                raise win32.operation_error(connection.handle, overlapped)
            if transferred == 0 or self.stopping:  # the end of the stream
                self.close_connection(connection)
                return
            connection.data.wsabuf.len = transferred
            self.go_on(self.send, connection)
        except Exception as failure:  # noqa: BLE001 - one connection's fault must not end the server
            self.fail(connection, failure)

    def send_completed(self, error: int, _transferred: int, overlapped: int, _flags: int) -> None:
        """The system has sent: receive again."""
        connection = self.connections[OVERLAPPED.from_address(overlapped).hEvent]
        connection.in_flight = False
        try:
            if error:
                raise win32.operation_error(connection.handle, overlapped)
            if self.stopping:
                self.close_connection(connection)
                return
            self.go_on(self.receive, connection)
        except Exception as failure:  # noqa: BLE001
            self.fail(connection, failure)

    def go_on(self, step: Callable[[Connection], None], connection: Connection) -> None:
        """Start the connection's next I/O, or do so after the next look for connections."""
        self.room -= 1
        if self.room >= 0:
            step(connection)
        else:
            self.deferred.append((step, connection))

    def guarded(self, step: Callable[[Connection], None], connection: Connection) -> None:
        """Run `step`; what it raises costs this connection alone."""
        try:
            step(connection)
        except Exception as failure:  # noqa: BLE001
            self.fail(connection, failure)

    def fail(self, connection: Connection, failure: BaseException) -> None:
        """Count `failure` and close its connection, now or when its operation has completed."""
        if not self.stopping:  # otherwise it was cancelled
            self.counters.failed(failure)
        if connection.in_flight:
            win32.CancelIoEx(connection.handle, None)
        elif connection.handle in self.connections:
            self.close_connection(connection)

    def receive(self, connection: Connection) -> None:
        """Start a receive. Raises OSError."""
        connection.data.wsabuf.len = self.buffer_bytes
        connection.data.flags = 0
        win32.started(
            win32.WSARecv(
                *(connection.handle, connection.wsabuf, 1, None, connection.flags),
                *(connection.address, self.read_routine),
            )
        )
        connection.in_flight = True

    def send(self, connection: Connection) -> None:
        """Start to send what was received. Raises OSError."""
        win32.started(
            win32.WSASend(
                *(connection.handle, connection.wsabuf, 1, None, 0),
                *(connection.address, self.write_routine),
            )
        )
        connection.in_flight = True

    # --- the other thread --------------------------------------------------------------------------

    def wait_for_the_stop(self) -> None:
        """Wake the thread that sleeps once it is to stop."""
        wait(self.stop)
        self.stopping = True
        self.wake()

    def accept_for_it(self) -> None:
        """Accept, and hand over to the thread whose routines serve the connections."""
        watched: tuple[socket.socket | Stop, ...] = (self.listener, self.stop)
        while self.stop not in select.select(watched, [], [])[0]:
            for accepted in self.those_there():
                self.handed_over.append(accepted)
                self.wake()
        self.stopping = True
        self.wake()

    def wake(self) -> None:
        """Have the sleeping thread run `woken`; try again where the system has nothing to give for that."""
        while not win32.QueueUserAPC(self.wake_routine, self.thread, 0):
            self.counters.failed(win32.last_error())
            time.sleep(PAUSE_S)  # also once it is to stop: the thread has to hear of that

    def woken(self, _: int) -> None:
        """Serve what was handed over; in the thread that sleeps, as every routine."""
        while self.handed_over and not self.stopping:
            self.open(self.handed_over.popleft())
