"""io_uring: completions, as at a port, through memory shared with the kernel. Linux.

As with a completion port I/O is started ahead and asked for when it is done. What sets it apart is how:
requests are written into a ring and one call hands over all of them and waits, so with many connections a
request costs a fraction of a system call where every other model makes two or three.

By default each connection has one receive or one send in flight, in a buffer of its own, which bounds what is
kept for it. With `multishot` one accept and one receive for each connection go on giving completions, and the
kernel takes buffers for them from a ring that all connections share: nothing is locked for one that is
silent, and there is one request less for each message. What a slow reader may then hold of that ring is
bounded by cancelling its receive until it has caught up.

`setup` says who does the kernel's part of a completion: this thread when it asks for completions
(`defer_taskrun`), or whenever one is there, by an interrupt (`plain`). With `sqpoll` a thread of the kernel
looks for requests, so none is handed over by a call; it sleeps after a millisecond without any.

Memory belongs to the kernel while something is in flight, so a stop shuts all sockets down, takes what
completes, and gives the rings back last.

Source: io_uring(7), io_uring_enter(2), io_uring_setup(2); io_uring_prep_recv_multishot(3) and
io_uring_setup_buf_ring(3) of liburing; "io_uring and networking in 2023" in its wiki.
"""

import ctypes
import errno
import mmap
import os
import socket
from abc import ABC, abstractmethod
from collections import deque

from servers.completion.ring import COUNTER, CQE_BYTES, SQE_BYTES, Ring
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
    Setup,
    Timespec,
)
from servers.listener import EXHAUSTED, PAUSE_S
from servers.stop import Stop

ENTRIES, COMPLETIONS = 4096, 32768
SQ_THREAD_IDLE_MS = 1  # the least there is: past that it would use a CPU that other servers need
RING_BYTES = ENTRIES * (SQE_BYTES + 4) + COMPLETIONS * CQE_BYTES
LOCKED_MEMORY = (
    f"too little locked memory: a ring takes {RING_BYTES >> 10} KiB of what all processes of a user may lock "
    "together: raise that by `ulimit -l 65536` as root in this shell (docker: --ulimit memlock=67108864)"
)
ACCEPTS_IN_FLIGHT = 16  # single-shot: so many newcomers are taken in one pass
STOP_TIMEOUT_S = 5
POOL_BYTES = 16 << 20  # of multishot's buffers: what all connections together have unsent at most
CHUNK_BYTES = 1 << 20
QUEUED_MAX = 16  # of multishot's buffers, that wait for a connection's send
SEND_FLAGS = linux.MSG_NOSIGNAL | linux.MSG_WAITALL

# What a completion brings back: 4 bits kind, 25 bits bytes of a send, 15 bits buffer, 20 bits descriptor.
FD_BITS, BUFFER_BITS, BYTES_BITS = 20, 15, 25
FD, BUFFER, BYTES = (1 << FD_BITS) - 1, (1 << BUFFER_BITS) - 1, (1 << BYTES_BITS) - 1
BYTES_SHIFT = FD_BITS + BUFFER_BITS
KIND_SHIFT = BYTES_SHIFT + BYTES_BITS
ACCEPT, STOP, PAUSE, STOP_TIMEOUT, CANCEL, RECEIVE, SEND = (kind << KIND_SHIFT for kind in range(1, 8))

SETUPS = {
    "defer_taskrun": Setup.SINGLE_ISSUER | Setup.DEFER_TASKRUN,
    "plain": Setup(0),
    "sqpoll": Setup.SQPOLL,
}
EXPECTED = frozenset({errno.ENOBUFS, errno.ECANCELED})  # ends of a multishot receive that are no failure


def unavailable_reason(options: Options) -> str | None:
    """Why this model can't run here with these options, and the cure; None where it can."""
    try:
        Ring(*_tried_sizes(), SETUPS[options.setup], sq_thread_idle_ms=SQ_THREAD_IDLE_MS).close()
        return None if not options.multishot else _without_multishot()
    except OSError as error:
        return _reason(error, options)


def cure(error: OSError) -> str | None:
    """What is behind a failure of `serve`, and helps; None where its own text has to do."""
    return LOCKED_MEMORY if error.errno == errno.ENOMEM else None


def _tried_sizes() -> tuple[int, int]:
    """Entries and completions of the ring that shows whether one can be made: a small one, as a rule.

    Locked memory is given back a while after its ring, so one of full size could leave too little for the
    ring that is to come. Where the limit is under one ring there is no other way to see whether this kernel
    counts them: 6.18 does, and lets the superuser have more.
    """
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    is_enough = limit == resource.RLIM_INFINITY or limit >= RING_BYTES
    return (8, 16) if is_enough else (ENTRIES, COMPLETIONS)


def _without_multishot() -> str | None:
    """Buffer rings came with Linux 5.19 and can be tried; the receive that uses them, a version later."""
    release = os.uname().release
    version = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    if version < (6, 0):
        return f"multishot receive needs Linux 6.0, this is {release}: use --multishot no"
    return None


