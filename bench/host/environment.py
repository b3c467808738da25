"""What a run's figures depend on besides the contenders: machine, system, interpreter, versions.

It goes into `run.json`, which people pass on: no host name, no user, no path.
"""

import functools
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from bench.host.placement import allowed_cpus, cores

SYSCTLS = (
    "kernel.sched_autogroup_enabled",
    "net.core.busy_poll",
    "net.core.rmem_default",
    "net.core.somaxconn",
    "net.core.wmem_default",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv4.tcp_wmem",
)
PACKAGES = ("iocpbench", "msgspec", "numpy", "pandas", "psutil", "scipy", "matplotlib", "rich", "typer")


def environment() -> dict[str, object]:
    """Everything about this machine; what can't be read is None."""
    import psutil

    return {
        "system": system(),
        "kernel": platform.release(),
        "distribution": _distribution(),
        "machine": platform.machine(),
        "virtual": virtual_machine(),
        "cpu": _cpu(),
        "memory_bytes": psutil.virtual_memory().total,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "python_compiler": platform.python_compiler(),
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "descriptors_max": _descriptors_max(),
        "loopback_mtu": _number(Path("/sys/class/net/lo/mtu")),
        "sysctls": {name: _text(Path("/proc/sys", *name.split("."))) for name in SYSCTLS},
        "git_revision": git_revision(),
        **_system_facts(),
    }


@functools.cache
def system() -> str:
    """Which system this is: `linux`, `windows`, `windows-wine` (Windows code under Wine), `macos`."""
    if sys.platform == "win32":
        from bench.host import windows

        return windows.system()
    return {"darwin": "macos"}.get(sys.platform, sys.platform)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that measure, compute and draw."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout that isn't installed
            continue
    return found


def native_library() -> Path | None:
    """The library of the C servers, where it was built."""
    spec = importlib.util.find_spec("servers")
    if spec is None or spec.origin is None:
        return None
    suffix = ".dll" if sys.platform == "win32" else ".so"
    path = Path(spec.origin).parent / f"libservers{suffix}"
    return path if path.exists() else None


def yardstick_sha256() -> str | None:
    """What tells one build of the yardstick from another; None where there is none."""
    library = native_library()
    return sha256(library.read_bytes()).hexdigest() if library else None


def git_revision() -> str | None:
    """The commit of the checkout that this program runs from, with `+` where files differ from it."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        revision = _git(root, "rev-parse", "HEAD")
        return revision + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _system_facts() -> dict[str, object]:
    if sys.platform == "win32":
        from bench.host import windows

        return windows.facts()
    return {}


def virtual_machine() -> str | None:
    """Which hypervisor or container this runs in, as well as it shows; None on bare metal."""
    if container := _container():
        return container
    vendor = _text(Path("/sys/class/dmi/id/sys_vendor")) or ""
    product = _text(Path("/sys/class/dmi/id/product_name")) or ""
    for name in ("QEMU", "KVM", "VMware", "VirtualBox", "Xen", "Amazon EC2", "Google", "Microsoft"):
        if name.lower() in f"{vendor} {product}".lower():
            return name
    return "hypervisor" if " hypervisor" in (_text(Path("/proc/cpuinfo")) or "") else None


def governors() -> set[str]:
    """The CPU frequency governors in use; empty where frequency isn't this system's to set."""
    files = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    return {governor for file in files if (governor := _text(file))}


def _container() -> str | None:
    if Path("/.dockerenv").exists():
        return "docker"
    if Path("/run/.containerenv").exists():
        return "podman"
    return "wsl" if "microsoft" in platform.release().lower() else None


def _cpu() -> dict[str, object]:
    allowed = allowed_cpus()
    physical = cores(allowed)
    return {
        "model": _cpu_model(),
        "logical": os.cpu_count(),
        "allowed": len(allowed),
        "cores": len(physical),
        "smt": any(len(core) > 1 for core in physical),
        "governors": sorted(governors()),
        "clocksource": _text(Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")),
    }


def _cpu_model() -> str | None:
    if sys.platform == "win32":
        from bench.host import windows

        return windows.cpu_model()
    for line in (_text(Path("/proc/cpuinfo")) or "").splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.processor() or None


def _distribution() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def _descriptors_max() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text and text.isdigit() else None
