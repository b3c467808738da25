"""Layouts as the Windows headers have them on 64 bits, and errors with number, name and text."""

import ctypes
import errno
import socket
import sys

import pytest

from servers.completion import acceptex, iocp, overlapped
from servers.ffi import win32


@pytest.mark.parametrize(
    ("structure", "size", "offsets"),
    [
        (
            win32.OVERLAPPED,
            32,
            {"Internal": 0, "InternalHigh": 8, "Offset": 16, "OffsetHigh": 20, "hEvent": 24},
        ),
        (
            win32.OVERLAPPED_ENTRY,
            32,
            {"lpCompletionKey": 0, "lpOverlapped": 8, "Internal": 16, "dwNumberOfBytesTransferred": 24},
        ),
        (win32.WSABUF, 16, {"len": 0, "buf": 8}),
        (win32.WSAPOLLFD, 16, {"fd": 0, "events": 8, "revents": 10}),
        (win32.WSANETWORKEVENTS, 44, {"lNetworkEvents": 0, "iErrorCode": 4}),
        (win32.GUID, 16, {"Data1": 0, "Data2": 4, "Data3": 6, "Data4": 8}),
        (acceptex.AcceptData, 40, {"overlapped": 0, "received": 32}),
        (iocp.IoData, 56, {"overlapped": 0, "wsabuf": 32, "flags": 48, "transferred": 52}),
        (overlapped.IoData, 56, {"overlapped": 0, "wsabuf": 32, "flags": 48}),
    ],
)
def test_structures_have_the_layout_of_the_headers(structure, size, offsets):
    assert ctypes.sizeof(structure) == size
    assert {name: getattr(structure, name).offset for name, *_ in structure._fields_} == offsets


def test_acceptex_has_its_published_name():
    assert bytes(win32.WSAID_ACCEPTEX).hex() == "f17d36b5accbcf1195ca00805f48a192"


@pytest.mark.parametrize(("code", "name"), [(64, "ERROR_NETNAME_DELETED"), (995, "ERROR_OPERATION_ABORTED")])
def test_an_error_has_number_name_and_text(code, name):
    error = win32.error(code)
    assert win32.symbol(code) == name
    assert name in str(error)
    if sys.platform == "win32":
        assert win32.code(error) == code
        assert len(error.strerror) > len(name) + 2  # the system's text follows


def test_a_code_without_a_name_is_its_number():
    assert win32.symbol(123_456) == "123456"


@pytest.mark.windows
def test_winsock_codes_are_pythons_exceptions():
    error = win32.error(errno.ECONNRESET)
    assert isinstance(error, ConnectionResetError)
    assert "WSAECONNRESET" in str(error)


@pytest.mark.windows
def test_a_failed_call_raises_with_the_systems_number():
    with pytest.raises(OSError, match="ERROR_INVALID_HANDLE") as raised:
        win32.check(win32.CloseHandle(0x7FFFFFF0))
    assert win32.code(raised.value) == win32.Error.ERROR_INVALID_HANDLE


@pytest.mark.windows
def test_every_function_is_there():
    assert win32.MISSING == {}
    assert win32.unavailable_reason("WSAPoll", "AcceptEx") is None


def test_a_missing_function_is_named_with_its_library(monkeypatch):
    monkeypatch.setitem(win32.MISSING, "WSAPoll", "ws2_32")
    assert win32.unavailable_reason("WSAPoll") == "ws2_32.dll has no WSAPoll: it takes Windows 10 or newer"


@pytest.mark.linux
def test_elsewhere_nothing_can_be_called():
    assert win32.wine_version() is None
    with pytest.raises(OSError, match=r"WSAPoll is missing from ws2_32\.dll"):
        win32.WSAPoll(None, 0, 0)


@pytest.mark.windows
def test_select_waits_for_the_socket_itself():
    """Wine's knows no other handle, nor the question."""
    with socket.socket() as any_socket:
        if win32.wine_version():
            with pytest.raises(OSError, match="WSAEOPNOTSUPP"):
                win32.select_handle(any_socket.fileno())
        else:
            assert win32.select_handle(any_socket.fileno()) == any_socket.fileno()


@pytest.mark.windows
def test_affinity():
    before = win32.affinity()
    try:
        win32.set_affinity(frozenset({min(before)}))
        assert win32.affinity() == {min(before)}
    finally:
        win32.set_affinity(before)
