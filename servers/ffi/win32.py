"""Declarations of the Win32 and Winsock calls that the Windows models make.

Names are the system's own, so each can be looked up in its reference (the Win32 API reference, by title).
Structures use fixed-width types, never ctypes.wintypes (its DWORD has 8 bytes on Linux), so that their layout
is asserted by tests on every system. Importing this module works everywhere; elsewhere calls raise OSError.

Pointers are declared as addresses (`c_void_p`): an integer costs less to pass than an instance that ctypes
has to look into, and who starts an operation has its addresses at hand.

A call's failure comes out through one gate: `check`, `check_winsock`, `started` and `operation_error` give
an OSError with the system's number, its symbolic name and its text.
"""

import ctypes
import functools
import sys
from collections.abc import Callable
from ctypes import Structure, c_int16, c_int32, c_uint8, c_uint16, c_uint32, c_void_p
from enum import IntEnum, IntFlag
from typing import Any

DWORD, HANDLE, SOCKET, ULONG_PTR = c_uint32, c_void_p, ctypes.c_size_t, ctypes.c_size_t

LOAD_LIBRARY_SEARCH_SYSTEM32 = 0x800
INFINITE = 0xFFFFFFFF
INVALID_HANDLE_VALUE = 2 ** (8 * ctypes.sizeof(c_void_p)) - 1
SOCKET_ERROR = -1
WAIT_FAILED = 0xFFFFFFFF
THREAD_SET_CONTEXT = 0x0010
RELATION_EXTRA_ADDRESS_BYTES = 16  # AcceptEx wants room for each address and this much more

SOL_SOCKET = 0xFFFF
SO_UPDATE_ACCEPT_CONTEXT = 0x700B
SIO_GET_EXTENSION_FUNCTION_POINTER = 0xC8000006
SIO_BSP_HANDLE_SELECT = 0x4800001C
WSA_MAXIMUM_WAIT_EVENTS = 64
WSA_WAIT_TIMEOUT = 258
FILE_SKIP_COMPLETION_PORT_ON_SUCCESS = 1
FILE_SKIP_SET_EVENT_ON_HANDLE = 2
BACKLOG_HINT_MIN, BACKLOG_HINT_MAX = 200, 65535  # what `listen` keeps SOMAXCONN_HINT(N) within


class Error(IntEnum):
    """Codes of GetLastError and WSAGetLastError that sockets give, under their symbolic names.

    Those that Python's errno knows (WSAECONNRESET and its kind) aren't repeated here.
    """

    ERROR_ACCESS_DENIED = 5
    ERROR_INVALID_HANDLE = 6
    ERROR_NOT_ENOUGH_MEMORY = 8
    ERROR_UNEXP_NET_ERR = 59
    ERROR_NETNAME_DELETED = 64  # the peer reset the connection
    ERROR_INVALID_PARAMETER = 87
    ERROR_SEM_TIMEOUT = 121
    WAIT_TIMEOUT = 258
    ERROR_ABANDONED_WAIT_0 = 735  # the port was closed under its waiter
    ERROR_OPERATION_ABORTED = 995  # cancelled, or the socket was closed under the operation
    ERROR_IO_INCOMPLETE = 996
    ERROR_IO_PENDING = 997  # not a failure: the completion will come
    ERROR_NOT_FOUND = 1168  # nothing was left to cancel
    ERROR_CONNECTION_REFUSED = 1225
    ERROR_CONNECTION_ABORTED = 1236
    ERROR_NO_SYSTEM_RESOURCES = 1450
    WSASYSNOTREADY = 10091
    WSAVERNOTSUPPORTED = 10092
    WSANOTINITIALISED = 10093
    WSAHOST_NOT_FOUND = 11001


class Poll(IntFlag):
    """Events of WSAPOLLFD. POLLPRI doesn't exist: asking for it fails with WSAEINVAL."""

    RDNORM = 0x0100
    WRNORM = 0x0010
    ERR = 0x0001
    HUP = 0x0002
    NVAL = 0x0004


class Network(IntFlag):
    """Network events of WSAEventSelect."""

    FD_READ = 0x01
    FD_WRITE = 0x02
    FD_ACCEPT = 0x08
    FD_CLOSE = 0x20


