"""Accepts that are started ahead and complete at a port: `accept=acceptex` of iocp.py.

AcceptEx is given the socket that is to become the connection, so one has to be made for each accept in
flight. It takes no bytes with the accept: a client that says nothing would keep it from completing. What it
gives becomes a connection like any other by SO_UPDATE_ACCEPT_CONTEXT.

An accept that can't be started, for want of memory say, is parked until a connection ends.

Source: AcceptEx in the Winsock reference.
"""

import ctypes
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from servers.ffi import win32
from servers.ffi.win32 import DWORD, OVERLAPPED
from servers.listener import EXHAUSTED, pause, with_options

if TYPE_CHECKING:
    from servers.completion.iocp import Server

ACCEPTS_AHEAD = 16  # with 1 a burst of connections is accepted one wake-up after the other
ADDRESS_BYTES = 28 + win32.RELATION_EXTRA_ADDRESS_BYTES  # of an IPv6 address, the longer of both


def start(server: "Server", key: int) -> None:
    """Connect the server's listener with its port, under `key`, and start accepts. Raises OSError."""
    listener = server.listener.fileno()
    win32.check(win32.CreateIoCompletionPort(listener, server.port, key, 0))
    accept_ex = win32.accept_ex(listener)
    for _ in range(ACCEPTS_AHEAD):
        Acceptor(server, accept_ex, key).start()


class AcceptData(ctypes.Structure):
    """What the kernel writes while an accept is in flight, OVERLAPPED first."""

    _fields_ = (("overlapped", OVERLAPPED), ("received", DWORD))


class Acceptor:
    """One accept that is started ahead: a socket that isn't a connection yet, and its operation."""

    def __init__(self, server: "Server", accept_ex: Callable[..., int], key: int) -> None:
        self.server = server
        self.accept_ex = accept_ex
        self.key = key
        self.data = AcceptData()
        self.address = ctypes.addressof(self.data)
        self.addresses = ctypes.create_string_buffer(2 * ADDRESS_BYTES)
        self.listener_handle = win32.SOCKET(server.listener.fileno())
        self.socket: socket.socket | None = None

    def start(self) -> None:
        """Start an accept; where nothing is to be had for it, wait until a connection has ended."""
        server = self.server
        if server.stopping:
            return
        try:
            self.socket = socket.socket(server.listener.family, socket.SOCK_STREAM)
            server.acceptors[self.address] = self
            result = self.accept_ex(
                *(self.listener_handle.value, self.socket.fileno(), ctypes.addressof(self.addresses), 0),
                *(ADDRESS_BYTES, ADDRESS_BYTES, self.address + AcceptData.received.offset, self.address),
            )
            win32.started(0 if result else win32.SOCKET_ERROR)
        except OSError as error:
            server.acceptors.pop(self.address, None)
            server.counters.failed(error)
            self.close()
            self.park()

    def park(self) -> None:
        """Wait for the end of a connection; where there is none, for a moment, and try again."""
        server = self.server
        with server.opening:  # so that the last connection doesn't end in between
            if server.connections or server.acceptors:
                server.parked.append(self)
                return
        pause(server.stop)
        # By a packet: in a call of its own it would be a recursion without an end.
        server.acceptors[self.address] = self
        server.post(0, self.key, self.address)

    def completed(self, *, failed: bool) -> None:
        """A connection has come, or the accept failed; start the next one."""
        accepted, self.socket = self.socket, None
        if accepted is not None and self.server.stopping:  # cancelled, or too late
            accepted.close()
        elif accepted is not None and failed:
            error = win32.operation_error(self.listener_handle.value, self.address)
            self.server.counters.failed(error)
            accepted.close()
            if error.errno in EXHAUSTED:
                self.park()
                return
        elif accepted is not None:
            self.open(accepted)
        self.start()

    def open(self, accepted: socket.socket) -> None:
        """Make a connection of a socket that the system has connected."""
        try:
            win32.check_winsock(
                win32.setsockopt(
                    *(accepted.fileno(), win32.SOL_SOCKET, win32.SO_UPDATE_ACCEPT_CONTEXT),
                    *(ctypes.addressof(self.listener_handle), ctypes.sizeof(self.listener_handle)),
                )
            )
            with_options(accepted)
        except OSError as error:  # reset meanwhile
            self.server.counters.failed(error)
            accepted.close()
            return
        self.server.open(accepted)

    def close(self) -> None:
        """Let go of the socket that was to become a connection."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None
