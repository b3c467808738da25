"""io_uring with one accept, and one receive for each connection, that go on; buffers from a shared ring.

The kernel takes a buffer when something has come, so nothing is locked for a connection that is silent, and
there is one request less for each message. Two bounds keep those that never read from the others' way. A
connection with many buffers waiting to be sent has its receive cancelled until it has caught up. And where
all buffers are taken, a connection with something to receive gets one of its own for a single receive.
`multishot.h` is its twin in C.

Source: io_uring_prep_recv_multishot(3), io_uring_setup_buf_ring(3) of liburing.
"""

import ctypes
import errno
import mmap
import socket
from collections import deque

from servers.completion.ring import COUNTER, DEFERRED, SQE_BYTES, Ring
from servers.completion.ring_server import (
    ACCEPT,
    BUFFER,
    BYTES,
    BYTES_SHIFT,
    CANCEL,
    FD,
    FD_BITS,
    RECEIVE,
    SEND,
    SEND_FLAGS,
    Server,
    address_of,
    shut_down,
)
from servers.contract import Counters, Options
from servers.ffi import linux
from servers.ffi.linux import (
    BUF_BYTES,
    IORING_CQE_BUFFER_SHIFT,
    IORING_CQE_F_MORE,
    IORING_RECV_MULTISHOT,
    IOSQE_BUFFER_SELECT,
    SYS_IO_URING_ENTER,
    BufReg,
    Op,
)
from servers.stop import Stop

POOL_BYTES = 16 << 20  # of the buffers that all share
QUEUED_MAX = 16  # of them wait for a connection's send
EXPECTED = frozenset({errno.ENOBUFS, errno.ECANCELED})  # ends of a multishot receive that are no failure