class OVERLAPPED(Structure):
    """One operation in flight, as the kernel knows it. It must not move or die before its completion."""

    _fields_ = (
        ("Internal", ULONG_PTR),  # an NTSTATUS, not a Win32 code
        ("InternalHigh", ULONG_PTR),  # bytes transferred
        ("Offset", c_uint32),  # 0 for sockets
        ("OffsetHigh", c_uint32),
        ("hEvent", HANDLE),
    )


class OVERLAPPED_ENTRY(Structure):
    """One completion, as GetQueuedCompletionStatusEx gives it."""

    _fields_ = (
        ("lpCompletionKey", ULONG_PTR),
        ("lpOverlapped", c_void_p),
        ("Internal", ULONG_PTR),
        ("dwNumberOfBytesTransferred", c_uint32),
    )


class WSABUF(Structure):
    """A buffer of an overlapped call."""

    _fields_ = (("len", c_uint32), ("buf", c_void_p))


class WSAPOLLFD(Structure):
    """A socket to wait for; a negative `fd` is passed over."""

    _fields_ = (("fd", SOCKET), ("events", c_int16), ("revents", c_int16))


class WSANETWORKEVENTS(Structure):
    """What happened on a socket since it was last asked."""

    _fields_ = (("lNetworkEvents", c_int32), ("iErrorCode", c_int32 * 10))


class GUID(Structure):
    """The name of an extension function."""

    _fields_ = (("Data1", c_uint32), ("Data2", c_uint16), ("Data3", c_uint16), ("Data4", c_uint8 * 8))


WSAID_ACCEPTEX = GUID(
    0xB5367DF1, 0xCBAC, 0x11CF, (c_uint8 * 8)(0x95, 0xCA, 0x00, 0x80, 0x5F, 0x48, 0xA1, 0x92)
)

_LIBRARIES: dict[str, dict[str, tuple[Any, ...]]] = {
    "kernel32": {
        "CloseHandle": (c_int32, HANDLE),
        "CreateIoCompletionPort": (HANDLE, HANDLE, HANDLE, ULONG_PTR, DWORD),
        "GetQueuedCompletionStatus": (c_int32, HANDLE, c_void_p, c_void_p, c_void_p, DWORD),
        "GetQueuedCompletionStatusEx": (c_int32, HANDLE, c_void_p, DWORD, c_void_p, DWORD, c_int32),
        "PostQueuedCompletionStatus": (c_int32, HANDLE, DWORD, ULONG_PTR, c_void_p),
        "SetFileCompletionNotificationModes": (c_int32, HANDLE, c_uint8),
        "CancelIoEx": (c_int32, HANDLE, c_void_p),
        "SleepEx": (DWORD, DWORD, c_int32),
        "QueueUserAPC": (DWORD, c_void_p, HANDLE, ULONG_PTR),
        "GetCurrentThreadId": (DWORD,),
        "OpenThread": (HANDLE, DWORD, c_int32, DWORD),
        "GetCurrentProcess": (HANDLE,),
        "GetCurrentProcessId": (DWORD,),
        "GetProcessAffinityMask": (c_int32, HANDLE, c_void_p, c_void_p),
        "SetProcessAffinityMask": (c_int32, HANDLE, ULONG_PTR),
    },
    "ws2_32": {
        "WSARecv": (c_int32, SOCKET, c_void_p, DWORD, c_void_p, c_void_p, c_void_p, c_void_p),
        "WSASend": (c_int32, SOCKET, c_void_p, DWORD, c_void_p, DWORD, c_void_p, c_void_p),
        "WSAGetOverlappedResult": (c_int32, SOCKET, c_void_p, c_void_p, c_int32, c_void_p),
        "WSAIoctl": (
            *(c_int32, SOCKET, DWORD, c_void_p, DWORD, c_void_p, DWORD),
            *(c_void_p, c_void_p, c_void_p),
        ),
        "WSAPoll": (c_int32, c_void_p, DWORD, c_int32),
        "WSACreateEvent": (HANDLE,),
        "WSACloseEvent": (c_int32, HANDLE),
        "WSAResetEvent": (c_int32, HANDLE),
        "WSAEventSelect": (c_int32, SOCKET, HANDLE, c_int32),
        "WSAEnumNetworkEvents": (c_int32, SOCKET, HANDLE, c_void_p),
        "WSAWaitForMultipleEvents": (DWORD, DWORD, c_void_p, c_int32, DWORD, c_int32),
        "listen": (c_int32, SOCKET, c_int32),
        "select": (c_int32, c_int32, c_void_p, c_void_p, c_void_p, c_void_p),
        "setsockopt": (c_int32, SOCKET, c_int32, c_int32, c_void_p, c_int32),
    },
}
"""Every function: result, then arguments."""

