"""io_uring: completions, as at a port, through memory shared with the kernel. Linux.

As with a completion port I/O is started ahead and asked for when it is done. What sets it apart is how:
requests are written into a ring and one call hands over all of them and waits, so with many connections a
request costs a fraction of a system call where every other model makes two or three.

By default each connection has one receive or one send in flight, in a buffer of its own, which bounds what is
kept for it (`single_shot.py`). With `multishot` one accept and one receive for each connection go on giving
completions, and the kernel takes buffers for them from a ring that all connections share (`multishot.py`).

`setup` says who does the kernel's part of a completion: this thread when it asks for completions
(`defer_taskrun`), or whenever one is there, by an interrupt (`plain`). With `sqpoll` a thread of the kernel
looks for requests, so none is handed over by a call; it sleeps after a millisecond without any.

Source: io_uring(7), io_uring_enter(2), io_uring_setup(2); "io_uring and networking in 2023" in the wiki of
liburing.
"""

import errno
import os
import socket

from servers.completion.multishot import Multishot
from servers.completion.ring import CQE_BYTES, SQE_BYTES, Ring
from servers.completion.ring_server import FD
from servers.completion.single_shot import SingleShot
from servers.contract import Counters, Options
from servers.ffi.linux import Setup
from servers.stop import Stop

ENTRIES, COMPLETIONS = 4096, 32768
SQ_THREAD_IDLE_MS = 1  # the least there is: past that it would use a CPU that other servers need
RING_BYTES = ENTRIES * (SQE_BYTES + 4) + COMPLETIONS * CQE_BYTES
LOCKED_MEMORY = (
    f"too little locked memory: a ring takes {RING_BYTES >> 10} KiB of what all processes of a user may lock "
    "together: raise that by `ulimit -l 65536` as root in this shell (docker: --ulimit memlock=67108864)"
)

SETUPS = {
    "defer_taskrun": Setup.SINGLE_ISSUER | Setup.DEFER_TASKRUN,
    "plain": Setup(0),
    "sqpoll": Setup.SQPOLL,
}


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
        counters.serving()
        server.run()
    finally:
        ring.close()
