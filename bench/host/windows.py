"""What Windows tells about the machine: the registry, and calls of `bench.host.win32`."""

import functools
import re
import subprocess
import sys
from typing import NamedTuple

DYNAMIC_PORTS = 16_384  # 49152 to 65535, unless somebody changed it
WINDOWS_11_BUILD = 22_000  # the registry's product name stayed at "Windows 10"
# Vendors and products of virtual machines, as their firmware calls itself. A Surface is Microsoft's, too.
VIRTUAL = (
    "QEMU",
    "KVM",
    "VMware",
    "VirtualBox",
    "Xen",
    "Amazon EC2",
    "Google",
    "Parallels",
    "Virtual Machine",
)
_BIOS = r"HARDWARE\DESCRIPTION\System\BIOS"
_CPU = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
_VERSION = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion"


class PowerPlan(NamedTuple):
    """A power plan: `steady` where it doesn't let the CPU's speed follow the load."""

    name: str
    steady: bool


POWER_PLANS = {
    "381b4222-f694-41f0-9685-ff5bb260df2e": PowerPlan("balanced", steady=False),
    "a1841308-3541-4fab-bc81-f71556f20b4a": PowerPlan("power saver", steady=False),
    "8c5e7fda-e8bf-4a96-9a85-a6e23a8c635c": PowerPlan("high performance", steady=True),
    "e9a42b02-d5df-448d-aa00-03f14749eb61": PowerPlan("ultimate performance", steady=True),
}


def virtual_machine(vendor: str, product: str) -> str | None:
    """Which hypervisor the firmware's `vendor` and `product` are of; None where they are a real machine's."""
    found = next((name for name in VIRTUAL if name.lower() in f"{vendor} {product}".lower()), None)
    return "Hyper-V" if found == "Virtual Machine" else found


def product_name(product: str, release: str, build: int) -> str:
    """`Windows 10 Pro`, `23H2`, 22631 -> `Windows 11 Pro 23H2`."""
    if build >= WINDOWS_11_BUILD:
        product = product.replace("Windows 10", "Windows 11")
    return f"{product} {release}".strip()


def parse_ports(said: str) -> int | None:
    """How many ports `netsh` tells of, in whatever language: start and number are its only two numbers."""
    numbers = re.findall(r":\s*(\d+)\s*$", said, re.MULTILINE)
    return int(numbers[1]) if len(numbers) == 2 else None


if sys.platform == "win32":
    import winreg

    from bench.host import win32

    def system() -> str:
        """`windows`, or `windows-wine`, which passes itself off as Windows."""
        return "windows-wine" if win32.wine_version() else "windows"

    def facts() -> dict[str, object]:
        """What `environment` of this system has beside, and in the place of, what all have."""
        build = int(win32.version().rpartition(".")[2])
        product = _registry(_VERSION, "ProductName") or "Windows"
        wine = win32.wine_version()
        return {
            "kernel": win32.version(),
            "distribution": product_name(product, _registry(_VERSION, "DisplayVersion"), build),
            "virtual": "Wine" if wine else _virtual(),
            "wine": wine,
            "power_plan": plan.name if (plan := power_plan()) else None,
            "timer_resolution_ns": win32.timer_resolution_ns(),
        }

    def cpu_model() -> str | None:
        """As its maker calls it."""
        return _registry(_CPU, "ProcessorNameString").strip() or None

    def power_plan() -> PowerPlan | None:
        """The active one, its GUID where it isn't the system's own; None under Wine, without any."""
        scheme = win32.power_scheme()
        if scheme is None or win32.wine_version():
            return None
        return POWER_PLANS.get(scheme, PowerPlan(scheme, steady=False))

    @functools.cache
    def dynamic_ports() -> int:
        """How many ports there are for connections; what a fresh system has where it doesn't tell."""
        command = ["netsh", "int", "ipv4", "show", "dynamicport", "tcp"]
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return DYNAMIC_PORTS
        return parse_ports(done.stdout.decode(errors="replace")) or DYNAMIC_PORTS

    def _virtual() -> str | None:
        return virtual_machine(_registry(_BIOS, "SystemManufacturer"), _registry(_BIOS, "SystemProductName"))

    def _registry(path: str, name: str) -> str:
        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, path) as key:
                return str(winreg.QueryValueEx(key, name)[0])
        except OSError:
            return ""
