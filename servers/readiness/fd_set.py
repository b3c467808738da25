"""How many sockets Python's select takes: what limits every way of waiting that is built on it.

On Linux the set is a bitmap, and no descriptor from FD_SETSIZE up fits into it, however few are watched. On
Windows it is an array with a count, and FD_SETSIZE the room that Python was compiled with.

Source: select(2); fd_set in the Winsock reference; FD_SETSIZE in CPython's selectmodule.c.
"""

import os
import sys

FD_SETSIZE = 512 if sys.platform == "win32" else 1024


class FdSetsizeExceeded(Exception):  # noqa: N818 - its name is what it is counted under
    """A socket for which the set has no room."""


def room(*, beside: int) -> int:
    """How many connections fit, beside so many sockets that the server itself watches."""
    if sys.platform == "win32":
        return FD_SETSIZE - beside
    return FD_SETSIZE - sum(_is_open(fd) for fd in range(FD_SETSIZE))


def check(fd: int, watched: int) -> None:
    """Raise FdSetsizeExceeded where a set with `watched` others can't hold `fd`."""
    if (watched if sys.platform == "win32" else fd) >= FD_SETSIZE:
        raise FdSetsizeExceeded


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
