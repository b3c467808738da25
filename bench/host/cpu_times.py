"""What all CPUs of the machine did: the system's counters, read twice and subtracted."""

import sys
from pathlib import Path
from typing import NamedTuple

TICKS_A_SECOND = 100  # USER_HZ, what /proc counts in on every architecture that Linux runs on today


class CpuTimes(NamedTuple):
    """Seconds since the machine started, summed over its CPUs."""

    busy_s: float  # by processes and the kernel for them
    steal_s: float  # taken by the hypervisor for another machine
    total_s: float

    def since(self, earlier: "CpuTimes") -> "CpuTimes":
        """What was added after `earlier`."""
        return CpuTimes(*(now - then for now, then in zip(self, earlier, strict=True)))


def read() -> CpuTimes:
    """Read the counters; cheap enough to do between slices on Linux."""
    if sys.platform == "linux":
        with Path("/proc/stat").open("rb") as file:
            user, nice, system, idle, iowait, irq, softirq, steal = map(int, file.readline().split()[1:9])
        busy = user + nice + system + irq + softirq
        ticks = busy, steal, busy + idle + iowait + steal
        return CpuTimes(*(count / TICKS_A_SECOND for count in ticks))
    import psutil

    times = psutil.cpu_times()
    busy_s = times.user + times.system
    return CpuTimes(busy_s, 0.0, busy_s + times.idle)


def read_processes() -> dict[int, tuple[str, float]]:
    """CPU seconds of every process that can be seen, by its id, with its name."""
    import psutil

    found = {}
    for process in psutil.process_iter():
        try:
            times = process.cpu_times()
            found[process.pid] = process.name(), times.user + times.system
        except (psutil.Error, OSError):  # ended meanwhile, or another user's; Wine has no names
            continue
    return found