MISSING: dict[str, str] = {}
"""Functions that this Windows doesn't have, and the library where they should be."""


def _missing(name: str) -> Callable[..., Any]:
    def call(*_: object) -> Any:
        raise OSError(f"{name} is missing from {MISSING[name]}.dll")

    return call


if sys.platform == "win32":
    # LOAD_LIBRARY_SEARCH_SYSTEM32: never a file of that name in the user's folder.
    _load = functools.cache(
        functools.partial(ctypes.WinDLL, use_last_error=True, winmode=LOAD_LIBRARY_SEARCH_SYSTEM32)
    )
    _format_error, _get_last_error = ctypes.FormatError, ctypes.get_last_error
    _function_type = functools.partial(ctypes.WINFUNCTYPE, use_last_error=True)
else:

    def _load(name: str) -> Any:
        raise OSError(f"{name} belongs to Windows")

    def _format_error(_code: int) -> str:
        return ""

    def _get_last_error() -> int:
        return 0

    _function_type = ctypes.CFUNCTYPE


def _declared(library: str, name: str) -> Callable[..., Any]:
    try:
        function = getattr(_load(f"{library}.dll"), name)
    except (AttributeError, OSError):  # an older system, or another
        MISSING[name] = library
        return _missing(name)
    function.restype, *function.argtypes = _LIBRARIES[library][name]
    declared: Callable[..., Any] = function
    return declared


CompletionRoutine = _function_type(None, DWORD, DWORD, c_void_p, DWORD)
UserAPC = _function_type(None, ULONG_PTR)
AcceptEx = _function_type(c_int32, SOCKET, SOCKET, c_void_p, DWORD, DWORD, DWORD, c_void_p, c_void_p)

CloseHandle = _declared("kernel32", "CloseHandle")
CreateIoCompletionPort = _declared("kernel32", "CreateIoCompletionPort")
GetQueuedCompletionStatus = _declared("kernel32", "GetQueuedCompletionStatus")
GetQueuedCompletionStatusEx = _declared("kernel32", "GetQueuedCompletionStatusEx")
PostQueuedCompletionStatus = _declared("kernel32", "PostQueuedCompletionStatus")
SetFileCompletionNotificationModes = _declared("kernel32", "SetFileCompletionNotificationModes")
CancelIoEx = _declared("kernel32", "CancelIoEx")
SleepEx = _declared("kernel32", "SleepEx")
QueueUserAPC = _declared("kernel32", "QueueUserAPC")
GetCurrentThreadId = _declared("kernel32", "GetCurrentThreadId")
OpenThread = _declared("kernel32", "OpenThread")
GetCurrentProcess = _declared("kernel32", "GetCurrentProcess")
GetCurrentProcessId = _declared("kernel32", "GetCurrentProcessId")
GetProcessAffinityMask = _declared("kernel32", "GetProcessAffinityMask")
SetProcessAffinityMask = _declared("kernel32", "SetProcessAffinityMask")
WSARecv = _declared("ws2_32", "WSARecv")
WSASend = _declared("ws2_32", "WSASend")
WSAGetOverlappedResult = _declared("ws2_32", "WSAGetOverlappedResult")
WSAIoctl = _declared("ws2_32", "WSAIoctl")
WSAPoll = _declared("ws2_32", "WSAPoll")
WSACreateEvent = _declared("ws2_32", "WSACreateEvent")
WSACloseEvent = _declared("ws2_32", "WSACloseEvent")
WSAResetEvent = _declared("ws2_32", "WSAResetEvent")
WSAEventSelect = _declared("ws2_32", "WSAEventSelect")
WSAEnumNetworkEvents = _declared("ws2_32", "WSAEnumNetworkEvents")
WSAWaitForMultipleEvents = _declared("ws2_32", "WSAWaitForMultipleEvents")
listen = _declared("ws2_32", "listen")
select = _declared("ws2_32", "select")
setsockopt = _declared("ws2_32", "setsockopt")


def unavailable_reason(*names: str) -> str | None:
    """Why functions called `names` can't be called here, and the cure; None where they can."""
    for name in names:
        if name in MISSING:
            return f"{MISSING[name]}.dll has no {name}: it takes Windows 10 or newer"
    return None


