"""WSAEventSelect. Windows.

The system sets an event object when something happens on a socket, and the thread waits for the events. A
wait takes 64 of them (WSA_MAXIMUM_WAIT_EVENTS), so with more sockets several share an event, and each that is
set costs a call for each of its sockets to ask what happened: with 1000 connections, 16. That is what sets it
apart, and why nobody recommends it for many.

What happens is recorded once. FD_READ is recorded again after a receive that left something, as if it were
level-triggered; FD_CLOSE never, so it is kept here until the connection is closed. Asking anew
(WSAEventSelect) records what holds at that moment: how a socket goes from reading to writing and back.

Source: WSAEventSelect, WSAEnumNetworkEvents and WSAWaitForMultipleEvents in the Winsock reference.
"""

import ctypes
import socket
import sys
from collections.abc import Iterable

from servers.contract import Counters, Options
from servers.ffi import win32
from servers.ffi.win32 import HANDLE, WSANETWORKEVENTS, Network
from servers.readiness import loop
from servers.stop import Stop

READ = Network.FD_ACCEPT | Network.FD_READ | Network.FD_CLOSE
WRITE = Network.FD_WRITE | Network.FD_CLOSE
EVENTS = win32.WSA_MAXIMUM_WAIT_EVENTS


def unavailable_reason(_options: Options) -> str | None:
    """Why this model can't run here, and the cure; None where it can."""
    if sys.platform != "win32":
        return "WSAEventSelect belongs to Windows: run it there"
    return win32.unavailable_reason("WSAEventSelect", "WSAWaitForMultipleEvents")


def connections_max(_options: Options) -> int | None:
    """How many connections it can carry: as many as there is memory for."""
    return None


def serve(listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
    """Echo on every connection of `listener` until `stop` becomes readable."""
    poller = Poller()
    try:
        loop.serve(poller, listener, stop, options, counters)
    finally:
        poller.close()


class Poller(loop.Poller):
    """64 events, each with its share of the sockets."""

    def __init__(self) -> None:
        self._handles = (HANDLE * EVENTS)(*(win32.check(win32.WSACreateEvent()) for _ in range(EVENTS)))
        self._address = ctypes.addressof(self._handles)
        self._sockets: list[dict[int, Network]] = [{} for _ in range(EVENTS)]  # what each is watched for
        self._event_of: dict[int, int] = {}
        self._closed: set[int] = set()  # whose FD_CLOSE was reported, once
        self._found = WSANETWORKEVENTS()
        self._found_address = ctypes.addressof(self._found)
        self._first = 0  # the event that is looked at first: another each time, so that none starves

    def close(self) -> None:
        """Give the events back."""
        for handle in self._handles:
            win32.WSACloseEvent(handle)

    def watch_read(self, fd: int) -> None:
        """Report `fd` when it has something to take. Raises OSError."""
        self._watch(fd, READ)

    def watch_write(self, fd: int) -> None:
        """Report `fd` when it takes bytes again. Raises OSError."""
        self._watch(fd, WRITE)

    def forget(self, fd: int) -> None:
        """Stop reporting `fd`."""
        event = self._event_of.pop(fd)
        del self._sockets[event][fd]
        self._closed.discard(fd)
        win32.WSAEventSelect(fd, None, 0)

    def wait(self) -> Iterable[tuple[int, object]]:
        """Block until a watched socket is ready. Raises OSError."""
        readable_to_the_end = [fd for fd in self._closed if self._sockets[self._event_of[fd]][fd] == READ]
        events = self._wait_for_events(0 if readable_to_the_end else win32.INFINITE)
        ready = {fd: None for event in events for fd in self._happened(event)}
        return [(fd, None) for fd in dict.fromkeys(readable_to_the_end) | ready]

    def _wait_for_events(self, timeout_ms: int) -> list[int]:
        """The events that are set, beginning with another each time."""
        wait, address = win32.WSAWaitForMultipleEvents, self._address
        lowest = wait(EVENTS, address, False, timeout_ms, False)
        if lowest == win32.WSA_WAIT_TIMEOUT:
            return []
        if lowest == win32.WAIT_FAILED:
            raise win32.last_error()
        # It tells the lowest that is set; the others have to be asked for.
        others = [
            event
            for event in range(lowest + 1, EVENTS)
            if self._sockets[event] and wait(1, address + 8 * event, False, 0, False) == 0
        ]
        self._first = (self._first + 1) % EVENTS
        return sorted([lowest, *others], key=lambda event: (event - self._first) % EVENTS)

    def _happened(self, event: int) -> list[int]:
        """The sockets of an event on which something happened that they are watched for."""
        win32.WSAResetEvent(self._handles[event])  # first: what happens from here on sets it again
        ready = []
        for fd, watched in self._sockets[event].items():
            win32.check_winsock(win32.WSAEnumNetworkEvents(fd, None, self._found_address))
            events = self._found.lNetworkEvents
            if events & Network.FD_CLOSE:
                self._closed.add(fd)
            if events & watched:
                ready.append(fd)
        return ready

    def _watch(self, fd: int, events: Network) -> None:
        event = self._event_of.get(fd)
        if event is None:
            event = min(range(EVENTS), key=lambda one: len(self._sockets[one]))
        # Also for a socket that its listener has handed its own association to.
        win32.check_winsock(win32.WSAEventSelect(fd, self._handles[event], events))
        self._event_of[fd] = event
        self._sockets[event][fd] = events
