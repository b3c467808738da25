"""Layouts of Win32 structures, on every system; what the calls give, on Windows."""

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from bench.host import win32
from bench.host.environment import system

windows = pytest.mark.windows("calls it")
SIZES = {
    win32.FILETIME: 8,
    win32.PROCESS_MEMORY_COUNTERS_EX: 80,
    win32.JOBOBJECT_BASIC_LIMIT_INFORMATION: 64,
    win32.IO_COUNTERS: 48,
    win32.JOBOBJECT_EXTENDED_LIMIT_INFORMATION: 144,
    win32.GROUP_AFFINITY: 16,
    win32.PROCESSOR_RELATIONSHIP: 40,
    win32.SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX: 48,
    win32.OSVERSIONINFOW: 276,
    win32.GUID: 16,
}
OFFSETS = {
    (win32.PROCESS_MEMORY_COUNTERS_EX, "WorkingSetSize"): 16,
    (win32.PROCESS_MEMORY_COUNTERS_EX, "PrivateUsage"): 72,
    (win32.JOBOBJECT_BASIC_LIMIT_INFORMATION, "LimitFlags"): 16,
    (win32.JOBOBJECT_EXTENDED_LIMIT_INFORMATION, "ProcessMemoryLimit"): 112,
    (win32.GROUP_AFFINITY, "Group"): 8,
    (win32.PROCESSOR_RELATIONSHIP, "GroupCount"): 22,
    (win32.PROCESSOR_RELATIONSHIP, "GroupMask"): 24,
    (win32.SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX, "u"): 8,
    (win32.OSVERSIONINFOW, "dwBuildNumber"): 12,
}


@pytest.mark.parametrize("structure", SIZES, ids=lambda one: one.__name__)
def test_size(structure: type[ctypes.Structure]) -> None:
    assert ctypes.sizeof(structure) == SIZES[structure]


@pytest.mark.parametrize(("structure", "field"), OFFSETS, ids=str)
def test_offset(structure: type[ctypes.Structure], field: str) -> None:
    assert getattr(structure, field).offset == OFFSETS[structure, field]


def test_times_are_put_together_from_their_halves() -> None:
    assert win32.FILETIME(5, 1).ns == (2**32 + 5) * 100


def test_masks_are_lists_of_cpus() -> None:
    assert win32.cpus_of_mask(0b1101) == [0, 2, 3]
    assert win32.mask_of_cpus([3, 0, 2, 2]) == 0b1101
    assert win32.cpus_of_mask(win32.mask_of_cpus([63])) == [63]


def record(mask: int, *, group: int = 0, relationship: int = 0, padding: int = 0) -> bytes:
    """A record of GetLogicalProcessorInformationEx; a later version of it may be longer."""
    one = win32.SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX(Relationship=relationship)
    one.Size = ctypes.sizeof(one) + padding
    one.u.Processor.GroupCount = 1
    one.u.Processor.GroupMask[0] = win32.GROUP_AFFINITY(Mask=mask, Group=group)
    return bytes(one) + bytes(padding)


def test_cores_are_those_of_the_first_group() -> None:
    records = record(0b0011) + record(0b1100, padding=32) + record(0b1111, relationship=3)
    records += record(0b0011, group=1) + record(0b10000)
    assert win32.cores_of(records) == [[0, 1], [2, 3], [4]]


def test_a_guid_reads_as_the_registry_writes_it() -> None:
    last = (ctypes.c_uint8 * 8)(*bytes.fromhex("9a85a6e23a8c635c"))
    guid = win32.GUID(0x8C5E7FDA, 0xE8BF, 0x4A96, last)
    assert str(guid) == "8c5e7fda-e8bf-4a96-9a85-a6e23a8c635c"


@pytest.fixture
def sleeper() -> "Iterator[subprocess.Popen[bytes]]":
    """A process that sleeps, created suspended."""
    code = "import sys, time; print(flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        creationflags=win32.CREATE_SUSPENDED,
    )
    with process:
        yield process
        process.kill()


@windows
def test_a_job_ends_what_is_in_it_when_it_closes(sleeper: "subprocess.Popen[bytes]") -> None:
    job = win32.Job()
    job.add(int(sleeper._handle))
    win32.resume(int(sleeper._handle))
    assert sleeper.stdout.readline().strip() == b""
    assert sleeper.poll() is None
    job.close()
    assert sleeper.wait(20) is not None
    job.close()


@windows
def test_affinity_of_another_process_is_set(sleeper: "subprocess.Popen[bytes]") -> None:
    import psutil

    win32.set_affinity(int(sleeper._handle), [0])
    win32.resume(int(sleeper._handle))
    assert sleeper.stdout.readline().strip() == b""
    assert psutil.Process(sleeper.pid).cpu_affinity() == [0]


@windows
def test_what_cannot_be_is_an_error_with_its_number() -> None:
    with pytest.raises(OSError, match="WinError 87"):  # ERROR_INVALID_PARAMETER: no such process
        win32.Process(0xFFFFFFF0)


@windows
def test_this_process_is_known() -> None:
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    with win32.Process(os.getpid()) as own:
        assert own.cpu_ns() >= 80_000_000
        assert own.memory().working_set > 2**20
        if system() == "windows":  # Wine says 0
            assert own.memory().private > 2**20
            assert own.handle_count() > 3


@windows
def test_commands_are_split_as_the_system_does_it() -> None:
    command = r'"C:\Program Files\x.exe" C:\a\b.py {host} "say \"hi\""'
    assert win32.split_command(command) == [r"C:\Program Files\x.exe", r"C:\a\b.py", "{host}", 'say "hi"']
    assert win32.split_command("") == []


@windows
def test_the_system_tells_its_version_and_timer() -> None:
    major, minor, build = map(int, win32.version().split("."))
    assert (major, minor) >= (6, 1)
    assert build > 0
    assert 100_000 <= win32.timer_resolution_ns() <= 16_000_000
    assert (win32.wine_version() is None) == (system() == "windows")
