"""Compile the native libraries: the C twins of the servers and the load generator's core.

The compiler is Zig's C compiler, a package on PyPI, so that no machine needs one of its own and one
machine can build for all: glibc 2.17 as the oldest (manylinux 2_17), the baseline CPU, Windows by
cross-compiling. `CC` names another compiler, for this machine alone.

    python build_native.py                                  # for this machine
    python build_native.py --target x86_64-windows-gnu      # Windows libraries, anywhere
    CC=clang python build_native.py

It is also the build hook of the wheel (hatchling); there `IOCPBENCH_TARGET` gives the target:

    IOCPBENCH_TARGET=x86_64-windows-gnu uv build --wheel
"""

import argparse
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    BuildHook = object
else:
    try:
        from hatchling.builders.hooks.plugin.interface import BuildHookInterface as BuildHook
    except ImportError:  # run by hand, where the build backend isn't installed
        BuildHook = object

ROOT = Path(__file__).parent
LIBRARIES = {"servers": ("readiness", "blocking", "completion"), "loadgen": ("core",)}
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wvla", "-Wstrict-prototypes")


class Target(NamedTuple):
    """What to compile for: what the compiler calls it, and what a wheel for it is tagged."""

    triple: str
    wheel_platform: str
    suffix: str
    flags: tuple[str, ...]


_LINUX = (".so", ("-D_GNU_SOURCE", "-pthread", "-lm"))
_WINDOWS = (".dll", ("-lws2_32",))
TARGETS = {
    "x86_64-linux-gnu": Target("x86_64-linux-gnu.2.17", "manylinux_2_17_x86_64", *_LINUX),
    "aarch64-linux-gnu": Target("aarch64-linux-gnu.2.17", "manylinux_2_17_aarch64", *_LINUX),
    "x86_64-windows-gnu": Target("x86_64-windows-gnu", "win_amd64", *_WINDOWS),
    "aarch64-windows-gnu": Target("aarch64-windows-gnu", "win_arm64", *_WINDOWS),
}
MACHINES = {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64"}
SYSTEMS = {"linux": "linux-gnu", "win32": "windows-gnu"}


def this_machine() -> str | None:
    """The name of this machine's target; None where nothing native runs (macOS: reports work there)."""
    machine, system = MACHINES.get(platform.machine().lower()), SYSTEMS.get(sys.platform)
    return f"{machine}-{system}" if machine and system else None


def sources(package: str) -> list[Path]:
    """The C files of `package`'s library, in a fixed order."""
    folders = (ROOT / package / folder for folder in LIBRARIES[package])
    return sorted(path for folder in folders for path in folder.glob("*.c"))


def command(package: str, target: Target, output: Path) -> list[str]:
    """The compiler's command line for one library."""
    compiler = shlex.split(os.environ.get("CC", ""))
    if not compiler:
        compiler = [sys.executable, "-m", "ziglang", "cc", "-target", target.triple]
    return [
        *compiler,
        *("-std=c11", "-O2", "-g0", "-shared", "-fPIC", "-fvisibility=hidden"),
        *WARNINGS,
        *("-I", str(ROOT / package)),
        *map(str, sources(package)),
        *target.flags,
        *("-o", str(output)),
    ]


def build(target_name: str) -> list[Path]:
    """Compile both libraries into their packages; return their paths.

    Raises SystemExit with the compiler's messages where it fails.
    """
    target = TARGETS[target_name]
    built = []
    for package in LIBRARIES:
        output = ROOT / package / f"lib{package}{target.suffix}"
        # A process that has the old library mapped keeps it: replaced, never overwritten in place.
        fresh = output.with_name(f"{output.name}.{os.getpid()}.new")
        done = subprocess.run(command(package, target, fresh), capture_output=True, text=True, check=False)
        if done.returncode:
            fresh.unlink(missing_ok=True)
            raise SystemExit(f"{output.name} could not be compiled:\n{done.stderr.strip()}")
        fresh.replace(output)
        built.append(output)
        # Linkers leave .pdb and .lib beside a .dll, the second under the name of the first source.
        import_library = output.with_name(f"{sources(package)[0].stem}.lib")
        for leftover in (*output.parent.glob(f"{output.name}.*.*"), import_library):
            leftover.unlink(missing_ok=True)
    return built


class NativeBuildHook(BuildHook):
    """Compiles before hatchling packs a wheel, and names the platform in the wheel's tag."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build for IOCPBENCH_TARGET or this machine, and put the libraries into the wheel."""
        name = os.environ.get("IOCPBENCH_TARGET") or this_machine()
        if name is None:
            return
        if name not in TARGETS:
            raise SystemExit(f"IOCPBENCH_TARGET={name} is unknown; one of: {', '.join(TARGETS)}")
        libraries = build(name)
        wheel_platform = TARGETS[name].wheel_platform
        if os.environ.get("CC"):  # linked against whatever C library this machine has
            wheel_platform = wheel_platform.replace("manylinux_2_17", "linux")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{wheel_platform}"
        build_data["force_include"].update(
            {str(path): path.relative_to(ROOT).as_posix() for path in libraries}
            if version != "editable"
            else {}
        )


def main() -> None:
    """Build from the command line."""
    parser = argparse.ArgumentParser(description="Compile the native libraries of iocpbench.")
    parser.add_argument("--target", choices=TARGETS, default=this_machine())
    target = parser.parse_args().target
    if target is None:
        parser.exit(
            message="nothing native is built for this system: iocpbench measures on Linux and Windows\n"
        )
    for path in build(target):
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
