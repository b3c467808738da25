"""Which CPUs the servers and the generator get.

Sharing a CPU changes what is measured (a wake-up across CPUs costs 25 us on a virtual machine, none on the
same one), and so do two hardware threads of one core. So by default the generator has a core of its own.
A Windows machine with more than 64 CPUs has them in processor groups: those of the first are given out.
"""

import os
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from bench.records.schema import Cpus


class Placement(StrEnum):
    """How CPUs are given out."""

    SPLIT = "split"  # a core for the generator, all others for the server
    SHARED = "shared"  # one CPU for both
    FREE = "free"  # wherever the system puts them


def allowed_cpus() -> list[int]:
    """The CPUs that this process may use: a container often has fewer than the machine."""
    if sys.platform == "win32":
        from bench.host import win32

        # Empty where its threads are in several processor groups, as they may be from Windows 11 on.
        return win32.affinity() or list(range(min(64, os.cpu_count() or 1)))
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def cores(cpus: Iterable[int], sysfs: Path = Path("/sys/devices/system/cpu")) -> list[list[int]]:
    """`cpus` grouped into physical cores; each its own core where the system doesn't tell."""
    if sys.platform == "win32":
        from bench.host import win32

        return group(cpus, win32.physical_cores())
    groups: dict[str, list[int]] = {}
    for cpu in cpus:
        try:
            siblings = (sysfs / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip()
        except OSError:
            siblings = str(cpu)
        groups.setdefault(siblings, []).append(cpu)
    return sorted(groups.values())


def group(cpus: Iterable[int], machine: Iterable[Iterable[int]]) -> list[list[int]]:
    """`cpus` by the cores of `machine`; each that is on none of those is a core of its own."""
    left = set(cpus)
    found = []
    for core in machine:
        if allowed := sorted(left.intersection(core)):
            found.append(allowed)
            left.difference_update(allowed)
    return sorted([*found, *([cpu] for cpu in left)])


def place(placement: Placement, cpu_cores: list[list[int]]) -> Cpus:
    """Give out the CPUs of `cpu_cores`. With one CPU `split` is `shared`."""
    cpus = sorted(cpu for core in cpu_cores for cpu in core)
    if placement is Placement.FREE:
        return Cpus(server=None, generator=None)
    if placement is Placement.SHARED or len(cpus) == 1:
        return Cpus(server=cpus[:1], generator=cpus[:1])
    if len(cpu_cores) == 1:  # two hardware threads of one core: apart is still better than shared
        return Cpus(server=cpus[:-1], generator=cpus[-1:])
    generator = cpu_cores[-1]
    return Cpus(server=[cpu for cpu in cpus if cpu not in generator], generator=generator[:1])
