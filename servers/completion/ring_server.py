"""What both ways of io_uring share: requests, accepting, stopping. Connections are named by descriptor.

Memory belongs to the kernel while something is in flight, so a stop shuts all sockets down and takes what
completes before the rings are given back. `ring_server.h` is its twin in C.
"""

import ctypes
import mmap
import os
import socket
from abc import ABC, abstractmethod

from servers.completion.ring import SQE_BYTES, Ring
from servers.contract import Counters, Options
from servers.ffi import linux
from servers.ffi.linux import IORING_CQE_F_MORE, Op, Timespec
from servers.listener import EXHAUSTED, PAUSE_S
from servers.stop import Stop

STOP_TIMEOUT_S = 5
SEND_FLAGS = linux.MSG_NOSIGNAL | linux.MSG_WAITALL

# What a completion brings back: 4 bits kind, 25 bits bytes of a send, 15 bits buffer, 20 bits descriptor.
FD_BITS, BUFFER_BITS, BYTES_BITS = 20, 15, 25
FD, BUFFER, BYTES = (1 << FD_BITS) - 1, (1 << BUFFER_BITS) - 1, (1 << BYTES_BITS) - 1
BYTES_SHIFT = FD_BITS + BUFFER_BITS
KIND_SHIFT = BYTES_SHIFT + BYTES_BITS
ACCEPT, STOP, PAUSE, STOP_TIMEOUT, CANCEL, RECEIVE, SEND = (kind << KIND_SHIFT for kind in range(1, 8))


class Server(ABC):
    """Connections, and what is done with them however they are served."""

    def __init__(
        self, ring: Ring, listener: socket.socket, stop: Stop, options: Options, counters: Counters
    ) -> None:
        self.ring, self.counters = ring, counters
        self.listener_fd, self.stop_fd = listener.fileno(), stop.fileno()
        self.buffer_bytes = options.buffer_bytes
        self.open: set[int] = set()
        self.tail, self.pending = ring.sq_tail[0], 0  # of the submission queue; written and not handed over
        self.is_running, self.is_stopping = True, False
        self.accepts_waiting = 0  # for the system to have descriptors again
        # The polling thread counts its idle time in ticks of up to 10 ms: it would spin through less.
        pause_s = 10 * PAUSE_S if ring.is_polled else PAUSE_S
        self._pause = Timespec(tv_nsec=round(pause_s * 1e9))
        self._stop_timeout = Timespec(tv_sec=STOP_TIMEOUT_S)

    def push(
        self,
        op: Op,
        fd: int,
        user_data: int,
        *,
        address: int = 0,
        length: int = 0,
        op_flags: int = 0,
        io_priority: int = 0,
        flags: int = 0,
        offset: int = 0,
    ) -> None:
        """Write a request. The loops write those of every message themselves."""
        if self.pending >= self.ring.sq_entries - 1:
            self.pending = self.ring.submit(self.tail, self.pending)
        place = (self.tail & self.ring.sq_mask) * SQE_BYTES
        entry = (op, flags, io_priority, fd, offset, address, length, op_flags, user_data)
        linux.SQE.pack_into(self.ring.sqes, place, *entry)
        self.tail += 1
        self.pending += 1

    def start(self) -> None:
        """What is waited for from the beginning."""
        self.push(Op.POLL_ADD, self.stop_fd, STOP, op_flags=1)  # POLLIN

    @abstractmethod
    def run(self) -> None:
        """Serve until it is stopped and nothing is in flight."""

    @abstractmethod
    def accept(self) -> None:
        """Ask for connections."""

    @abstractmethod
    def opened(self, fd: int) -> None:
        """A connection was accepted."""

    def other(self, user_data: int, result: int, flags: int) -> None:
        """A completion that isn't a connection's."""
        kind = user_data >> KIND_SHIFT << KIND_SHIFT
        if kind == ACCEPT:
            self.accepted(result, flags)
        elif kind == PAUSE:
            waiting, self.accepts_waiting = self.accepts_waiting, 0
            for _ in range(waiting):
                self.accept()
        elif kind == STOP:
            self.stop()
        elif kind == STOP_TIMEOUT:
            raise TimeoutError(f"after {STOP_TIMEOUT_S} s {len(self.open)} connections are still in use")

    def accepted(self, result: int, flags: int) -> None:
        if result < 0:
            self.failed(result)
        elif self.is_stopping:
            os.close(result)
        else:
            self.open.add(result)
            self.counters.accepted(open_count=len(self.open))
            self.opened(result)
        if flags & IORING_CQE_F_MORE or self.is_stopping:
            return
        if -result in EXHAUSTED:  # the connection stays in the backlog: without a pause this would spin
            self.accepts_waiting += 1
            if self.accepts_waiting == 1:
                self.push(Op.TIMEOUT, -1, PAUSE, address=ctypes.addressof(self._pause), length=1)
        else:
            self.accept()

    def failed(self, result: int) -> None:
        """Count what the kernel reported."""
        self.counters.failed(OSError(-result, os.strerror(-result)))

    def close(self, fd: int) -> None:
        """Close a connection that has nothing in flight."""
        self.open.remove(fd)
        os.close(fd)
        if self.is_stopping and not self.open:
            self.is_running = False

    def stop(self) -> None:
        """Have everything that is in flight complete."""
        self.is_stopping = True
        self.is_running = bool(self.open)
        for fd in self.open:
            shut_down(fd)
        address = ctypes.addressof(self._stop_timeout)
        self.push(Op.TIMEOUT, -1, STOP_TIMEOUT, address=address, length=1)


def address_of(memory: mmap.mmap) -> int:
    """Where mapped memory begins, for the kernel."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def shut_down(fd: int) -> None:
    """End both directions, so that whatever is in flight completes."""
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=fd)
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # reset, or ended already
        pass
    finally:
        connection.detach()