def wine_version() -> str | None:
    """Wine's version where this is Wine, which answers as Windows otherwise; None elsewhere."""
    try:
        function = _load("ntdll.dll").wine_get_version
    except (AttributeError, OSError):
        return None
    function.restype, function.argtypes = ctypes.c_char_p, ()
    return str(function().decode())


# --- the gate for errors ---------------------------------------------------------------------------


def symbol(code: int) -> str:
    """The system's name for an error code: `WSAECONNRESET`; the number where there is none here."""
    from errno import errorcode

    try:
        return Error(code).name
    except ValueError:
        return errorcode.get(code, str(code))


def error(code: int) -> OSError:
    """The failure that `code` stands for: an OSError with number, symbolic name and text."""
    text = _format_error(code).strip()
    # Given number and Winsock code, Python chooses the class: ConnectionResetError and its kind.
    return OSError(None, f"{symbol(code)}: {text}" if text else symbol(code), None, code)


def code(failure: OSError) -> int:
    """The system's number for `failure`; 0 where it isn't the system's."""
    return getattr(failure, "winerror", None) or failure.errno or 0


def last_error() -> OSError:
    """The failure of the last call that this thread made."""
    return error(_get_last_error())


def check(succeeded: int) -> int:
    """Pass a call's result on; raise OSError where it is the zero or null that means failure."""
    if not succeeded:
        raise last_error()
    return succeeded


def check_winsock(result: int) -> int:
    """Pass a Winsock call's result on; raise OSError where it is SOCKET_ERROR."""
    if result == SOCKET_ERROR:
        raise last_error()
    return result


def started(result: int) -> bool:
    """Whether an overlapped call will complete by a packet or routine; False where it is done already.

    Without a skip mode one that is done at once completes by a packet as well. Raises OSError where it
    failed to start: then no completion comes.
    """
    if result == 0:
        return False
    if _get_last_error() == Error.ERROR_IO_PENDING:
        return True
    raise last_error()


def operation_error(handle: int, overlapped: int) -> OSError:
    """Why the operation at `overlapped` on socket `handle` failed, as Winsock calls it.

    A completion port reports what the kernel's NTSTATUS is called in Win32 (ERROR_NETNAME_DELETED for a
    reset), Winsock what every other model sees (WSAECONNRESET).
    """
    transferred, flags = DWORD(), DWORD()
    if WSAGetOverlappedResult(handle, overlapped, ctypes.addressof(transferred), 0, ctypes.addressof(flags)):
        return error(Error.ERROR_OPERATION_ABORTED)  # it reported a failure that it has forgotten since
    return last_error()


def address_of(function: "ctypes._CFunctionType") -> int | None:
    """The address of a callback, which costs less to pass than the callback."""
    return ctypes.cast(function, c_void_p).value


def accept_ex(listener: int) -> "Callable[..., int]":
    """AcceptEx, which has no import library: asked for by its name. Raises OSError."""
    address, returned = c_void_p(), DWORD()
    check_winsock(
        WSAIoctl(
            *(listener, SIO_GET_EXTENSION_FUNCTION_POINTER),
            *(ctypes.addressof(WSAID_ACCEPTEX), ctypes.sizeof(WSAID_ACCEPTEX)),
            *(ctypes.addressof(address), ctypes.sizeof(address)),
            *(ctypes.addressof(returned), None, None),
        )
    )
    return AcceptEx(address.value or 0)


def select_handle(socket: int) -> int:
    """The handle of `socket` that select waits for, the base provider's. Raises OSError, always on Wine."""
    handle, returned = SOCKET(), DWORD()
    check_winsock(
        WSAIoctl(
            *(socket, SIO_BSP_HANDLE_SELECT, None, 0, ctypes.addressof(handle), ctypes.sizeof(handle)),
            *(ctypes.addressof(returned), None, None),
        )
    )
    return handle.value


def affinity() -> frozenset[int]:
    """The CPUs of this process's group that it may run on. Raises OSError."""
    allowed, of_system = ULONG_PTR(), ULONG_PTR()
    check(GetProcessAffinityMask(GetCurrentProcess(), ctypes.addressof(allowed), ctypes.addressof(of_system)))
    return frozenset(cpu for cpu in range(allowed.value.bit_length()) if allowed.value >> cpu & 1)


def set_affinity(cpus: frozenset[int]) -> None:
    """Keep this process on `cpus`. Raises OSError where one of them isn't to be had."""
    check(SetProcessAffinityMask(GetCurrentProcess(), sum(1 << cpu for cpu in cpus)))
