"""Every listener is made here, so no model has better socket options than another.

TCP_NODELAY is set on the listener: Linux hands it down to each socket that it accepts, which saves a call for
each. Without it a second small answer would wait for the acknowledgement of the first (Nagle's algorithm).

Source: tcp(7), socket(7), listen(2), accept(2).
"""

import errno
import select
import socket

from servers.stop import Stop

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
PAUSE_S = 0.01  # short beside a client's patience; waking 100 times a second uses no CPU to speak of


def create(host: str, port: int, backlog: int) -> socket.socket:
    """A socket that listens at `host` and `port`; port 0 lets the system choose. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A port whose last connections are still in TIME_WAIT can be listened at again.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((host, port))
        listener.listen(backlog)
    except BaseException:
        listener.close()
        raise
    return listener


def effective_backlog(backlog: int) -> int:
    """What `listen` makes of `backlog`: Linux cuts it to net.core.somaxconn without a word."""
    try:
        with open("/proc/sys/net/core/somaxconn") as limit:  # noqa: PTH123 - pathlib takes 7 ms to import
            return min(backlog, int(limit.read()))
    except (OSError, ValueError):  # not Linux, or hidden in a container
        return backlog


def pause(stop: Stop) -> None:
    """Wait a moment, or until `stop` becomes readable: for when trying again at once would fail again."""
    select.select([stop], [], [], PAUSE_S)


def pause_if_exhausted(error: OSError, stop: Stop) -> None:
    """After a failed accept: wait a moment where the system has no descriptor or memory to give.

    The connection stays in the backlog and the listener ready, so without a pause a full server would spin.
    """
    if error.errno in EXHAUSTED:
        pause(stop)
