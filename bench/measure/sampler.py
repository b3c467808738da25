"""What a server takes beside CPU time, and who else used the CPUs while a block was measured."""

import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

from bench.host import cpu_times


class ProcessSample(NamedTuple):
    """What a process holds; None where the system doesn't tell."""

    memory_bytes: int | None = None
    threads: int | None = None
    descriptors: int | None = None


def sample_process(pid: int) -> ProcessSample:
    """Read what the process holds now: resident memory, threads, descriptors. Not for use during a slice."""
    if sys.platform == "linux":
        return _sample_proc(Path(f"/proc/{pid}"))
    import psutil

    try:
        process = psutil.Process(pid)
        return ProcessSample(process.memory_info().rss, process.num_threads())
    except psutil.Error:
        return ProcessSample()


class ForeignCpu:
    """CPU time of everybody else, between `__init__` and `shares`."""

    def __init__(self, own_ns: int) -> None:
        self._before = cpu_times.read()
        self._own_before_ns = own_ns + time.process_time_ns()

    def shares(self, own_ns: int) -> tuple[float, float]:
        """The shares of all CPUs that other processes used, and that the hypervisor took, since then.

        `own_ns` is the CPU time of the run's children, here as at the beginning.
        """
        spent = cpu_times.read().since(self._before)
        if spent.total_s <= 0:
            return 0.0, 0.0
        own_s = (own_ns + time.process_time_ns() - self._own_before_ns) / 1e9
        return max(0.0, spent.busy_s - own_s) / spent.total_s, spent.steal_s / spent.total_s


def _sample_proc(folder: Path) -> ProcessSample:
    try:
        resident_pages = int((folder / "statm").read_bytes().split()[1])
        threads = int((folder / "stat").read_bytes().rpartition(b")")[2].split()[17])
        descriptors = len(os.listdir(folder / "fd"))  # noqa: PTH208 - a Path for each of thousands isn't needed
    except OSError:  # it has ended
        return ProcessSample()
    return ProcessSample(resident_pages * os.sysconf("SC_PAGE_SIZE"), threads, descriptors)
