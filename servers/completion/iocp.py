"""I/O completion port: the chapter's server (S4, S6). Windows.

Completion is readiness the other way round: a thread doesn't ask which socket it may read and then read it;
it starts the read at once and asks later which I/O is *done*. Three consequences:

- Nothing is searched. A completion brings back two things that were given when the I/O was started: the
  completion key (which connection: the per-handle data) and the address of the OVERLAPPED (which operation:
  the per-I/O data, which lies behind it). The port doesn't say whether it was a receive or a send, so the
  operation remembers its mode.
- The buffer belongs to the kernel until then. A connection has two: while one is being sent, the next receive
  fills the other, as in the chapter, and a peer that doesn't read can't make memory grow.
- Any worker may take any completion, two of one connection at once: each connection has a lock.

`threads` workers wait at the port, which lets at most `concurrency` of them run. Who accepts is an option:

- `thread`, the chapter's: the main thread, so a new connection never waits for I/O (claim C4);
- `alternating`: the main thread is a worker that looks for connections between two completions, or after
  `accept_poll_ms` without any: what the overlapped model does, at a port;
- `acceptex`: accepts are I/O as well, started ahead and completed at the port.

What else can be tuned: `batch` takes several completions in one call; `skip_on_success` spares the packet of
I/O that is done at once (all or nothing for a handle; it is then handled in a loop, for `ROUNDS_AT_ONCE` at
most); `zero_byte_receive` waits with an empty receive, so that an idle connection locks no memory, and reads
by a second call.

A cancel is a request: what is cancelled still completes, so a stop cancels, waits until nothing is in flight,
and closes the port last: closed earlier it would lose completions.

Source: "I/O Completion Ports", CreateIoCompletionPort, GetQueuedCompletionStatus, AcceptEx and
SetFileCompletionNotificationModes in the Win32 reference; trio's _io_windows.py and libxev's iocp.zig for
what goes wrong.
"""

import ctypes
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from enum import Enum

from servers.completion import acceptex
from servers.contract import Counters, Options
from servers.ffi import win32
from servers.ffi.win32 import DWORD, OVERLAPPED, OVERLAPPED_ENTRY, ULONG_PTR, WSABUF, Error
from servers.listener import accept_those_there, pause, wait
from servers.stop import Stop

STOP_TIMEOUT_S = 5  # cancelled operations complete within milliseconds; past this something is lost
STOP_POLL_MS = 100
ROUNDS_AT_ONCE = 16  # of I/O that is done at once: a peer that never stops sending would keep the worker
LISTENER_KEY = 0  # no connection's: a socket's handle is never 0


def unavailable_reason(options: Options) -> str | None:
    """Why this model can't run here, and the cure; None where it can."""
    if sys.platform != "win32":
        return "completion ports belong to Windows: run it there"
    if options.processes > 1 and options.accept == "acceptex":
        return "a listener belongs to one completion port: several processes share it with --accept thread"
    return win32.unavailable_reason("GetQueuedCompletionStatusEx", "SetFileCompletionNotificationModes")


def connections_max(_options: Options) -> int | None:
    """How many connections it can carry: as many as there is memory for."""
    return None