class Multishot(Server):
    """A connection has one receive that goes on and one send in flight."""

    def __init__(
        self, ring: Ring, listener: socket.socket, stop: Stop, options: Options, counters: Counters
    ) -> None:
        super().__init__(ring, listener, stop, options, counters)
        self.buffer_count = _buffer_count(self.buffer_bytes)
        self.buffers = mmap.mmap(-1, self.buffer_count * self.buffer_bytes)
        self.buffer_ring = mmap.mmap(-1, self.buffer_count * BUF_BYTES)
        self.address = address_of(self.buffers)
        registered = BufReg(ring_addr=address_of(self.buffer_ring), ring_entries=self.buffer_count)
        linux.io_uring_register(ring.fd, linux.IORING_REGISTER_PBUF_RING, registered, 1)
        tail_end = linux.BUF_TAIL_OFFSET + 2
        self.buffer_tail = memoryview(self.buffer_ring)[linux.BUF_TAIL_OFFSET : tail_end].cast("H")
        self.given = 0  # buffers given to the kernel so far, and again: the tail of their ring
        for number in range(self.buffer_count):
            self.give(number)
        # By descriptor: whether it has a receive, and a send, in flight.
        self.receiving: list[bool] = []
        self.sending: list[bool] = []
        # What is out of the ordinary: received and not sent yet (buffer, bytes), where an empty queue leaves
        # the next completion to the methods; a buffer of its own; told to receive no more; at its end.
        self.queued: dict[int, deque[tuple[int, int]]] = {}
        self.own: dict[int, ctypes.Array[ctypes.c_char]] = {}
        self.offsets: dict[int, int] = {}  # of a send that the kernel took in parts
        self.paused: set[int] = set()
        self.ending: set[int] = set()
        self.broken: set[int] = set()  # of those, whose failure is counted: send and receive report the same

    def give(self, buffer: int) -> None:
        """Let the kernel fill a buffer. It sees that when the ring's tail is moved on."""
        place = (self.given & self.buffer_count - 1) * BUF_BYTES
        address = self.address + buffer * self.buffer_bytes
        linux.BUF.pack_into(self.buffer_ring, place, address, self.buffer_bytes, buffer)
        self.given += 1
        self.buffer_tail[0] = self.given & 0xFFFF

    def accept(self) -> None:
        """Ask for all connections from now on."""
        multishot = linux.IORING_ACCEPT_MULTISHOT
        self.push(Op.ACCEPT, self.listener_fd, ACCEPT, op_flags=socket.SOCK_CLOEXEC, io_priority=multishot)

    def opened(self, fd: int) -> None:
        """Receive from now on."""
        more = fd + 1 - len(self.receiving)
        self.receiving.extend([False] * more)
        self.sending.extend([False] * more)
        self.receive(fd)

    def receive(self, fd: int) -> None:
        self.receiving[fd] = True
        self.push(Op.RECV, fd, RECEIVE | fd, io_priority=IORING_RECV_MULTISHOT, flags=IOSQE_BUFFER_SELECT)

    def run(self) -> None:  # noqa: PLR0912, PLR0915 - a call for each step would be paid for every message
        """Serve until it is stopped and nothing is in flight."""
        self.start()
        self.accept()
        ring = self.ring
        enter, ring_fd, enter_flags, failed = ring.enter, ring.fd, ring.enter_flags, ring.failed
        sqes, sq_tail, sq_mask, room = ring.sqes, ring.sq_tail, ring.sq_mask, ring.sq_entries - 1
        completions, cq_head, cq_tail = ring.completions, ring.cq_head, ring.cq_tail
        pack, unpack, pack_buffer = linux.SQE.pack_into, linux.CQE.iter_unpack, linux.BUF.pack_into
        send, more, shift = int(Op.SEND), IORING_CQE_F_MORE, IORING_CQE_BUFFER_SHIFT
        address, buffer_bytes = self.address, self.buffer_bytes
        buffer_ring, buffer_mask = self.buffer_ring, self.buffer_count - 1
        sending, ending, queued, buffer_tail = self.sending, self.ending, self.queued, self.buffer_tail
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
            given = self.given
            for chunk in completions(head, end):
                for user_data, result, flags in unpack(chunk):
                    if pending >= room:
                        pending = ring.submit(tail, pending)
                    fd = user_data & FD
                    if user_data >= SEND:
                        if (
                            result == user_data >> BYTES_SHIFT & BYTES
                            and fd not in queued
                            and fd not in ending
                        ):
                            buffer = user_data >> FD_BITS & BUFFER
                            start = address + buffer * buffer_bytes
                            place = (given & buffer_mask) * BUF_BYTES
                            pack_buffer(buffer_ring, place, start, buffer_bytes, buffer)
                            given += 1
                            sending[fd] = False
                            continue
                    elif (
                        user_data >= RECEIVE
                        and result > 0
                        and flags & more
                        and not sending[fd]
                        and fd not in ending
                    ):
                        buffer = flags >> shift
                        place = (tail & sq_mask) * SQE_BYTES
                        start = address + buffer * buffer_bytes
                        named = SEND | result << BYTES_SHIFT | buffer << FD_BITS | fd
                        pack(sqes, place, send, 0, 0, fd, 0, start, result, SEND_FLAGS, named)
                        tail += 1
                        pending += 1
                        sending[fd] = True
                        continue
                    self.tail, self.pending, self.given = tail, pending, given
                    if user_data >= SEND:
                        self.sent(fd, user_data, result)
                    elif user_data >= RECEIVE:
                        self.received(fd, result, flags)
                    else:
                        self.other(user_data, result, flags)
                    tail, pending, given = self.tail, self.pending, self.given
            self.given = given
            buffer_tail[0] = given & 0xFFFF
            head = end
            cq_head[0] = head

    def received(self, fd: int, result: int, flags: int) -> None:
        """What the loop doesn't do itself: bytes while others are being sent, and ends of all kinds."""
        if not flags & IORING_CQE_F_MORE:
            self.receiving[fd] = False
        if result > 0:
            self.arrived(fd, flags >> IORING_CQE_BUFFER_SHIFT, result)
        elif result == -errno.ENOBUFS and fd not in self.ending:
            if self.sending[fd]:
                self.queued.setdefault(fd, deque())  # it asks again when that is sent
            else:
                self.receive_alone(fd)
            return
        elif result == -errno.ECANCELED and fd in self.paused:
            if fd not in self.queued:  # it has caught up meanwhile
                self.paused.discard(fd)
                self.receive(fd)
            return
        else:
            self.ending.add(fd)
            if result < 0 and -result not in EXPECTED:
                self.broke(fd, result)
        self.end_if_idle(fd)

    def arrived(self, fd: int, buffer: int, length: int) -> None:
        """Bytes, in a buffer or in the connection's own."""
        if fd in self.own:
            if fd not in self.ending:
                self.send(fd, 0, length)
            return
        if fd in self.ending:
            self.give(buffer)
        elif self.sending[fd]:
            self.queue(fd, buffer, length)
        else:
            self.send(fd, buffer, length)
        if not self.receiving[fd] and fd not in self.paused and fd not in self.ending:
            self.receive(fd)

    def receive_alone(self, fd: int) -> None:
        """Receive once, into a buffer of its own: those that all share are with peers that don't read."""
        self.own[fd] = buffer = ctypes.create_string_buffer(self.buffer_bytes)
        self.queued[fd] = deque()
        self.receiving[fd] = True
        address = ctypes.addressof(buffer)
        self.push(Op.RECV, fd, RECEIVE | fd, address=address, length=self.buffer_bytes)

    def queue(self, fd: int, buffer: int, length: int) -> None:
        """Keep it until what is being sent is sent; receive no more where that is much."""
        queue = self.queued.setdefault(fd, deque())
        queue.append((buffer, length))
        if len(queue) >= QUEUED_MAX and self.receiving[fd] and fd not in self.paused:
            self.paused.add(fd)
            self.push(Op.ASYNC_CANCEL, -1, CANCEL, address=RECEIVE | fd)

    def send(self, fd: int, buffer: int, length: int, *, offset: int = 0) -> None:
        """Send what is in a buffer, or in the connection's own, from `offset` on."""
        self.sending[fd] = True
        named = SEND | length << BYTES_SHIFT | buffer << FD_BITS | fd
        own = self.own.get(fd)
        start = self.address + buffer * self.buffer_bytes if own is None else ctypes.addressof(own)
        self.push(Op.SEND, fd, named, address=start + offset, length=length, op_flags=SEND_FLAGS)

    def sent(self, fd: int, user_data: int, result: int) -> None:
        """A send that isn't all there was to do: the next one, the end of the connection, or a failure."""
        buffer, length = user_data >> FD_BITS & BUFFER, user_data >> BYTES_SHIFT & BYTES
        self.sending[fd] = False
        if 0 < result < length:  # the kernel waits for all of it, so the peer is gone: the next one says so
            self.offsets[fd] = self.offsets.get(fd, 0) + result
            self.send(fd, buffer, length - result, offset=self.offsets[fd])
            return
        self.offsets.pop(fd, None)
        if self.own.pop(fd, None) is None:
            self.give(buffer)
        if result <= 0:
            self.broke(fd, result)
            if fd not in self.ending:
                self.ending.add(fd)
                shut_down(fd)  # which ends the receive
        elif queue := self.queued.get(fd):
            self.send(fd, *queue.popleft())
        if fd in self.queued and not self.queued[fd]:
            del self.queued[fd]
            if not self.receiving[fd] and fd not in self.ending:
                self.paused.discard(fd)
                self.receive(fd)
        self.end_if_idle(fd)

    def stop(self) -> None:
        """Have everything that is in flight complete."""
        super().stop()
        for fd in list(self.open):
            self.ending.add(fd)
            self.end_if_idle(fd)

    def broke(self, fd: int, result: int) -> None:
        """Count why, once for a connection, and give back what will not be sent."""
        if fd not in self.broken and not self.is_stopping:
            self.failed(result)
        self.broken.add(fd)
        for buffer, _ in self.queued.pop(fd, ()):
            self.give(buffer)

    def end_if_idle(self, fd: int) -> None:
        """Close a connection at its end, once nothing of it is in flight."""
        if fd in self.ending and not self.receiving[fd] and not self.sending[fd]:
            self.ending.discard(fd)
            self.paused.discard(fd)
            self.own.pop(fd, None)
            self.broken.discard(fd)
            self.close(fd)


def _buffer_count(buffer_bytes: int) -> int:
    """As many as the pool holds; a power of two, as the kernel wants it."""
    count = min(max(POOL_BYTES // buffer_bytes, 2 * QUEUED_MAX), linux.PBUF_RING_ENTRIES_MAX)
    return 1 << count.bit_length() - 1