def _reason(error: OSError, options: Options) -> str:
    release = os.uname().release if hasattr(os, "uname") else ""
    if error.errno == errno.ENOSYS:
        return (
            "this kernel has no io_uring: it came with Linux 5.1, or a container's seccomp profile hides it"
        )
    if error.errno in (errno.EPERM, errno.EACCES):
        if _sysctl("kernel/io_uring_disabled") not in (None, "0"):
            return "io_uring is disabled: sudo sysctl kernel.io_uring_disabled=0"
        return "io_uring is forbidden here: a container's seccomp profile must allow it"
    if error.errno == errno.ENOMEM:
        return LOCKED_MEMORY
    if error.errno == errno.EINVAL and options.setup == "defer_taskrun":
        return f"deferred work needs Linux 6.1, this is {release}: use --setup plain"
    return f"a ring can't be made: {error.strerror}"


def _sysctl(name: str) -> str | None:
    try:
        with open(f"/proc/sys/{name}") as file:  # noqa: PTH123 - pathlib takes 7 ms to import
            return file.read().strip()
    except OSError:
        return None


def connections_max(_options: Options) -> int | None:
    """How many connections it can carry: as many as a completion can name."""
    return FD


def serve(listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
    """Echo on every connection of `listener` until `stop` becomes readable; leave nothing in flight."""
    ring = Ring(ENTRIES, COMPLETIONS, SETUPS[options.setup], sq_thread_idle_ms=SQ_THREAD_IDLE_MS)
    make = Multishot if options.multishot else SingleShot
    server = make(ring, listener, stop, options, counters)
    try:
        server.run()
    finally:
        ring.close()


class Server(ABC):
    """What both ways share: requests, accepting, stopping. Connections are named by descriptor."""

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
        entry = (op, flags, io_priority, fd, offset, address, length, op_flags, user_data, 0, 0, 0, 0, 0)
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
            _shut_down(fd)
        address = ctypes.addressof(self._stop_timeout)
        self.push(Op.TIMEOUT, -1, STOP_TIMEOUT, address=address, length=1)


class SingleShot(Server):
    """A request for each accept, receive and send; a buffer for each connection."""

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
        tail, pending, head = self.tail, self.pending, cq_head[0]
        while self.is_running:
            sq_tail[0] = tail & COUNTER
            submitted = enter(SYS_IO_URING_ENTER, ring_fd, pending, 1, enter_flags, None, 0)
            if submitted < 0:
                failed()
            else:
                pending -= submitted
            end = cq_tail[0]
            for chunk in completions(head, end):
                for user_data, result, flags in unpack(chunk):
                    if pending >= room:
                        pending = ring.submit(tail, pending)
                    if user_data >= SEND:
                        fd = user_data & FD
                        if result == user_data >> BYTES_SHIFT & BYTES:
                            place = (tail & sq_mask) * SQE_BYTES
                            buffer = addresses[fd]
                            pack(
                                *(sqes, place, recv, 0, 0, fd, 0, buffer, buffer_bytes, 0, RECEIVE | fd),
                                *(0, 0, 0, 0, 0),
                            )
                            tail += 1
                            pending += 1
                            continue
                    elif user_data >= RECEIVE and result > 0:
                        fd = user_data & FD
                        place = (tail & sq_mask) * SQE_BYTES
                        named = SEND | result << BYTES_SHIFT | fd
                        pack(
                            *(sqes, place, send, 0, 0, fd, 0, addresses[fd], result, SEND_FLAGS, named),
                            *(0, 0, 0, 0, 0),
                        )
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
        start = _address(chunk)
        return [start + number * self.buffer_bytes for number in range(count)]


class Multishot(Server):
    """One accept and one receive for each connection that go on; buffers from a ring that all share."""

    def __init__(
        self, ring: Ring, listener: socket.socket, stop: Stop, options: Options, counters: Counters
    ) -> None:
        super().__init__(ring, listener, stop, options, counters)
        self.buffer_count = _buffer_count(self.buffer_bytes)
        self.buffers = mmap.mmap(-1, self.buffer_count * self.buffer_bytes)
        self.buffer_ring = mmap.mmap(-1, self.buffer_count * BUF_BYTES)
        self.address = _address(self.buffers)
        registered = BufReg(ring_addr=_address(self.buffer_ring), ring_entries=self.buffer_count)
        linux.io_uring_register(ring.fd, linux.IORING_REGISTER_PBUF_RING, registered, 1)
        tail_end = linux.BUF_TAIL_OFFSET + 2
        self.buffer_tail = memoryview(self.buffer_ring)[linux.BUF_TAIL_OFFSET : tail_end].cast("H")
        self.given = 0  # buffers given to the kernel so far, and again: the tail of their ring
        self.fed = 0  # `given` when those without a buffer last asked: until it moves they would spin
        for number in range(self.buffer_count):
            self.give(number)
        # By descriptor: whether it has a receive, and a send, in flight.
        self.receiving: list[bool] = []
        self.sending: list[bool] = []
        # What is out of the ordinary: received and not sent yet (buffer, bytes); told to receive no
        # more, until that is sent; without a buffer; at their end.
        self.queued: dict[int, deque[tuple[int, int]]] = {}
        self.offsets: dict[int, int] = {}  # of a buffer that the kernel took in parts
        self.paused: set[int] = set()
        self.starved: set[int] = set()
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
        tail, pending, head = self.tail, self.pending, cq_head[0]
        while self.is_running:
            sq_tail[0] = tail & COUNTER
            submitted = enter(SYS_IO_URING_ENTER, ring_fd, pending, 1, enter_flags, None, 0)
            if submitted < 0:
                failed()
            else:
                pending -= submitted
            end = cq_tail[0]
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
                        pack(
                            *(sqes, place, send, 0, 0, fd, 0, start, result, SEND_FLAGS, named),
                            *(0, 0, 0, 0, 0),
                        )
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
            if self.starved and given != self.fed:
                self.tail, self.pending = tail, pending
                self.feed()
                tail, pending = self.tail, self.pending
            head = end
            cq_head[0] = head

    def received(self, fd: int, result: int, flags: int) -> None:
        """What the loop doesn't do itself: bytes while others are being sent, and ends of all kinds."""
        if not flags & IORING_CQE_F_MORE:
            self.receiving[fd] = False
        if result > 0:
            buffer = flags >> IORING_CQE_BUFFER_SHIFT
            if fd in self.ending:
                self.give(buffer)
            elif self.sending[fd]:
                self.queue(fd, buffer, result)
            else:
                self.send(fd, buffer, result)
            if not self.receiving[fd] and fd not in self.paused and fd not in self.ending:
                self.receive(fd)
        elif result == -errno.ENOBUFS and fd not in self.ending:
            self.starved.add(fd)
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

    def queue(self, fd: int, buffer: int, length: int) -> None:
        """Keep it until what is being sent is sent; receive no more where that is much."""
        queue = self.queued.setdefault(fd, deque())
        queue.append((buffer, length))
        if len(queue) >= QUEUED_MAX and self.receiving[fd] and fd not in self.paused:
            self.paused.add(fd)
            self.push(Op.ASYNC_CANCEL, -1, CANCEL, address=RECEIVE | fd)

    def send(self, fd: int, buffer: int, length: int, *, offset: int = 0) -> None:
        """Send what is in a buffer from `offset` on."""
        self.sending[fd] = True
        named = SEND | length << BYTES_SHIFT | buffer << FD_BITS | fd
        start = self.address + buffer * self.buffer_bytes + offset
        self.push(Op.SEND, fd, named, address=start, length=length, op_flags=SEND_FLAGS)

    def sent(self, fd: int, user_data: int, result: int) -> None:
        """A send that isn't all there was to do: the next one, the end of the connection, or a failure."""
        buffer, length = user_data >> FD_BITS & BUFFER, user_data >> BYTES_SHIFT & BYTES
        self.sending[fd] = False
        if 0 < result < length:  # the kernel waits for all of it, so the peer is gone: the next one says so
            self.offsets[buffer] = self.offsets.get(buffer, 0) + result
            self.send(fd, buffer, length - result, offset=self.offsets[buffer])
            return
        self.offsets.pop(buffer, None)
        self.give(buffer)
        if result <= 0:
            self.broke(fd, result)
            if fd not in self.ending:
                self.ending.add(fd)
                _shut_down(fd)  # which ends the receive
        elif queue := self.queued.get(fd):
            self.send(fd, *queue.popleft())
        if fd in self.queued and not self.queued[fd]:
            del self.queued[fd]
            if fd in self.paused and not self.receiving[fd] and fd not in self.ending:
                self.paused.discard(fd)
                self.receive(fd)
        self.end_if_idle(fd)

    def stop(self) -> None:
        """Have everything that is in flight complete; nothing is of those that wait for a buffer."""
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
            self.starved.discard(fd)
            self.broken.discard(fd)
            self.close(fd)

    def feed(self) -> None:
        """Receive again where there was no buffer: some have come back."""
        self.fed = self.given
        starved, self.starved = self.starved, set()
        for fd in starved:
            if fd in self.open and fd not in self.paused:
                self.receive(fd)


def _buffer_count(buffer_bytes: int) -> int:
    """As many as the pool holds; a power of two, as the kernel wants it."""
    count = min(max(POOL_BYTES // buffer_bytes, 2 * QUEUED_MAX), linux.PBUF_RING_ENTRIES_MAX)
    return 1 << count.bit_length() - 1


def _address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _shut_down(fd: int) -> None:
    """End both directions, so that whatever is in flight completes."""
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=fd)
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # reset, or ended already
        pass
    finally:
        connection.detach()
