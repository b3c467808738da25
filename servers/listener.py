"""Every listener is made here, and every connection accepted, so no model has better socket options.

Accepted sockets have TCP_NODELAY: without it a second small answer would wait for the acknowledgement of the
first (Nagle's algorithm). Linux hands it down from the listener, which saves a call for each. Windows'
reference doesn't promise that, so there it is set on each.

What else is inherited differs: on Windows an accepted socket is non-blocking where the listener is, and has
its WSAEventSelect association; on Linux neither. A model sets what it needs.

Source: tcp(7), socket(7), listen(2), accept(2); listen, accept and SO_EXCLUSIVEADDRUSE in the Winsock
reference.
"""

import errno
import select
import socket
import sys
from collections.abc import Iterator

from servers.contract import Counters
from servers.stop import Stop

# EINVAL is what Wine says when its server has no descriptor left; elsewhere it is said of a socket that
# doesn't listen, which doesn't get better at once either.
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EINVAL})
ALL_THERE_ARE = 2**31  # more than any backlog holds
PAUSE_S = 0.01  # short beside a client's patience; waking 100 times a second uses no CPU to speak of


def create(host: str, port: int, backlog: int, *, reuse_port: bool = False) -> socket.socket:
    """A socket that listens at `host` and `port`; port 0 lets the system choose. Raises OSError.

    With `reuse_port` others of this user's may listen there, too, and share the connections (Linux).
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform == "win32":
            # There SO_REUSEADDR would share the port with another program, also with one that listens.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            # A port whose last connections are still in TIME_WAIT can be listened at again.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((host, port))
        _listen(listener, backlog)
    except BaseException:
        listener.close()
        raise
    return listener


def create_several(host: str, port: int, backlog: int, count: int) -> list[socket.socket]:
    """`count` of them at one port: the kernel deals connections among them (Linux). Raises OSError."""
    # With SO_REUSEPORT alone the port of another server of this kind would be shared without a word.
    create(host, port, backlog).close()
    first = create(host, port, backlog, reuse_port=True)
    return [first, *beside(first, backlog, count - 1)]


def beside(first: socket.socket, backlog: int, count: int) -> list[socket.socket]:
    """`count` more at the port of one that `create_several` has made. Raises OSError."""
    host, port = first.getsockname()[:2]
    return [create(host, port, backlog, reuse_port=True) for _ in range(count)]


def _listen(listener: socket.socket, backlog: int) -> None:
    if sys.platform == "win32":
        from servers.ffi import win32

        # SOMAXCONN_HINT(N), which is -N: a plain number is cut to 200 without a word, and Python's own listen
        # makes 0 of a negative one.
        win32.check_winsock(win32.listen(listener.fileno(), -backlog))
    else:
        listener.listen(backlog)


def effective_backlog(backlog: int) -> int:
    """What `listen` makes of `backlog`: Linux cuts it to net.core.somaxconn without a word."""
    if sys.platform == "win32":
        from servers.ffi import win32

        return min(max(backlog, win32.BACKLOG_HINT_MIN), win32.BACKLOG_HINT_MAX)
    try:
        with open("/proc/sys/net/core/somaxconn") as limit:  # noqa: PTH123 - pathlib takes 7 ms to import
            return min(backlog, int(limit.read()))
    except (OSError, ValueError):  # not Linux, or hidden in a container
        return backlog


def accept(listener: socket.socket) -> socket.socket:
    """Take one connection. Raises OSError, also where the peer is gone already."""
    connection, _ = listener.accept()
    return with_options(connection) if sys.platform == "win32" else connection


def accept_those_there(
    listener: socket.socket, stop: Stop, counters: Counters, accepts_per_wait: int
) -> Iterator[socket.socket]:
    """The connections that are there; at most so many, all where 0. `listener` is non-blocking.

    One that fails is counted and ends them; where the system has nothing to give, after a pause.
    """
    for _ in range(accepts_per_wait or ALL_THERE_ARE):
        try:
            connection = accept(listener)
        except BlockingIOError:  # all taken, or the peer gave up between the wait and the accept
            return
        except OSError as error:  # reset before it was accepted (Windows), or no descriptor left
            counters.failed(error)
            pause_if_exhausted(error, stop)  # the listener stays ready: without a pause this spins
            return
        yield connection


def with_options(connection: socket.socket) -> socket.socket:
    """`connection` with the options that it hasn't inherited; it is closed where that fails with OSError."""
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:  # reset before it was accepted
        connection.close()
        raise
    return connection


def wait(stop: Stop) -> None:
    """Wait until `stop` becomes readable."""
    select.select([stop], [], [])


def pause(stop: Stop) -> None:
    """Wait a moment, or until `stop` becomes readable: for when trying again at once would fail again."""
    select.select([stop], [], [], PAUSE_S)


def pause_if_exhausted(error: OSError, stop: Stop) -> None:
    """After a failed accept: wait a moment where the system has no descriptor or memory to give.

    The connection stays in the backlog and the listener ready, so without a pause a full server would spin.
    """
    if error.errno in EXHAUSTED:
        pause(stop)
