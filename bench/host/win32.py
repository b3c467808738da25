"""Declarations of the Win32 calls that the harness makes: jobs, affinity, what a process holds, the system.

Names are the system's own, so each can be looked up in the Win32 API reference by its title. Structures use
fixed-width types, never ctypes.wintypes (its DWORD has 8 bytes on Linux), so that their layout is asserted by
tests on every system. Below the structures everything is Windows' own: importing this module works
everywhere, the functions exist there alone.

One gate for errors: `_check` raises OSError with the system's number and text for a call that returned zero.
"""

import ctypes
import sys
from collections.abc import Sequence
from ctypes import (
    Structure,
    Union,
    c_int32,
    c_int64,
    c_size_t,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import NamedTuple

HANDLE = c_void_p
CREATE_SUSPENDED = 0x4
CTRL_BREAK_EVENT = 1
JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE = 0x2000
JOB_OBJECT_EXTENDED_LIMIT_INFORMATION_CLASS = 9
PROCESS_QUERY_INFORMATION, PROCESS_VM_READ = 0x400, 0x10
RELATION_PROCESSOR_CORE = 0
ERROR_INSUFFICIENT_BUFFER = 122


class FILETIME(Structure):
    """A count of 100 ns, in two halves."""

    _fields_ = (("dwLowDateTime", c_uint32), ("dwHighDateTime", c_uint32))

    @property
    def ns(self) -> int:
        """The count in nanoseconds."""
        return 100 * int(self.dwHighDateTime << 32 | self.dwLowDateTime)


class PROCESS_MEMORY_COUNTERS_EX(Structure):  # noqa: N801 - the system's name
    """What K32GetProcessMemoryInfo tells, in bytes. `PrivateUsage` is what the process has committed."""

    _fields_ = (
        ("cb", c_uint32),
        ("PageFaultCount", c_uint32),
        ("PeakWorkingSetSize", c_size_t),
        ("WorkingSetSize", c_size_t),
        ("QuotaPeakPagedPoolUsage", c_size_t),
        ("QuotaPagedPoolUsage", c_size_t),
        ("QuotaPeakNonPagedPoolUsage", c_size_t),
        ("QuotaNonPagedPoolUsage", c_size_t),
        ("PagefileUsage", c_size_t),
        ("PeakPagefileUsage", c_size_t),
        ("PrivateUsage", c_size_t),
    )


class JOBOBJECT_BASIC_LIMIT_INFORMATION(Structure):  # noqa: N801 - the system's name
    """Limits of a job; of them only `LimitFlags` is used."""

    _fields_ = (
        ("PerProcessUserTimeLimit", c_int64),
        ("PerJobUserTimeLimit", c_int64),
        ("LimitFlags", c_uint32),
        ("MinimumWorkingSetSize", c_size_t),
        ("MaximumWorkingSetSize", c_size_t),
        ("ActiveProcessLimit", c_uint32),
        ("Affinity", c_size_t),
        ("PriorityClass", c_uint32),
        ("SchedulingClass", c_uint32),
    )


class IO_COUNTERS(Structure):  # noqa: N801 - the system's name
    """Operations and bytes of a process or job."""

    _fields_ = (
        ("ReadOperationCount", c_uint64),
        ("WriteOperationCount", c_uint64),
        ("OtherOperationCount", c_uint64),
        ("ReadTransferCount", c_uint64),
        ("WriteTransferCount", c_uint64),
        ("OtherTransferCount", c_uint64),
    )


class JOBOBJECT_EXTENDED_LIMIT_INFORMATION(Structure):  # noqa: N801 - the system's name
    """What SetInformationJobObject takes to make a job that ends with its last handle."""

    _fields_ = (
        ("BasicLimitInformation", JOBOBJECT_BASIC_LIMIT_INFORMATION),
        ("IoInfo", IO_COUNTERS),
        ("ProcessMemoryLimit", c_size_t),
        ("JobMemoryLimit", c_size_t),
        ("PeakProcessMemoryUsed", c_size_t),
        ("PeakJobMemoryUsed", c_size_t),
    )


class GROUP_AFFINITY(Structure):  # noqa: N801 - the system's name
    """CPUs of one processor group: bit n of `Mask` is its CPU n."""

    _fields_ = (("Mask", c_size_t), ("Group", c_uint16), ("Reserved", c_uint16 * 3))


class PROCESSOR_RELATIONSHIP(Structure):  # noqa: N801 - the system's name
    """A core: the CPUs (hardware threads) that share it, in `GroupCount` masks of which a core has one."""

    _fields_ = (
        ("Flags", c_uint8),
        ("EfficiencyClass", c_uint8),
        ("Reserved", c_uint8 * 20),
        ("GroupCount", c_uint16),
        ("GroupMask", GROUP_AFFINITY * 1),
    )


class _Relationship(Union):
    _fields_ = (("Processor", PROCESSOR_RELATIONSHIP),)


class SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX(Structure):  # noqa: N801 - the system's name
    """One of the records that GetLogicalProcessorInformationEx writes; the next is `Size` bytes further."""

    _fields_ = (("Relationship", c_int32), ("Size", c_uint32), ("u", _Relationship))


class OSVERSIONINFOW(Structure):
    """What RtlGetVersion fills in: the real version, where GetVersionEx says what a manifest asks for."""

    _fields_ = (
        ("dwOSVersionInfoSize", c_uint32),
        ("dwMajorVersion", c_uint32),
        ("dwMinorVersion", c_uint32),
        ("dwBuildNumber", c_uint32),
        ("dwPlatformId", c_uint32),
        ("szCSDVersion", c_uint16 * 128),
    )


class GUID(Structure):
    """A power scheme's name."""

    _fields_ = (("Data1", c_uint32), ("Data2", c_uint16), ("Data3", c_uint16), ("Data4", c_uint8 * 8))

    def __str__(self) -> str:
        last = bytes(self.Data4).hex()
        return f"{self.Data1:08x}-{self.Data2:04x}-{self.Data3:04x}-{last[:4]}-{last[4:]}"


class Memory(NamedTuple):
    """Bytes that a process holds: in memory now, committed to it alone, and in the kernel's pools."""

    working_set: int
    private: int
    pools: int


def cpus_of_mask(mask: int) -> list[int]:
    """The numbers of the bits that are set in an affinity mask: `0b101` -> [0, 2]."""
    return [number for number in range(mask.bit_length()) if mask >> number & 1]


def mask_of_cpus(cpus: Sequence[int]) -> int:
    """The affinity mask of CPUs of the first processor group."""
    return sum(1 << cpu for cpu in set(cpus))


def cores_of(records: bytes) -> list[list[int]]:
    """The CPUs of each core in the first processor group, from GetLogicalProcessorInformationEx's records."""
    found, offset = [], 0
    header = SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX
    while offset + ctypes.sizeof(header) <= len(records):
        record = header.from_buffer_copy(records, offset)
        if record.Relationship == RELATION_PROCESSOR_CORE and record.u.Processor.GroupMask[0].Group == 0:
            found.append(cpus_of_mask(record.u.Processor.GroupMask[0].Mask))
        offset += record.Size
    return found


if sys.platform == "win32":
    LOAD_LIBRARY_SEARCH_SYSTEM32 = 0x800
    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True, winmode=LOAD_LIBRARY_SEARCH_SYSTEM32)
    _ntdll = ctypes.WinDLL("ntdll", winmode=LOAD_LIBRARY_SEARCH_SYSTEM32)
    _shell32 = ctypes.WinDLL("shell32", use_last_error=True, winmode=LOAD_LIBRARY_SEARCH_SYSTEM32)
    _powrprof = ctypes.WinDLL("powrprof", winmode=LOAD_LIBRARY_SEARCH_SYSTEM32)

    _CreateJobObject = _kernel32.CreateJobObjectW
    _CreateJobObject.argtypes, _CreateJobObject.restype = (c_void_p, c_void_p), HANDLE
    _SetInformationJobObject = _kernel32.SetInformationJobObject
    _SetInformationJobObject.argtypes = (HANDLE, c_int32, c_void_p, c_uint32)
    _SetInformationJobObject.restype = c_int32
    _AssignProcessToJobObject = _kernel32.AssignProcessToJobObject
    _AssignProcessToJobObject.argtypes, _AssignProcessToJobObject.restype = (HANDLE, HANDLE), c_int32
    _TerminateJobObject = _kernel32.TerminateJobObject
    _TerminateJobObject.argtypes, _TerminateJobObject.restype = (HANDLE, c_uint32), c_int32
    _CloseHandle = _kernel32.CloseHandle
    _CloseHandle.argtypes, _CloseHandle.restype = (HANDLE,), c_int32
    _OpenProcess = _kernel32.OpenProcess
    _OpenProcess.argtypes, _OpenProcess.restype = (c_uint32, c_int32, c_uint32), HANDLE
    _GetCurrentProcess = _kernel32.GetCurrentProcess
    _GetCurrentProcess.argtypes, _GetCurrentProcess.restype = (), HANDLE
    _GetProcessTimes = _kernel32.GetProcessTimes
    _GetProcessTimes.argtypes, _GetProcessTimes.restype = (HANDLE, *4 * [c_void_p]), c_int32
    _GetProcessHandleCount = _kernel32.GetProcessHandleCount
    _GetProcessHandleCount.argtypes, _GetProcessHandleCount.restype = (HANDLE, c_void_p), c_int32
    _GetProcessMemoryInfo = _kernel32.K32GetProcessMemoryInfo
    _GetProcessMemoryInfo.argtypes, _GetProcessMemoryInfo.restype = (HANDLE, c_void_p, c_uint32), c_int32
    _GetProcessAffinityMask = _kernel32.GetProcessAffinityMask
    _GetProcessAffinityMask.argtypes, _GetProcessAffinityMask.restype = (HANDLE, c_void_p, c_void_p), c_int32
    _SetProcessAffinityMask = _kernel32.SetProcessAffinityMask
    _SetProcessAffinityMask.argtypes, _SetProcessAffinityMask.restype = (HANDLE, c_size_t), c_int32
    _GetLogicalProcessorInformationEx = _kernel32.GetLogicalProcessorInformationEx
    _GetLogicalProcessorInformationEx.argtypes = (c_int32, c_void_p, c_void_p)
    _GetLogicalProcessorInformationEx.restype = c_int32
    _GenerateConsoleCtrlEvent = _kernel32.GenerateConsoleCtrlEvent
    _GenerateConsoleCtrlEvent.argtypes, _GenerateConsoleCtrlEvent.restype = (c_uint32, c_uint32), c_int32
    _LocalFree = _kernel32.LocalFree
    _LocalFree.argtypes, _LocalFree.restype = (c_void_p,), c_void_p
    _CommandLineToArgv = _shell32.CommandLineToArgvW
    _CommandLineToArgv.argtypes = (ctypes.c_wchar_p, c_void_p)
    _CommandLineToArgv.restype = ctypes.POINTER(ctypes.c_wchar_p)
    _NtResumeProcess = _ntdll.NtResumeProcess
    _NtResumeProcess.argtypes, _NtResumeProcess.restype = (HANDLE,), c_int32
    _NtQueryTimerResolution = _ntdll.NtQueryTimerResolution
    _NtQueryTimerResolution.argtypes, _NtQueryTimerResolution.restype = 3 * (c_void_p,), c_int32
    _RtlGetVersion = _ntdll.RtlGetVersion
    _RtlGetVersion.argtypes, _RtlGetVersion.restype = (c_void_p,), c_int32
    _PowerGetActiveScheme = _powrprof.PowerGetActiveScheme
    _PowerGetActiveScheme.argtypes, _PowerGetActiveScheme.restype = (c_void_p, c_void_p), c_uint32

    def _check(result: int | None) -> int:
        """Give back what isn't zero. Raises OSError with what GetLastError says."""
        if not result:
            raise ctypes.WinError(ctypes.get_last_error())
        return result

    class Job:
        """Processes that end together, at the latest with this process. Nested Job Objects in the reference.

        The system ends them when the last handle to the job closes, which is ours, also when this process is
        killed.
        """

        def __init__(self) -> None:
            self._handle = _check(_CreateJobObject(None, None))
            self._limit(JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE)

        def _limit(self, flags: int) -> None:
            limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION()
            limits.BasicLimitInformation.LimitFlags = flags
            information = JOB_OBJECT_EXTENDED_LIMIT_INFORMATION_CLASS
            _check(
                _SetInformationJobObject(
                    self._handle, information, ctypes.byref(limits), ctypes.sizeof(limits)
                )
            )

        def add(self, process: int) -> None:
            """Put a process, by its handle, and what it will start, into the job. Raises OSError."""
            _check(_AssignProcessToJobObject(self._handle, process))

        def add_this_process(self) -> None:
            """As `add`, for the one that asks. Raises OSError."""
            self.add(_GetCurrentProcess())

        def spare(self) -> None:
            """Let what is in it outlive the job. Raises OSError."""
            self._limit(0)

        def terminate(self) -> None:
            """End all of them now. Raises OSError."""
            _check(_TerminateJobObject(self._handle, 1))

        def close(self) -> None:
            """End what is left of them."""
            if self._handle:
                _CloseHandle(self._handle)
                self._handle = 0

    class Process:
        """A process by its number, to look at. Raises OSError for none, and for another user's."""

        def __init__(self, pid: int) -> None:
            self._handle = _check(_OpenProcess(PROCESS_QUERY_INFORMATION | PROCESS_VM_READ, 0, pid))

        def __enter__(self) -> "Process":
            return self

        def __exit__(self, *_: object) -> None:
            _CloseHandle(self._handle)

        def cpu_ns(self) -> int:
            """CPU time of all its threads, in steps of a clock interrupt: 15.6 ms."""
            created, ended, kernel, user = FILETIME(), FILETIME(), FILETIME(), FILETIME()
            _check(_GetProcessTimes(self._handle, *map(ctypes.byref, (created, ended, kernel, user))))
            return kernel.ns + user.ns

        def handle_count(self) -> int:
            """How many handles it has open: sockets, files, events, threads."""
            count = c_uint32()
            _check(_GetProcessHandleCount(self._handle, ctypes.byref(count)))
            return count.value

        def memory(self) -> Memory:
            """What it holds."""
            counters = PROCESS_MEMORY_COUNTERS_EX()
            size = ctypes.sizeof(counters)
            _check(_GetProcessMemoryInfo(self._handle, ctypes.byref(counters), size))
            pools = counters.QuotaPagedPoolUsage + counters.QuotaNonPagedPoolUsage
            return Memory(counters.WorkingSetSize, counters.PrivateUsage, pools)

    def resume(process: int) -> None:
        """Let a process run that was created suspended, by its handle. Raises OSError."""
        if status := _NtResumeProcess(process):
            raise OSError(None, f"NtResumeProcess failed with status {status & 0xFFFFFFFF:#010x}")

    def press_ctrl_break(process_group: int) -> None:
        """Ctrl+Break for a process group, by its first process's number. Raises OSError without a console.

        `os.kill` of Python 3.11 goes on after that failure, and terminates the process.
        """
        _check(_GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, process_group))

    def set_affinity(process: int, cpus: Sequence[int]) -> None:
        """Keep a process, by its handle, to `cpus` of the first processor group. Raises OSError."""
        _check(_SetProcessAffinityMask(process, mask_of_cpus(cpus)))

    def affinity() -> list[int]:
        """The CPUs that this process may use. Raises OSError.

        A machine with more than 64 has processor groups: the numbers are those of the group that the process
        was started in, and the others' CPUs stay unused (Processor Groups in the reference).
        """
        own, system = c_size_t(), c_size_t()
        _check(_GetProcessAffinityMask(_GetCurrentProcess(), ctypes.byref(own), ctypes.byref(system)))
        return cpus_of_mask(own.value)

    def physical_cores() -> list[list[int]]:
        """The CPUs of each core of the machine's first processor group. Raises OSError."""
        size = c_uint32()
        if not _GetLogicalProcessorInformationEx(RELATION_PROCESSOR_CORE, None, ctypes.byref(size)):
            error = ctypes.get_last_error()
            if error != ERROR_INSUFFICIENT_BUFFER:
                raise ctypes.WinError(error)
        records = (c_uint8 * size.value)()
        _check(_GetLogicalProcessorInformationEx(RELATION_PROCESSOR_CORE, records, ctypes.byref(size)))
        return cores_of(bytes(records[: size.value]))

    def split_command(text: str) -> list[str]:
        """A command in its parts, by the rules of this system: a backslash is no escape but before a quote.

        Source: CommandLineToArgvW in the Win32 API reference. Raises OSError.
        """
        count = c_int32()
        # It reads the first part, a program's name, by other rules than the rest: so we give it one.
        parts = _CommandLineToArgv(f"program {text}", ctypes.byref(count))
        if not parts:
            raise ctypes.WinError(ctypes.get_last_error())
        try:
            return [str(parts[number]) for number in range(1, count.value)]
        finally:
            _LocalFree(parts)

    def wine_version() -> str | None:
        """Wine's version, where this is Wine: only its ntdll exports `wine_get_version`."""
        try:
            function = _ntdll.wine_get_version
        except AttributeError:
            return None
        function.argtypes, function.restype = (), ctypes.c_char_p
        return str(function().decode())

    def version() -> str:
        """The system's real version with its build: `10.0.22631`."""
        found = OSVERSIONINFOW(dwOSVersionInfoSize=ctypes.sizeof(OSVERSIONINFOW))
        _RtlGetVersion(ctypes.byref(found))
        return f"{found.dwMajorVersion}.{found.dwMinorVersion}.{found.dwBuildNumber}"

    def timer_resolution_ns() -> int | None:
        """How long the system's timer interval is now; None where it doesn't tell."""
        longest, shortest, now = c_uint32(), c_uint32(), c_uint32()
        status = _NtQueryTimerResolution(*map(ctypes.byref, (longest, shortest, now)))
        return None if status else 100 * now.value

    def power_scheme() -> str | None:
        """The active power plan's GUID; None where there is none (Wine)."""
        address = c_void_p()
        if _PowerGetActiveScheme(None, ctypes.byref(address)) or not address.value:
            return None
        try:
            return str(GUID.from_address(address.value))
        finally:
            _LocalFree(address)
