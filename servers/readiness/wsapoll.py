"""WSAPoll. Windows.

poll's interface on Winsock: every wait passes in an array of all watched sockets and searches all answers, so
idle connections cost time, but nothing limits how many they are. Python's select module doesn't have it, so
the array is made here through ctypes; its answers are searched by one slice over all of them, in C.

A trap: a peer that has half-closed is reported as hung up again and again, also to who waits for room to
write alone. While it reads too slowly, that would keep the loop spinning. So where nothing else is ready,
what is only hung up is left out of one wait that lasts a moment.

Source: WSAPoll and WSAPOLLFD in the Winsock reference; POLLPRI isn't supported and is never asked for.
"""

import ctypes
import socket
import sys
from collections.abc import Iterable

from servers.contract import Counters, Options
from servers.ffi import win32
from servers.ffi.win32 import WSAPOLLFD, Poll
from servers.readiness import loop
from servers.stop import Stop

WITHOUT_LIMIT_MS = -1
HUNG_UP_PAUSE_MS = 10  # a peer that reads again waits no longer; 100 looks a second use no CPU to speak of
SHORTS = ctypes.sizeof(WSAPOLLFD) // 2  # of one element: the answer is the sixth
REVENTS = WSAPOLLFD.revents.offset // 2
IGNORED = 2**64 - 1  # a negative descriptor


def unavailable_reason(_options: Options) -> str | None:
    """Why this model can't run here, and the cure; None where it can."""
    if sys.platform != "win32":
        return "WSAPoll belongs to Windows: run it there, or use poll"
    return win32.unavailable_reason("WSAPoll")


def connections_max(_options: Options) -> int | None:
    """How many connections it can carry: as many as there is memory for."""
    return None


def serve(listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
    """Echo on every connection of `listener` until `stop` becomes readable."""
    loop.serve(Poller(), listener, stop, options, counters)


class Poller(loop.Poller):
    """The array of watched sockets."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}
        self._array = (WSAPOLLFD * 64)()
        self._grow(64)

    def watch_read(self, fd: int) -> None:
        """Report `fd` when it has something to take."""
        self._watch(fd, Poll.RDNORM)

    def watch_write(self, fd: int) -> None:
        """Report `fd` when it takes bytes again."""
        self._watch(fd, Poll.WRNORM)

    def forget(self, fd: int) -> None:
        """Stop reporting `fd`."""
        place = self._places.pop(fd)
        last = len(self._places)
        if place != last:  # the last one takes the place that has become free
            moved = self._array[last]
            self._array[place] = moved
            self._places[moved.fd] = place

    def wait(self) -> Iterable[tuple[int, object]]:
        """Block until a watched socket is ready. Raises OSError."""
        found = self._poll(WITHOUT_LIMIT_MS)
        array = self._array
        useless = [place for place, events in found if _is_useless(array[place].events, events)]
        if len(useless) == len(found):
            found = self._wait_without(useless)
        return [(array[place].fd, events) for place, events in found]

    def _poll(self, timeout_ms: int) -> list[tuple[int, int]]:
        count = len(self._places)
        win32.check_winsock(win32.WSAPoll(self._address, count, timeout_ms))
        answers = self._shorts[REVENTS : count * SHORTS : SHORTS].tolist()
        return [(place, events) for place, events in enumerate(answers) if events]

    def _wait_without(self, places: list[int]) -> list[tuple[int, int]]:
        """Wait a moment for all but the sockets at `places`."""
        fds = [self._array[place].fd for place in places]
        for place in places:
            self._array[place].fd = IGNORED
        try:
            return self._poll(HUNG_UP_PAUSE_MS)
        finally:
            for place, fd in zip(places, fds, strict=True):
                self._array[place].fd = fd

    def _watch(self, fd: int, events: int) -> None:
        place = self._places.get(fd)
        if place is None:
            place = len(self._places)
            if place == len(self._array):
                self._grow(2 * place)
            self._places[fd] = place
        self._array[place] = WSAPOLLFD(fd, events, 0)

    def _grow(self, capacity: int) -> None:
        larger = (WSAPOLLFD * capacity)()
        for place in range(len(self._places)):
            larger[place] = self._array[place]
        self._array = larger
        self._address = ctypes.addressof(larger)
        self._shorts = memoryview(larger).cast("B").cast("h")


def _is_useless(asked: int, events: int) -> bool:
    """Whether a socket that is to be written to can't be, and hasn't failed: it is only half-closed."""
    return asked == Poll.WRNORM and events & (Poll.WRNORM | Poll.ERR | Poll.NVAL) == 0
