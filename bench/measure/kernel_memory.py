"""What the kernel holds for a server, by its own account: charged to a control group. Linux.

File and socket objects, entries of epoll, requests that wait in a ring, stacks of threads: none of it is in a
process's own memory. The kernel charges it to the group of the process that caused it. What is allocated in
an interrupt, before a connection is accepted, may be charged to nobody: the state of TCP itself.

It takes the right to make a group (root, as a rule), and the memory controller.

Source: "Memory Resource Controller" (cgroup v1) and "Control Group v2", `memory.stat`, in the kernel's
documentation.
"""

import contextlib
import itertools
import os
from pathlib import Path

_numbers = itertools.count()


class Group:
    """A control group for one server. Raises OSError where none can be made."""

    def __init__(self) -> None:
        base = _base()
        if base is None:
            raise OSError(None, "no memory controller")
        self._folder = base / f"iocpbench-{os.getpid()}-{next(_numbers)}"
        self._folder.mkdir()

    def add(self, pid: int) -> None:
        """Charge a process from now on, and those that it starts. Raises OSError."""
        (self._folder / "cgroup.procs").write_text(str(pid))

    def memory_bytes(self) -> int | None:
        """What the kernel holds now; None where it doesn't tell."""
        try:
            if (self._folder / "memory.stat").exists() and (self._folder / "cgroup.controllers").exists():
                lines = (self._folder / "memory.stat").read_text().splitlines()
                stat = {name: int(value) for name, value in (line.split() for line in lines)}
                return stat["kernel"] + stat["sock"]
            names = ("memory.kmem.usage_in_bytes", "memory.kmem.tcp.usage_in_bytes")
            return sum(int((self._folder / name).read_text()) for name in names)
        except (OSError, ValueError, KeyError):  # a kernel that doesn't account for its own memory
            return None

    def remove(self) -> None:
        """Take it away; its processes have ended."""
        with contextlib.suppress(OSError):  # one that won't end: the group stays
            self._folder.rmdir()


def _base() -> Path | None:
    """The group below which one can be made: this process's own (v1), or the root's (v2)."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        own = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    path = next((path for _, names, path in (line.split(":", 2) for line in own) if names == "memory"), None)
    for line in mounts:
        before, _, after = line.partition(" - ")
        root, mounted_at = before.split()[3:5]
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup" and path is not None and "memory" in options.split(","):
            inside = path.removeprefix(root) if root != "/" else path
            return Path(mounted_at, inside.lstrip("/"))
        if kind == "cgroup2" and _has_memory(Path(mounted_at)):
            return Path(mounted_at)
    return None


def _has_memory(root: Path) -> bool:
    try:
        return "memory" in (root / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False
