"""The few calls of Windows that Python's library doesn't have. Imported on Windows alone.

Source: the Win32 API reference, under the names used here; "System Error Codes" and "Windows Sockets Error
Codes" there.
"""

import ctypes
import errno
import socket
import struct
import sys
from ctypes import c_int32, c_size_t, c_uint32, c_void_p

assert sys.platform == "win32"

_SIO_TCP_INITIAL_RTO = 0x98000011
_SYSTEM_RTT, _NO_SYN_RETRANSMISSIONS = 0xFFFF, 0xFE
# Errno's own numbers, below, have other meanings as codes of Windows.
_WINSOCK_CODES = range(10000, 12000)

_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
_ws2_32 = ctypes.WinDLL("ws2_32", use_last_error=True)

_GetCurrentProcess = _kernel32.GetCurrentProcess
_GetCurrentProcess.restype, _GetCurrentProcess.argtypes = c_void_p, ()
_GetProcessAffinityMask = _kernel32.GetProcessAffinityMask
_GetProcessAffinityMask.restype, _GetProcessAffinityMask.argtypes = c_int32, (c_void_p, c_void_p, c_void_p)
_SetProcessAffinityMask = _kernel32.SetProcessAffinityMask
_SetProcessAffinityMask.restype, _SetProcessAffinityMask.argtypes = c_int32, (c_void_p, c_size_t)
_WSAIoctl = _ws2_32.WSAIoctl
_WSAIoctl.restype = c_int32
_WSAIoctl.argtypes = (
    *(c_size_t, c_uint32, c_void_p, c_uint32, c_void_p),
    *(c_uint32, c_void_p, c_void_p, c_void_p),
)


def error(code: int) -> OSError:
    """What `code` of GetLastError or WSAGetLastError stands for: its number, name where known, and text."""
    name = errno.errorcode.get(code) if code in _WINSOCK_CODES else None
    text = ctypes.FormatError(code).strip()
    return OSError(None, f"{name}: {text}" if name else text, None, code)


class _MemoryCounters(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS."""

    _fields_ = (
        ("cb", c_uint32),
        ("PageFaultCount", c_uint32),
        *(
            (name, c_size_t)
            for name in (
                "PeakWorkingSetSize",
                "WorkingSetSize",
                "QuotaPeakPagedPoolUsage",
                "QuotaPagedPoolUsage",
                "QuotaPeakNonPagedPoolUsage",
                "QuotaNonPagedPoolUsage",
                "PagefileUsage",
                "PeakPagefileUsage",
            )
        ),
    )


_GetProcessMemoryInfo = _kernel32.K32GetProcessMemoryInfo
_GetProcessMemoryInfo.restype = c_int32
_GetProcessMemoryInfo.argtypes = (c_void_p, c_void_p, c_uint32)


def working_set_bytes() -> int | None:
    """What this process has in memory; None where the system doesn't tell."""
    counters = _MemoryCounters(cb=ctypes.sizeof(_MemoryCounters))
    size = ctypes.sizeof(counters)
    if not _GetProcessMemoryInfo(_GetCurrentProcess(), ctypes.addressof(counters), size):
        return None
    used: int = counters.WorkingSetSize
    return used or None


def cpus_allowed() -> frozenset[int]:
    """The CPUs that this process may run on, of its first processor group (64 CPUs). Raises OSError."""
    of_process, of_system = c_size_t(), c_size_t()
    got = _GetProcessAffinityMask(
        _GetCurrentProcess(), ctypes.addressof(of_process), ctypes.addressof(of_system)
    )
    if not got:
        raise error(ctypes.get_last_error())
    return frozenset(cpu for cpu in range(of_process.value.bit_length()) if of_process.value >> cpu & 1)


def run_on(cpus: frozenset[int]) -> None:
    """Keep this process on `cpus`. Raises OSError where they aren't all within `cpus_allowed()`."""
    if not _SetProcessAffinityMask(_GetCurrentProcess(), sum(1 << cpu for cpu in cpus)):
        raise error(ctypes.get_last_error())


def refuse_at_once(unconnected: socket.socket) -> None:
    """Don't try for 2 s to connect where nobody listens, which is what Windows does.

    Not for load: a listener whose queue is full refuses, too, and a client that tries again gets in. It's a
    wish: systems before Windows 10 don't know it.
    """
    parameters = ctypes.create_string_buffer(struct.pack("=HBx", _SYSTEM_RTT, _NO_SYN_RETRANSMISSIONS))
    got = c_uint32()
    _WSAIoctl(
        *(unconnected.fileno(), _SIO_TCP_INITIAL_RTO, ctypes.addressof(parameters), 4),
        *(None, 0, ctypes.addressof(got), None, None),
    )