def serve(listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
    """Echo on every connection of `listener` until `stop` becomes readable; leave nothing in flight."""
    server = Server(listener, stop, options, counters)
    run = {"thread": _accept_in_a_thread, "alternating": _alternate, "acceptex": _accept_at_the_port}
    run[options.accept](server)
    server.close()


class Mode(Enum):
    """What an operation is: the port doesn't say."""

    RECEIVE = 1
    PROBE = 2  # an empty receive, which completes when there is something to receive
    SEND = 3


class IoData(ctypes.Structure):
    """What the kernel reads and writes while an operation is in flight, OVERLAPPED first."""

    _fields_ = (("overlapped", OVERLAPPED), ("wsabuf", WSABUF), ("flags", DWORD), ("transferred", DWORD))


class Operation:
    """The per-I/O data: everything that must outlive the call that started it."""

    __slots__ = (
        "address",
        "buffer",
        "buffer_bytes",
        "data",
        "flags",
        "mode",
        "transferred",
        "view",
        "wsabuf",
    )

    def __init__(self, buffer_bytes: int) -> None:
        self.buffer_bytes = buffer_bytes
        self.buffer = ctypes.create_string_buffer(buffer_bytes)
        self.view = memoryview(self.buffer)
        self.data = IoData(wsabuf=WSABUF(buffer_bytes, ctypes.addressof(self.buffer)))
        self.address = ctypes.addressof(self.data)  # of the OVERLAPPED, too
        self.wsabuf = self.address + IoData.wsabuf.offset
        self.flags = self.address + IoData.flags.offset
        self.transferred = self.address + IoData.transferred.offset
        self.mode = Mode.RECEIVE


class Connection:
    """The per-handle data: an accepted socket, its two operations, and what waits for what.

    Whoever calls `completed` or `abort` and gets True closes it: nothing of it is in flight then.
    """

    def __init__(
        self, accepted: socket.socket, options: Options, counters: Counters, post: Callable[..., int]
    ) -> None:
        self.socket = accepted
        self.handle = accepted.fileno()
        self.lock = threading.Lock()
        self.counters = counters
        self.skips = options.skip_on_success
        self.probes = options.zero_byte_receive
        pair = Operation(options.buffer_bytes), Operation(options.buffer_bytes)
        self.operations = {operation.address: operation for operation in pair}
        self.idle: Operation | None = None  # neither receiving nor sending
        self.received: Operation | None = None  # full, until the send before it is done
        self.done: list[Operation] = []  # at once, without a packet
        self.in_flight = 0
        self.closing = False
        self._post = post

    def start(self) -> bool:
        """Start the first receive; True where it is over already, as `completed` says it."""
        with self.lock:
            try:
                receiver, self.idle = self.operations.values()
                self._receive(receiver)
                return self._settle()
            except Exception as error:  # noqa: BLE001 - one connection's fault costs itself alone
                return self._fail(error)

    def completed(self, address: int, transferred: int, *, failed: bool) -> bool:
        """Take one completion; True once the connection is over and nothing of it is in flight."""
        with self.lock:
            self.in_flight -= 1
            try:
                operation = self.operations[address]
                if not failed:
                    self._advance(operation, transferred)
                elif not self.closing:  # otherwise it was cancelled
                    return self._fail(win32.operation_error(self.handle, address))
                return self._settle()
            except Exception as error:  # noqa: BLE001 - it must not end a worker that serves all
                return self._fail(error)

    def abort(self) -> bool:
        """Give up; True where nothing was in flight, otherwise the last completion says so."""
        with self.lock:
            self._abort()
            return self.in_flight == 0

    def _settle(self) -> bool:
        """Handle what was done at once; after some rounds by a packet, so that others get a turn."""
        for _ in range(ROUNDS_AT_ONCE):
            if not self.done:
                break
            operation = self.done.pop()
            self.in_flight -= 1
            self._advance(operation, operation.data.transferred)
        while self.done:
            operation = self.done[-1]
            self._post(operation.data.transferred, self.handle, operation.address)
            self.done.pop()  # now, so that a failed post counts those alone that nobody will hear of
        return self.closing and self.in_flight == 0

    def _fail(self, error: BaseException) -> bool:
        if not self.closing:
            self.counters.failed(error)
        self.in_flight -= len(self.done)  # nobody will hear of them any more
        self.done.clear()
        self._abort()
        return self.in_flight == 0

    def _abort(self) -> None:
        self.closing = True
        if self.in_flight:
            win32.CancelIoEx(self.handle, None)  # ERROR_NOT_FOUND: all of it has completed meanwhile

    def _advance(self, operation: Operation, transferred: int) -> None:
        """The next step of a connection whose `operation` has succeeded."""
        if operation.mode is Mode.PROBE and not self.closing:
            try:
                transferred = self.socket.recv_into(operation.view)
            except BlockingIOError:  # nothing there after all
                self._receive(operation)
                return
        if operation.mode is Mode.SEND:
            if transferred != operation.data.wsabuf.len:  # never seen: a send is whole, or fails
                raise ConnectionAbortedError("a send was cut short")
            self._sent(operation)
        elif transferred == 0:  # end of the stream; a send in flight still completes
            self.closing = True
        elif not self.closing:
            self._received(operation, transferred)

    def _sent(self, operation: Operation) -> None:
        if self.received is None:
            self.idle = operation
        elif not self.closing:
            full, self.received = self.received, None
            self._send_and_receive(full, into=operation)

    def _received(self, operation: Operation, transferred: int) -> None:
        operation.data.wsabuf.len = transferred
        if self.idle is None:
            self.received = operation  # the other buffer is still being sent
        else:
            into, self.idle = self.idle, None
            self._send_and_receive(operation, into)

    def _send_and_receive(self, full: Operation, into: Operation) -> None:
        full.mode = Mode.SEND
        # The count may be left out, and should be, where nobody looks at it before the completion.
        transferred = full.transferred if self.skips else None
        result = win32.WSASend(self.handle, full.wsabuf, 1, transferred, 0, full.address, None)
        self._count(full, result)
        self._receive(into)  # not reached where the send failed to start

    def _receive(self, operation: Operation) -> None:
        data = operation.data
        operation.mode = Mode.PROBE if self.probes else Mode.RECEIVE
        data.wsabuf.len = 0 if self.probes else operation.buffer_bytes
        data.flags = 0
        transferred = operation.transferred if self.skips else None
        result = win32.WSARecv(
            *(self.handle, operation.wsabuf, 1, transferred, operation.flags, operation.address, None)
        )
        self._count(operation, result)

    def _count(self, operation: Operation, result: int) -> None:
        if not win32.started(result) and self.skips:
            self.done.append(operation)
        self.in_flight += 1


class Server:
    """The port, its workers, and the open connections."""

    def __init__(self, listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
        self.listener, self.stop, self.options, self.counters = listener, stop, options, counters
        self.port = win32.check(
            win32.CreateIoCompletionPort(win32.INVALID_HANDLE_VALUE, None, 0, options.concurrency)
        )
        self.connections: dict[int, Connection] = {}
        self.acceptors: dict[int, acceptex.Acceptor] = {}  # those whose accept is in flight
        self.parked: list[acceptex.Acceptor] = []  # those that couldn't start one
        self.opening = threading.Lock()  # with acceptex every worker opens connections
        self.workers: list[threading.Thread] = []
        self.stopping = False

    def start_workers(self, count: int) -> None:
        """Begin to take completions."""
        for _ in range(count):
            worker = threading.Thread(target=self.work, daemon=True)
            worker.start()
            self.workers.append(worker)

    def work(self) -> None:
        """Take completions until told to end."""
        take = self.taker()
        goes_on = True
        while goes_on:
            try:
                goes_on = take(win32.INFINITE)
            except Exception as error:  # noqa: BLE001 - a worker serves all, so it must not end of one's fault
                self.counters.failed(error)

    def post(self, transferred: int, key: int, address: int | None) -> int:
        """Put a packet of our own at the port; without an operation it ends who takes it. Raises OSError."""
        return win32.check(win32.PostQueuedCompletionStatus(self.port, transferred, key, address))

    def taker(self) -> Callable[[int], bool]:
        """A call that waits for so many milliseconds and handles what has come; False where it is to end.

        Each thread has one of its own.
        """
        return self._taker_of_batches() if self.options.batch > 1 else self._taker_of_one()

    def _taker_of_one(self) -> Callable[[int], bool]:
        transferred, key, address = DWORD(), ULONG_PTR(), ctypes.c_void_p()
        pointers = ctypes.addressof(transferred), ctypes.addressof(key), ctypes.addressof(address)
        get, port, handle = win32.GetQueuedCompletionStatus, self.port, self.handle

        def take(timeout_ms: int) -> bool:
            succeeded = get(port, *pointers, timeout_ms)
            # Looked at first: without an operation, key and size are those of an earlier packet.
            operation = address.value
            if operation is None:
                return not succeeded and self.goes_on_after(win32.last_error())
            handle(key.value, operation, transferred.value, failed=not succeeded)
            return True

        return take

    def _taker_of_batches(self) -> Callable[[int], bool]:
        batch = self.options.batch
        entries, count = (OVERLAPPED_ENTRY * batch)(), DWORD()
        pointer, count_pointer = ctypes.addressof(entries), ctypes.addressof(count)
        get, port, handle = win32.GetQueuedCompletionStatusEx, self.port, self.handle

        def take(timeout_ms: int) -> bool:
            if not get(port, pointer, batch, count_pointer, timeout_ms, 0):
                return self.goes_on_after(win32.last_error())
            told_to_end = 0
            for entry in entries[: count.value]:
                operation = entry.lpOverlapped
                if operation is None:
                    told_to_end += 1
                    continue
                # The packet's NTSTATUS, whose two highest bits are over 1 in warnings and errors. The
                # OVERLAPPED has it, too, but under Wine not where the thread that started it has ended.
                failed = entry.Internal >> 30 & 3 > 1
                handle(entry.lpCompletionKey, operation, entry.dwNumberOfBytesTransferred, failed=failed)
            for _ in range(told_to_end - 1):  # meant for other workers
                self.post(0, 0, None)
            return not told_to_end

        return take

    def goes_on_after(self, error: OSError) -> bool:
        """Whether to wait again after a wait that failed. What isn't a timeout is counted."""
        if win32.code(error) != Error.WAIT_TIMEOUT:
            self.counters.failed(error)
            pause(self.stop)  # it may fail again at once
        return not self.stopping

    def handle(self, key: int, address: int, transferred: int, *, failed: bool) -> None:
        """One completion: of an accept, or of a connection."""
        if key == LISTENER_KEY:
            self.acceptors.pop(address).completed(failed=failed)
            return
        connection = self.connections[key]
        if connection.completed(address, transferred, failed=failed):
            self.close_connection(connection)

    def accept_all(self) -> None:
        """Take the connections that are there: all, or as many as one wait may."""
        limit = self.options.accepts_per_wait
        for accepted in accept_those_there(self.listener, self.stop, self.counters, limit):
            self.open(accepted)

    def open(self, accepted: socket.socket) -> None:
        """Serve `accepted`; what fails costs this connection alone."""
        try:
            accepted.setblocking(False)  # for the read after an empty receive; overlapped I/O doesn't care
            connection = Connection(accepted, self.options, self.counters, self.post)
        except (OSError, MemoryError) as error:
            self.counters.failed(error)
            accepted.close()
            return
        with self.opening:
            # Known under its key before the first completion can come.
            self.connections[connection.handle] = connection
            self.counters.accepted(open_count=len(self.connections))
        if self.start(connection):
            self.close_connection(connection)

    def start(self, connection: Connection) -> bool:
        """Connect it with the port and start its first receive; True where it is over already."""
        try:
            win32.check(win32.CreateIoCompletionPort(connection.handle, self.port, connection.handle, 0))
            if self.options.skip_on_success:
                modes = win32.FILE_SKIP_COMPLETION_PORT_ON_SUCCESS | win32.FILE_SKIP_SET_EVENT_ON_HANDLE
                win32.check(win32.SetFileCompletionNotificationModes(connection.handle, modes))
        except OSError as error:
            self.counters.failed(error)
            return connection.abort()
        return connection.start()

    def close_connection(self, connection: Connection) -> None:
        """Forget and close a connection of which nothing is in flight."""
        # Forgotten before it is closed: the next connection may get its handle at once.
        del self.connections[connection.handle]
        try:
            connection.socket.close()
        except OSError as error:
            self.counters.failed(error)
        with self.opening:
            acceptor = self.parked.pop() if self.parked else None
        if acceptor is not None:  # what the connection held may be what an accept lacked
            acceptor.start()

    def close(self) -> None:
        """End the workers, cancel what is in flight, take its completions, close the port.

        Raises TimeoutError where a worker doesn't end or an operation doesn't complete: its memory then still
        belongs to the kernel.
        """
        deadline = time.perf_counter() + STOP_TIMEOUT_S
        for worker in self.workers:
            worker.join(max(0.0, deadline - time.perf_counter()))
        if any(worker.is_alive() for worker in self.workers):
            raise TimeoutError("a worker did not end")
        if self.acceptors:
            win32.CancelIoEx(self.listener.fileno(), None)
        for connection in list(self.connections.values()):
            if connection.abort():
                self.close_connection(connection)
        take = self.taker()
        while self.connections or self.acceptors:
            if time.perf_counter() > deadline:
                raise TimeoutError(f"{len(self.connections)} connections did not complete what was in flight")
            take(STOP_POLL_MS)
        win32.CloseHandle(self.port)


def _accept_in_a_thread(server: Server) -> None:
    """The main thread accepts and does nothing else."""
    server.start_workers(server.options.threads)
    listener, stop = server.listener, server.stop
    listener.setblocking(False)  # a peer that gives up between the wait and the accept must not block it
    watched: tuple[socket.socket | Stop, ...] = (listener, stop)
    while stop not in select.select(watched, [], [])[0]:
        server.accept_all()
    _end_all(server, len(server.workers))


def _alternate(server: Server) -> None:
    """The main thread is one of the workers, and looks for connections between completions."""
    server.start_workers(server.options.threads - 1)
    server.listener.setblocking(False)

    def wait_for_the_stop() -> None:
        wait(server.stop)
        _end_all(server, len(server.workers) + 1)

    # Another thread, since this one sleeps at the port: a packet is what wakes it.
    threading.Thread(target=wait_for_the_stop, daemon=True).start()
    take, timeout_ms = server.taker(), server.options.accept_poll_ms
    goes_on = True
    while goes_on:
        server.accept_all()
        goes_on = take(timeout_ms)


def _accept_at_the_port(server: Server) -> None:
    """Accepts are started ahead and complete at the port; the main thread waits for the stop."""
    acceptex.start(server, LISTENER_KEY)
    server.start_workers(server.options.threads)
    wait(server.stop)
    _end_all(server, len(server.workers))


def _end_all(server: Server, threads: int) -> None:
    """A packet for each thread at the port: each ends with the one that it takes."""
    server.stopping = True
    for _ in range(threads):
        server.post(0, 0, None)
