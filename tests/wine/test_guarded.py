"""The servers in C for Windows with an allocator and checks that end them where they misuse memory.

Sanitizers need a runtime that Wine can't carry. What does without one is used: assertions, the sanitizer of
undefined behaviour in its form that traps, and an allocator whose pieces end at a guard page (guarded.h).
"""

import os
import runpy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.linux("compiles for Windows and runs it under Wine"), pytest.mark.slow]
ROOT = Path(__file__).parents[2]
GUARDED = ROOT / "tests" / "servers" / "guarded.h"
# The compiler leaves assertions out where it optimizes.
CHECKS = ("-UNDEBUG", "-fsanitize=undefined", "-fsanitize-trap=undefined", "-include", str(GUARDED))
TIMEOUT_S = 1200
FAULTS = {
    "used after it was freed": "char *p = malloc(1); free(p); return *(volatile char *)p;",
    "freed twice": "char *p = malloc(1); free(p); free(p); return 0;",
    "written past its end": "volatile char *p = malloc(16); p[argc + 15] = 1; return 0;",
    "overflow": 'int a = 0x7fffffff; a += argc; printf("%d", a); return 0;',
    "left": "return malloc(1) == NULL;",
}


@pytest.fixture
def compile_for_windows(wine_python: Path) -> Callable[[list[str]], None]:
    """Runs a command of build_native.py's compiler."""

    def run(command: list[str]) -> None:
        environment = os.environ | {"PYTHONPATH": str(wine_python.parent / "zig")}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    return run


@pytest.fixture
def build() -> dict[str, Any]:
    """What build_native.py defines."""
    return runpy.run_path(str(ROOT / "build_native.py"))


def test_the_checks_see_faults(
    compile_for_windows: Callable[[list[str]], None], build: dict[str, Any], wine: Any, tmp_path: Path
) -> None:
    """A program with one ends, or complains at its end of what it left; one without doesn't."""
    compiler = build["command"]("servers", build["TARGETS"]["x86_64-windows-gnu"], tmp_path)[:6]
    assert compiler[-1] == "x86_64-windows-gnu"
    for number, (fault, code) in enumerate({"none": "return 0;", **FAULTS}.items()):
        source, program = tmp_path / f"{number}.c", tmp_path / f"{number}.exe"
        source.write_text(f"int main(int argc, char **argv) {{ (void)argc; (void)argv; {code} }}\n")
        compile_for_windows([*compiler, "-O1", *CHECKS, str(source), "-o", str(program)])
        starter = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1]).returncode != 0)"
        finished = wine.run("-c", starter, f"Z:{program}", timeout_s=60)
        has_complained = finished.code != 0 or "1 pieces of memory were not freed" in finished.output
        assert has_complained == (fault != "none"), f"{fault}: {finished}"


def test_servers_misuse_no_memory(
    compile_for_windows: Callable[[list[str]], None], build: dict[str, Any], wine: Any, tmp_path: Path
) -> None:
    """With all sorts of clients, and where system calls fail; at the end nothing is left."""
    shutil.copytree(ROOT / "servers", tmp_path / "servers", ignore=shutil.ignore_patterns("*.so", "*.dll"))
    library = tmp_path / "servers" / "libservers.dll"
    command = build["command"]("servers", build["TARGETS"]["x86_64-windows-gnu"], library)
    compile_for_windows([*command, *CHECKS])
    served = "see_each_other or resets or stops_in_order or half_closed"
    for file, which in (
        ("test_conformance.py", f":c and ({served})"),
        ("completion/test_faults.py", "c-iocp or c-overlapped"),
    ):
        finished = wine.run_tests(
            *(f"tests/servers/{file}", "-k", which), timeout_s=TIMEOUT_S, packages=tmp_path
        )
        assert finished.code == 0
        assert " passed" in finished.output
