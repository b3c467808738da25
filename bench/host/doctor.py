"""What would spoil a measurement here: each finding is a fact, its likely cause, and the next step."""

import os
import sys
import time
from pathlib import Path

import msgspec

from bench.host import cpu_times, limits
from bench.host.environment import governors, native_library, system
from bench.host.placement import allowed_cpus, cores

LOAD_WINDOW_S = 0.3  # 30 ticks a CPU: enough to see a tenth of a CPU in use
LOAD_LOOKS = 4  # what started this program may still be tidying up: only what goes on will disturb
BUSY_MAX_CPUS = 0.1  # of all CPUs together, before anything of ours runs
STEAL_MAX_SHARE = 0.01
STEADY_GOVERNORS = {"performance"}
TWO_CORES = "`start /affinity 3`" if sys.platform == "win32" else "docker: --cpuset-cpus 0,1"


class Finding(msgspec.Struct, kw_only=True, frozen=True):
    """What a check found. `cause` and `next_step` are empty where nothing is wrong."""

    check: str
    good: bool
    fact: str
    cause: str = ""
    next_step: str = ""


def findings(connections: int) -> list[Finding]:
    """Every check, for runs of up to `connections` connections. Takes one `LOAD_WINDOW_S`, or a few."""
    checks = [*_wine(), _native(), _cpus(), _descriptors(connections), *_ports(connections)]
    return [*checks, *_governor(), *_power_plan(), *_machine_load()]


def _wine() -> list[Finding]:
    if system() != "windows-wine":
        return []
    return [
        Finding(
            check="system",
            good=False,
            fact="this is Wine: what is measured proves that the Windows code works, and ranks nothing",
            cause="each call on a socket is a round trip to another process, wineserver",
            next_step="measure on Windows itself; records from here are marked windows-wine",
        )
    ]


def _native() -> Finding:
    library = native_library()
    if library:
        return Finding(check="native library", good=True, fact=f"{library.name} is there")
    return Finding(
        check="native library",
        good=False,
        fact="the C servers are not there, so runs have no yardstick",
        cause="the package was installed without its build step",
        next_step="`uv sync --reinstall-package iocpbench`, or `python build_native.py` in the checkout",
    )


def _cpus() -> Finding:
    cpus = allowed_cpus()
    physical = cores(cpus)
    if len(physical) > 1:
        fact = f"{len(cpus)} CPUs on {len(physical)} cores: the generator has a core of its own"
        return Finding(check="CPUs", good=True, fact=fact)
    what = "share the only CPU" if len(cpus) == 1 else "run on hardware threads of the only core"
    return Finding(
        check="CPUs",
        good=False,
        fact=f"server and generator {what}",
        cause="a small machine, or somebody allows this program no more",
        next_step=f"allow two cores ({TWO_CORES}); read ratios, not absolute figures",
    )


def _descriptors(connections: int) -> Finding:
    descriptors = limits.raise_descriptor_limit()
    fitting = limits.connections_of_a_process(descriptors)
    if fitting is None or fitting >= connections:
        room = "any number of" if fitting is None else f"{fitting}"
        return Finding(check="descriptors", good=True, fact=f"a process can hold {room} connections")
    needed = connections + limits.DESCRIPTORS_BESIDE_CONNECTIONS
    return Finding(
        check="descriptors",
        good=False,
        fact=f"a process can hold {fitting} connections, {connections} are asked for",
        cause=f"the hard limit of open files is {descriptors}",
        next_step=f"`ulimit -Hn {needed}` as root in this shell (docker: --ulimit nofile={needed})",
    )


def _ports(connections: int) -> list[Finding]:
    if sys.platform == "win32":
        return [_dynamic_ports(connections)]
    try:
        low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    except (OSError, ValueError):
        return []
    ports = high - low + 1
    needed = min(connections, limits.PORTS_A_SOURCE)
    if ports >= 2 * needed:  # connecting slows down once half of them are in use
        return [Finding(check="ports", good=True, fact=f"{ports} source ports for each address")]
    return [
        Finding(
            check="ports",
            good=False,
            fact=f"{ports} source ports for each address, {2 * needed} are wanted",
            cause=f"net.ipv4.ip_local_port_range is {low} {high}",
            next_step='as root: sysctl -w net.ipv4.ip_local_port_range="32768 60999"',
        )
    ]


