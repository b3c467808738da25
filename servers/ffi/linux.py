"""Declarations of the Linux system calls that Python has no module for, which are io_uring's.

Some that it has a module for are declared, too: made by both ways they tell what the ways cost
(`servers.calibration`).

Names are the kernel's own (include/uapi/linux/io_uring.h). The calls go through `syscall`: the C library has
no wrappers for them. Structures use fixed-width types, so that their layout is asserted by tests on every
system. Importing this module works everywhere; elsewhere the calls raise OSError.

Pointers are declared as addresses (`c_void_p`). A call's failure comes out as an OSError with the system's
number and text; `io_uring_enter`, which is called for each wait, is given bare as well.

Source: io_uring(7), io_uring_setup(2), io_uring_enter(2), io_uring_register(2).
"""

import ctypes
import errno
import functools
import os
import struct
import sys
from collections.abc import Callable
from ctypes import Structure, c_int, c_long, c_size_t, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from enum import IntEnum, IntFlag

# The same on every architecture: system calls since Linux 5.1 are numbered alike.
SYS_IO_URING_SETUP, SYS_IO_URING_ENTER, SYS_IO_URING_REGISTER = 425, 426, 427

# This one is older. None where the number isn't known.
SYS_EPOLL_PWAIT = (
    {"x86_64": 281, "aarch64": 22, "riscv64": 22}.get(os.uname().machine)
    if sys.platform == "linux" and sys.maxsize > 2**32
    else None
)

IORING_OFF_SQ_RING, IORING_OFF_SQES = 0, 0x10000000
IORING_ENTER_GETEVENTS, IORING_ENTER_SQ_WAKEUP = 1, 2
IORING_SQ_NEED_WAKEUP, IORING_SQ_CQ_OVERFLOW = 1, 2
IORING_REGISTER_PROBE, IORING_REGISTER_PBUF_RING = 8, 22
IORING_ACCEPT_MULTISHOT = 1
IORING_RECV_MULTISHOT = 2
IORING_CQE_F_BUFFER, IORING_CQE_F_MORE = 1, 2
IORING_CQE_BUFFER_SHIFT = 16
IOSQE_BUFFER_SELECT = 1 << 5
IO_URING_OP_SUPPORTED = 1
PBUF_RING_ENTRIES_MAX = 32768
MSG_WAITALL, MSG_NOSIGNAL = 0x100, 0x4000


class Setup(IntFlag):
    """Flags of io_uring_setup, IORING_SETUP_*."""

    SQPOLL = 1 << 1
    CQSIZE = 1 << 3
    SINGLE_ISSUER = 1 << 12
    DEFER_TASKRUN = 1 << 13


class Feature(IntFlag):
    """What a ring can do, IORING_FEAT_*."""

    SINGLE_MMAP = 1 << 0
    NODROP = 1 << 1


class Op(IntEnum):
    """Operations, IORING_OP_*."""

    POLL_ADD = 6
    TIMEOUT = 11
    ACCEPT = 13
    ASYNC_CANCEL = 14
    SEND = 26
    RECV = 27


class SqringOffsets(Structure):
    """`struct io_sqring_offsets`: where the submission queue's fields are in its mapping."""

    _fields_ = (
        *((name, c_uint32) for name in ("head", "tail", "ring_mask", "ring_entries", "flags", "dropped")),
        *(("array", c_uint32), ("resv1", c_uint32), ("user_addr", c_uint64)),
    )


class CqringOffsets(Structure):
    """`struct io_cqring_offsets`: where the completion queue's fields are in its mapping."""

    _fields_ = (
        *((name, c_uint32) for name in ("head", "tail", "ring_mask", "ring_entries", "overflow", "cqes")),
        *(("flags", c_uint32), ("resv1", c_uint32), ("user_addr", c_uint64)),
    )


class Params(Structure):
    """`struct io_uring_params`."""

    _fields_ = (
        *((name, c_uint32) for name in ("sq_entries", "cq_entries", "flags", "sq_thread_cpu")),
        *((name, c_uint32) for name in ("sq_thread_idle", "features", "wq_fd")),
        ("resv", c_uint32 * 3),
        ("sq_off", SqringOffsets),
        ("cq_off", CqringOffsets),
    )


