"""The system's own select on Windows, with sets that have room for all: option `fd_set=raw` of select.

An fd_set there is an array with a count, so its size is whatever its maker gives it. The system overwrites a
set with the sockets that are ready, so each wait passes in copies.

Source: "select function" and fd_set in the Winsock reference.
"""

import ctypes
import itertools
from collections.abc import Iterable

from servers.ffi import win32
from servers.readiness import loop


class Poller(loop.Poller):
    """The system's own sets, which it overwrites with what is ready: so each wait copies them first."""

    def __init__(self) -> None:
        self._readers, self._writers = _FdSet(), _FdSet()

    def watch_read(self, fd: int) -> None:
        """Report `fd` when it has something to take."""
        self._writers.discard(fd)
        self._readers.add(fd)

    def watch_write(self, fd: int) -> None:
        """Report `fd` when it takes bytes again."""
        self._readers.discard(fd)
        self._writers.add(fd)

    def forget(self, fd: int) -> None:
        """Stop reporting `fd`."""
        self._readers.discard(fd)
        self._writers.discard(fd)

    def wait(self) -> Iterable[tuple[int, object]]:
        """Block until a watched socket is ready. Raises OSError."""
        readers = self._readers.copied()
        writers = self._writers.copied() if len(self._writers) else None
        win32.check_winsock(win32.select(0, readers, writers, None, None))
        ready = self._readers.ready()
        return zip(ready + self._writers.ready() if writers else ready, itertools.repeat(None))


class _FdSet:
    """An fd_set: a count, then the sockets, at 8 bytes each as the count with what aligns it."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}
        self._sockets = (ctypes.c_uint64 * 64)()
        self._copy = (ctypes.c_uint64 * 64)()

    def __len__(self) -> int:
        return len(self._places)

    def add(self, fd: int) -> None:
        if fd in self._places:
            return
        place = len(self._places) + 1
        if place == len(self._sockets):
            larger = (ctypes.c_uint64 * (2 * place))()
            ctypes.memmove(larger, self._sockets, ctypes.sizeof(self._sockets))
            self._sockets, self._copy = larger, (ctypes.c_uint64 * (2 * place))()
        self._places[fd] = place
        self._sockets[place] = fd
        self._sockets[0] = place

    def discard(self, fd: int) -> None:
        place = self._places.pop(fd, None)
        if place is None:
            return
        last = len(self._places) + 1
        if place != last:  # the last one takes the place that has become free
            moved = self._sockets[last]
            self._sockets[place], self._places[moved] = moved, place
        self._sockets[0] = last - 1

    def copied(self) -> int:
        """The address of a copy that the system may overwrite."""
        ctypes.memmove(self._copy, self._sockets, 8 * (len(self._places) + 1))
        return ctypes.addressof(self._copy)

    def ready(self) -> list[int]:
        """What the system has left in the copy."""
        return self._copy[1 : 1 + (self._copy[0] & 0xFFFFFFFF)]
