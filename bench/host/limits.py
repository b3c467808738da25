"""How many connections this machine can hold: descriptors of a process, source ports, memory."""

import sys
from pathlib import Path

from bench.errors import Exit, UserError

DESCRIPTORS_BESIDE_CONNECTIONS = 64  # interpreter, libraries, listener, poller: 12 were in use, with room
MEMORY_A_CONNECTION_BYTES = 32 * 1024  # the kernel takes 9.5 KiB for both ends, asyncio streams 15 KiB
PORTS_A_SOURCE = 14_000  # of 28 230; past this, connecting slows down while the system searches a free one
# Windows takes a port for one connection at a time, wherever that goes: all contenders of a block share them.
# The rest is for other programs, and for those that wait for minutes until they are free again.
WINDOWS_PORTS_SHARE = 0.75
WIDEN_PORTS = "netsh int ipv4 set dynamicport tcp start=10000 num=55536"


def raise_descriptor_limit() -> int | None:
    """Let this process and its children have all descriptors they may; return how many. None: unlimited."""
    if sys.platform == "win32":
        return None
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return None if hard == resource.RLIM_INFINITY else hard


def connections_of_a_process(descriptors: int | None) -> int | None:
    """How many connections fit into a process with so many `descriptors`; None where there is no limit."""
    return None if descriptors is None else max(0, descriptors - DESCRIPTORS_BESIDE_CONNECTIONS)


def check_connections(connections: int, descriptors: int | None) -> None:
    """Raise UserError where `connections` don't fit, with how many would and how to raise the limit."""
    fitting = connections_of_a_process(descriptors)
    if fitting is not None and connections > fitting:
        needed = connections + DESCRIPTORS_BESIDE_CONNECTIONS
        raise UserError(
            f"{connections} connections need {needed} descriptors a process; "
            f"the limit is {descriptors}, so {fitting} would fit\n"
            f"raise it: `ulimit -Hn {needed}` as root in this shell (docker: --ulimit nofile={needed}), "
            "or ask for fewer with --connections",
            Exit.USAGE,
        )


def check_ports(connections: int) -> None:
    """Raise UserError where Windows hasn't so many ports; elsewhere a source address more helps."""
    if sys.platform != "win32":
        return
    fitting = windows_ports()
    if connections > fitting:
        raise UserError(
            f"{connections} connections need as many ports; the dynamic port range has room for {fitting}\n"
            f"widen it: `{WIDEN_PORTS}` as administrator, or ask for fewer with --connections",
            Exit.USAGE,
        )


def windows_ports() -> int:
    """How many connections of Windows there are ports for, with room for other programs."""
    if sys.platform != "win32":
        raise AssertionError("elsewhere ports are of a source address")
    from bench.host import windows

    return int(windows.dynamic_ports() * WINDOWS_PORTS_SHARE)


def connections_at_once() -> int:
    """How many connections all servers of a block may hold together: half of what memory and files allow.

    On Windows no more than there are ports for.
    """
    import psutil

    by_memory = psutil.virtual_memory().available // 2 // MEMORY_A_CONNECTION_BYTES
    if sys.platform == "win32":
        return min(by_memory, windows_ports())
    try:
        used, _, maximum = map(int, Path("/proc/sys/fs/file-nr").read_text().split())
    except (OSError, ValueError):
        return by_memory
    return min(by_memory, (maximum - used) // 4)  # two files a connection
