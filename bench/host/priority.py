"""What is measured comes before whatever else wants its CPUs, where that is permitted.

One process that computes beside a run took over half of what contenders with one thread did with 10 and 100
connections on two CPUs, of what `threads` did a third, and with one connection a tenth. With the highest
priority it gets what they leave. On a quiet machine it changes nothing. All processes of a run have the same,
so none comes before another one.

Linux lets the superuser do it, and whom RLIMIT_NICE lets. Windows has the choice for single processes, which
their own children wouldn't get, so there it stays as it is.

Source: nice(1), setpriority(2); as Krun does (Barrett et al., "Virtual Machine Warmup Blows Hot and Cold",
OOPSLA 2017).
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

HIGHEST = -20


class Priority(StrEnum):
    """That of a run's processes."""

    HIGH = "high"
    NORMAL = "normal"  # what `iocpbench` was started with


def best() -> Priority:
    """The highest that this process may give itself."""
    with raised(Priority.HIGH) as reached:
        return reached


@contextmanager
def raised(wanted: Priority) -> Iterator[Priority]:
    """Give this process, and all that it starts meanwhile, that priority; yields the one that they have."""
    if wanted is Priority.NORMAL or sys.platform != "linux":
        yield Priority.NORMAL
        return
    before = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, HIGHEST)
    except PermissionError:
        yield Priority.NORMAL
        return
    try:
        yield Priority.HIGH
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)
