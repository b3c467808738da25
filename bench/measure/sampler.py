"""What a server takes beside CPU time, and who else used the CPUs while a block was measured."""

import contextlib
import mmap
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.host import cpu_times
from bench.measure.process import cpu_tick_ns

THREADS_TRIES = 3
Shares = tuple[float | None, float | None]


class ProcessSample(NamedTuple):
    """What a process holds; None where the system doesn't tell."""

    memory_bytes: int | None = None
    threads: int | None = None
    descriptors: int | None = None  # on Windows handles
    private_bytes: int | None = None
    kernel_bytes: int | None = None  # of Windows' pools; Linux tells it of control groups


def sample_processes(pids: Sequence[int]) -> ProcessSample:
    """Read what the processes hold together: resident memory, threads, descriptors. Not during a slice."""
    columns = zip(*map(_sample_process, pids), strict=True)
    return ProcessSample(*(_sum(values) for values in columns))


def _sum(values: Sequence[int | None]) -> int | None:
    told = [value for value in values if value is not None]
    return sum(told) if told else None


def _sample_process(pid: int) -> ProcessSample:
    if sys.platform == "linux":
        return _sample_proc(Path(f"/proc/{pid}"))
    if sys.platform == "win32":
        return _sample_windows(pid)
    return ProcessSample()


class ForeignCpu:
    """CPU time of everybody else, between `__init__` and `shares`."""

    def __init__(self, own_ns: int) -> None:
        self._before = cpu_times.read()
        self._own_before_ns = own_ns + time.process_time_ns()

    def shares(self, own_ns: int) -> Shares:
        """The shares of all CPUs that other processes used, and that the hypervisor took, since then.

        `own_ns` is the CPU time of the run's children, here as at the beginning. None where the system tells
        neither that nor what the hypervisor took.
        """
        if cpu_tick_ns() is None:
            return None, None
        spent = cpu_times.read().since(self._before)
        if spent.total_s <= 0:
            return 0.0, 0.0
        own_s = (own_ns + time.process_time_ns() - self._own_before_ns) / 1e9
        steal = None if sys.platform == "win32" else spent.steal_s / spent.total_s
        return max(0.0, spent.busy_s - own_s) / spent.total_s, steal


def _sample_proc(folder: Path) -> ProcessSample:
    try:
        resident_pages = int((folder / "statm").read_bytes().split()[1])
        threads = int((folder / "stat").read_bytes().rpartition(b")")[2].split()[17])
        descriptors = len(os.listdir(folder / "fd"))  # noqa: PTH208 - a Path for each of thousands isn't needed
    except OSError:  # it has ended
        return ProcessSample()
    return ProcessSample(resident_pages * mmap.PAGESIZE, threads, descriptors)


if sys.platform == "win32":

    def _sample_windows(pid: int) -> ProcessSample:
        """Source: GetProcessHandleCount and PROCESS_MEMORY_COUNTERS_EX in the Win32 API reference.

        Wine says 0 for what it doesn't know.
        """
        from bench.host import win32

        try:
            with win32.Process(pid) as process:
                memory = process.memory()
                handles = process.handle_count()
        except OSError:  # it has ended
            return ProcessSample()
        return ProcessSample(
            memory.working_set, _threads(pid), handles or None, memory.private or None, memory.pools or None
        )

    def _threads(pid: int) -> int | None:
        """Counting them takes a picture of all processes, which failed once in hundreds of times."""
        import psutil

        for _ in range(THREADS_TRIES):
            with contextlib.suppress(psutil.Error, OSError):
                return psutil.Process(pid).num_threads()
        return None
