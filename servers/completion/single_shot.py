"""io_uring with a request for each accept, receive and send, and a buffer for each connection.

`single_shot.h` is its twin in C.
"""

import mmap
import socket

from servers.completion.ring import COUNTER, DEFERRED, SQE_BYTES, Ring
from servers.completion.ring_server import (
    ACCEPT,
    BYTES,
    BYTES_SHIFT,
    FD,
    RECEIVE,
    SEND,
    SEND_FLAGS,
    Server,
    address_of,
)
from servers.contract import Counters, Options
from servers.ffi import linux
from servers.ffi.linux import SYS_IO_URING_ENTER, Op
from servers.stop import Stop

ACCEPTS_IN_FLIGHT = 16  # so many newcomers are taken in one pass
CHUNK_BYTES = 1 << 20


class SingleShot(Server):
    """A connection has one receive or one send in flight."""

    def __init__(
        self, ring: Ring, listener: socket.socket, stop: Stop, options: Options, counters: Counters
    ) -> None:
        super().__init__(ring, listener, stop, options, counters)
        self.addresses: list[int] = []  # of the buffers, by descriptor
        self.sent: dict[int, int] = {}  # of a message that the kernel took in parts
        self._free: list[int] = []
        self._chunks: list[mmap.mmap] = []

    def accept(self) -> None:
        """Ask for one connection."""
        self.push(Op.ACCEPT, self.listener_fd, ACCEPT, op_flags=socket.SOCK_CLOEXEC)

    def opened(self, fd: int) -> None:
        """Give it a buffer, and receive."""
        if not self._free:
            self._free += self._chunk()
        self.addresses.extend([0] * (fd + 1 - len(self.addresses)))
        self.addresses[fd] = self._free.pop()
        self.receive(fd)

    def receive(self, fd: int) -> None:
        self.push(Op.RECV, fd, RECEIVE | fd, address=self.addresses[fd], length=self.buffer_bytes)

    def run(self) -> None:  # noqa: PLR0912 - a call for each step would be paid for every message
        """Serve until it is stopped and nothing is in flight."""
        self.start()
        for _ in range(ACCEPTS_IN_FLIGHT):
            self.accept()
        ring = self.ring
        enter, ring_fd, enter_flags, failed = ring.enter, ring.fd, ring.enter_flags, ring.failed
        sqes, sq_tail, sq_mask, room = ring.sqes, ring.sq_tail, ring.sq_mask, ring.sq_entries - 1
        completions, cq_head, cq_tail = ring.completions, ring.cq_head, ring.cq_tail
        pack, unpack = linux.SQE.pack_into, linux.CQE.iter_unpack
        recv, send = int(Op.RECV), int(Op.SEND)
        addresses, buffer_bytes = self.addresses, self.buffer_bytes
        tail, pending, head, is_deferred = self.tail, self.pending, cq_head[0], ring.is_deferred
        while self.is_running:
            sq_tail[0] = tail & COUNTER
            submitted = enter(SYS_IO_URING_ENTER, ring_fd, pending, 1, enter_flags, None, 0)
            if submitted < 0:
                failed()
            else:
                pending -= submitted
            end = cq_tail[0]
            if is_deferred and (end - head) & COUNTER >= DEFERRED:
                end = ring.complete_deferred(end)
            for chunk in completions(head, end):
                for user_data, result, flags in unpack(chunk):
                    if pending >= room:
                        pending = ring.submit(tail, pending)
                    if user_data >= SEND:
                        fd = user_data & FD
                        if result == user_data >> BYTES_SHIFT & BYTES:
                            place = (tail & sq_mask) * SQE_BYTES
                            buffer = addresses[fd]
                            pack(sqes, place, recv, 0, 0, fd, 0, buffer, buffer_bytes, 0, RECEIVE | fd)
                            tail += 1
                            pending += 1
                            continue
                    elif user_data >= RECEIVE and result > 0:
                        fd = user_data & FD
                        place = (tail & sq_mask) * SQE_BYTES
                        named = SEND | result << BYTES_SHIFT | fd
                        pack(sqes, place, send, 0, 0, fd, 0, addresses[fd], result, SEND_FLAGS, named)
                        tail += 1
                        pending += 1
                        continue
                    self.tail, self.pending = tail, pending
                    if user_data >= SEND:
                        self.sent_in_part(fd, result, user_data >> BYTES_SHIFT & BYTES)
                    elif user_data >= RECEIVE:
                        self.ended(user_data & FD, result)
                    else:
                        self.other(user_data, result, flags)
                    tail, pending = self.tail, self.pending
            head = end
            cq_head[0] = head

    def sent_in_part(self, fd: int, result: int, length: int) -> None:
        """A send that failed, or took less than it was given: the kernel waits for all of it since 5.19."""
        if result <= 0:
            self.ended(fd, result)
            return
        sent = self.sent.pop(fd, 0) + result
        if result == length:
            self.receive(fd)
            return
        self.sent[fd] = sent
        left = length - result
        named = SEND | left << BYTES_SHIFT | fd
        self.push(Op.SEND, fd, named, address=self.addresses[fd] + sent, length=left, op_flags=SEND_FLAGS)

    def ended(self, fd: int, result: int) -> None:
        """The end of the stream, or a failure: nothing of it is in flight any more."""
        if result < 0 and not self.is_stopping:
            self.failed(result)
        self.sent.pop(fd, None)
        self._free.append(self.addresses[fd])
        self.close(fd)

    def _chunk(self) -> list[int]:
        """The addresses of some more buffers."""
        count = max(1, CHUNK_BYTES // self.buffer_bytes)
        chunk = mmap.mmap(-1, count * self.buffer_bytes)
        self._chunks.append(chunk)
        start = address_of(chunk)
        return [start + number * self.buffer_bytes for number in range(count)]