class ProbeOp(Structure):
    """`struct io_uring_probe_op`: whether the kernel knows one operation."""

    _fields_ = (("op", c_uint8), ("resv", c_uint8), ("flags", c_uint16), ("resv2", c_uint32))


class Probe(Structure):
    """`struct io_uring_probe` with room for all operations."""

    _fields_ = (
        *(("last_op", c_uint8), ("ops_len", c_uint8), ("resv", c_uint16)),
        *(("resv2", c_uint32 * 3), ("ops", ProbeOp * 256)),
    )


class BufReg(Structure):
    """`struct io_uring_buf_reg`: a ring of buffers to register."""

    _fields_ = (
        *(("ring_addr", c_uint64), ("ring_entries", c_uint32), ("bgid", c_uint16), ("flags", c_uint16)),
        ("resv", c_uint64 * 3),
    )


class Timespec(Structure):
    """`struct __kernel_timespec`."""

    _fields_ = (("tv_sec", ctypes.c_int64), ("tv_nsec", ctypes.c_int64))


# Entries of the rings are packed and unpacked in place, which costs a tenth of a Structure's attributes.
# struct io_uring_sqe: opcode, flags, ioprio (holds multishot's flags), fd, off, addr, len, the operation's
# flags, user_data; then what no model uses, which stays zero.
SQE = struct.Struct("<BBHiQQIIQ24x")
CQE = struct.Struct("<QiI")  # struct io_uring_cqe: user_data, res, flags
BUF = struct.Struct("<QIH")  # struct io_uring_buf without resv, where the first one holds the ring's tail
BUF_BYTES, BUF_TAIL_OFFSET = 16, 14
EPOLL_EVENT_BYTES = 16  # struct epoll_event; 12 on x86-64, where it is packed


@functools.cache
def _syscall() -> Callable[..., int]:
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "io_uring belongs to Linux")
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = c_long
    return function


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def io_uring_setup(entries: int, params: Params) -> int:
    """A ring's descriptor; `params` tells where its parts are. Raises OSError."""
    call = _syscall()
    return _checked(call(c_long(SYS_IO_URING_SETUP), c_uint32(entries), ctypes.byref(params)))


def io_uring_register(fd: int, opcode: int, argument: Structure, count: int) -> None:
    """Register something with a ring. Raises OSError."""
    call = _syscall()
    number = c_long(SYS_IO_URING_REGISTER)
    _checked(call(number, c_uint32(fd), c_uint32(opcode), ctypes.byref(argument), c_uint32(count)))


def io_uring_enter() -> Callable[[int, int, int, int, int, None, int], int]:
    """The bare call: `enter(SYS_IO_URING_ENTER, fd, to_submit, min_complete, flags, None, 0)`.

    It returns how many entries were submitted, or -1 with `ctypes.get_errno()`.
    """
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "io_uring belongs to Linux")
    # A library object of its own: argument types belong to the function, which `_syscall` uses otherwise.
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = c_long
    function.argtypes = (c_long, c_uint32, c_uint32, c_uint32, c_uint32, c_void_p, c_size_t)
    return function


def getppid() -> Callable[[], int]:
    """The bare call: one of the cheapest that goes into the kernel."""
    return _of_c_library("getppid", c_int)


def epoll_wait() -> Callable[[int, int, int, int], int]:
    """The bare call: `epoll_wait(epfd, address, maxevents, timeout)`, its events at an address."""
    return _of_c_library("epoll_wait", c_int, c_int, c_void_p, c_int, c_int)


def epoll_pwait() -> Callable[[int, int, int, int, int, None, int], int]:
    """The bare call through `syscall`, with as many arguments as io_uring_enter has.

    `epoll_pwait(SYS_EPOLL_PWAIT, epfd, address, maxevents, timeout, None, 8)`; without a signal mask it is
    epoll_wait.
    """
    return _of_c_library("syscall", c_long, c_long, c_int, c_void_p, c_int, c_int, c_void_p, c_size_t)


def _of_c_library(name: str, result: type, *arguments: type) -> Callable[..., int]:
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, f"{name} belongs to Linux")
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    function.restype, function.argtypes = result, arguments
    declared: Callable[..., int] = function
    return declared