def _dynamic_ports(connections: int) -> Finding:
    """On Windows contenders share the ports; a block that has too few is split, but two have to fit."""
    fitting = limits.connections_at_once()
    if 2 * connections <= fitting:
        return Finding(check="ports", good=True, fact=f"ports for {fitting} connections at once")
    return Finding(
        check="ports",
        good=False,
        fact=f"ports for {fitting} connections at once; {2 * connections} are wanted",
        cause="the dynamic port range: a connection takes a port of it, whichever server it goes to",
        next_step=f"`{limits.WIDEN_PORTS}` as administrator",
    )


def _power_plan() -> list[Finding]:
    if sys.platform != "win32":
        return []
    from bench.host import windows

    plan = windows.power_plan()
    if plan is None:
        return []
    fact = f"power plan {plan.name}"
    if plan.steady:
        return [Finding(check="power plan", good=True, fact=fact)]
    return [
        Finding(
            check="power plan",
            good=False,
            fact=f"{fact}: the CPU's speed follows the load",
            cause="the default of this system",
            next_step="`powercfg /setactive SCHEME_MIN` (high performance) while measuring",
        )
    ]


def _governor() -> list[Finding]:
    found = governors()
    if not found:  # a virtual machine: the host decides
        return []
    names = ", ".join(sorted(found))
    if found <= STEADY_GOVERNORS:
        return [Finding(check="CPU frequency", good=True, fact=f"governor {names}")]
    return [
        Finding(
            check="CPU frequency",
            good=False,
            fact=f"governor {names}: the CPU's speed follows the load",
            cause="the power saving default of this system",
            next_step="`cpupower frequency-set -g performance` as root while measuring",
        )
    ]


def _machine_load() -> list[Finding]:
    if sys.platform not in ("linux", "win32"):
        return []
    for _ in range(LOAD_LOOKS):
        found = _look()
        if all(one.good for one in found):
            break
    return found


def _look() -> list[Finding]:
    cpus_before, processes_before = cpu_times.read(), cpu_times.read_processes()
    own_before = time.process_time()
    time.sleep(LOAD_WINDOW_S)
    own_s = time.process_time() - own_before
    spent = cpu_times.read().since(cpus_before)
    share = len(allowed_cpus()) / spent.total_s if spent.total_s else 0.0
    busy_cpus = max(0.0, spent.busy_s - own_s) * share
    found = [_busy(busy_cpus, processes_before)]
    return found if sys.platform == "win32" else [*found, _steal(spent)]  # Windows doesn't tell


def _busy(busy_cpus: float, processes_before: dict[int, tuple[str, float]]) -> Finding:
    fact = f"{busy_cpus:.0%} of a CPU is in use by something else"
    if busy_cpus <= BUSY_MAX_CPUS:
        return Finding(check="load", good=True, fact=fact)
    return Finding(
        check="load",
        good=False,
        fact=fact,
        cause=_busiest(processes_before) or "no process that this user can see",
        next_step="end it or wait; what is measured meanwhile is marked foreign-load",
    )


def _busiest(before: dict[int, tuple[str, float]]) -> str:
    """The three processes that used most since `before`."""
    used = [
        (cpu_s - before.get(pid, (name, 0.0))[1], f"{name} ({pid})")
        for pid, (name, cpu_s) in cpu_times.read_processes().items()
        if pid != os.getpid()
    ]
    return ", ".join(name for cpu_s, name in sorted(used, reverse=True)[:3] if cpu_s > 0)


def _steal(spent: cpu_times.CpuTimes) -> Finding:
    share = spent.steal_s / spent.total_s if spent.total_s else 0.0
    fact = f"the hypervisor takes {share:.1%} of the CPUs"
    if share <= STEAL_MAX_SHARE:
        return Finding(check="steal", good=True, fact=fact)
    return Finding(
        check="steal",
        good=False,
        fact=fact,
        cause="other virtual machines on the same host",
        next_step="measure at another hour or on a machine of its own; records are marked steal",
    )
