"""A pair of rings shared with the kernel: requests go in at one, what is done comes out at the other.

Nothing is called for a single request. It is written into an entry of the submission queue and the queue's
tail is moved on; one `io_uring_enter` hands over whatever was written and waits for what is done, which then
lies in the completion queue. Everything here is memory that both sides map, so the hot loops of the models
work on it directly: they have the attributes below in local variables.

Each side writes only its own end of a queue. The system call between writing and reading orders the two, so
no barrier is needed that Python hasn't.

Source: io_uring(7); "Efficient IO with io_uring" (Axboe).
"""

import ctypes
import errno
import mmap
import os

from servers.ffi import linux
from servers.ffi.linux import IORING_ENTER_GETEVENTS, IORING_ENTER_SQ_WAKEUP, Params, Setup

COUNTER = 0xFFFFFFFF  # heads and tails are 32 bits, and wrap
SQE_BYTES, CQE_BYTES = linux.SQE.size, linux.CQE.size
DEFERRED = 20  # so many receives does a call complete where that is deferred; before the end of 2024 all
# An error of io_uring_enter that goes by: a signal, or completions that must be taken first.
PASSING = frozenset({errno.EINTR, errno.EAGAIN, errno.EBUSY})


class Ring:
    """Both queues, mapped. Raises OSError where the kernel doesn't make it."""

    def __init__(self, entries: int, completions: int, flags: Setup, *, sq_thread_idle_ms: int = 0) -> None:
        params = Params(cq_entries=completions, flags=flags | Setup.CQSIZE, sq_thread_idle=sq_thread_idle_ms)
        self.fd = linux.io_uring_setup(entries, params)
        try:
            self._map(params)
        except BaseException:
            os.close(self.fd)
            raise
        self.enter = linux.io_uring_enter()
        self.is_polled = bool(flags & Setup.SQPOLL)
        self.is_deferred = bool(flags & Setup.DEFER_TASKRUN)
        self.enter_flags = IORING_ENTER_GETEVENTS | (IORING_ENTER_SQ_WAKEUP if self.is_polled else 0)

    def _map(self, params: Params) -> None:
        submission, completion = params.sq_off, params.cq_off
        size = max(submission.array + params.sq_entries * 4, completion.cqes + params.cq_entries * CQE_BYTES)
        flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
        # One mapping for both queues: every kernel that has what the models need does that (5.4).
        rings = mmap.mmap(self.fd, size, flags=flags, offset=linux.IORING_OFF_SQ_RING)
        self.sqes = mmap.mmap(
            self.fd, params.sq_entries * SQE_BYTES, flags=flags, offset=linux.IORING_OFF_SQES
        )
        view = memoryview(rings)

        def word(offset: int) -> "memoryview[int]":
            return view[offset : offset + 4].cast("I")

        self.sq_entries, self.cq_entries = params.sq_entries, params.cq_entries
        self.sq_mask, self.cq_mask = word(submission.ring_mask)[0], word(completion.ring_mask)[0]
        self.sq_head, self.sq_tail = word(submission.head), word(submission.tail)
        self.cq_head, self.cq_tail = word(completion.head), word(completion.tail)
        self.cqes = view[completion.cqes : completion.cqes + params.cq_entries * CQE_BYTES]
        # Entry i is always described at place i: the indirection is for those that recycle entries.
        indices = view[submission.array : submission.array + params.sq_entries * 4].cast("I")
        for index in range(params.sq_entries):
            indices[index] = index

    def submit(self, tail: int, pending: int) -> int:
        """Hand over `pending` entries before `tail` without waiting; how many are left. Raises OSError.

        It makes room in the submission queue, for a pass that has more to ask than that holds.
        """
        self.sq_tail[0] = tail & COUNTER
        flags = self.enter_flags & ~IORING_ENTER_GETEVENTS
        while pending > 0:
            done = self.enter(linux.SYS_IO_URING_ENTER, self.fd, pending, 0, flags, None, 0)
            if done < 0:
                if ctypes.get_errno() == errno.EINTR:
                    continue
                if ctypes.get_errno() in PASSING:
                    break
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            pending -= done
        while self.is_polled and (tail - self.sq_head[0]) & COUNTER >= self.sq_entries // 2:
            os.sched_yield()  # the kernel's thread is taking them
        return pending

    def complete_deferred(self, end: int) -> int:
        """Have the kernel complete all that is ready; where the completion queue ends then.

        A call that waits for one completion does so for `DEFERRED` of the requests that became ready. With
        many connections the first ones then go round by themselves: their next requests have arrived by the
        time that they receive again, so they are completed at once, and the others wait for several passes.
        """
        before = end - DEFERRED
        while (end - before) & COUNTER >= DEFERRED:
            self.enter(linux.SYS_IO_URING_ENTER, self.fd, 0, 0, IORING_ENTER_GETEVENTS, None, 0)
            before, end = end, self.cq_tail[0]
        return end

    def completions(self, head: int, end: int) -> list[memoryview]:
        """The entries from `head` to `end`, in one piece or, where they go round the end, in two."""
        first, count = head & self.cq_mask, (end - head) & COUNTER
        beyond = first + count - self.cq_entries
        if beyond <= 0:
            return [self.cqes[first * CQE_BYTES : (first + count) * CQE_BYTES]]
        return [self.cqes[first * CQE_BYTES :], self.cqes[: beyond * CQE_BYTES]]

    def failed(self) -> None:
        """After io_uring_enter gave -1: raises OSError unless it goes by."""
        code = ctypes.get_errno()
        if code not in PASSING:
            raise OSError(code, os.strerror(code))

    def close(self) -> None:
        """Give the rings back. Call it when nothing is in flight."""
        os.close(self.fd)
