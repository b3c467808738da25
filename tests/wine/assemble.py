"""Put a Windows Python together: `assemble.py WHEEL_FOLDER DESTINATION`, run by any CPython 3.11.

What is compiled comes from a wheel that carries it; the standard library's Python files are those of the
Python that runs this. Beside them comes a definition file for python3.dll, which the wheel lacks: it forwards
each name of the stable interface, against which some packages are linked, to the library that has it.
"""

import compileall
import shutil
import struct
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

VERSION = (3, 11)
BESIDE_THE_PROGRAM = ("python311.dll", "vcruntime140.dll", "vcruntime140_1.dll")
LIBRARIES = ("libffi-8.dll", "libcrypto-3.dll", "libssl-3.dll", "sqlite3.dll")
MODULES = (
    *("_asyncio", "_bz2", "_ctypes", "_decimal", "_elementtree", "_hashlib", "_lzma", "_multiprocessing"),
    *("_overlapped", "_queue", "_socket", "_sqlite3", "_ssl", "_uuid", "_zoneinfo", "pyexpat", "select"),
    *("unicodedata", "winsound"),
)
WHEEL_TAG = ".cp311-win_amd64"  # in the file names of some modules
NOT_NEEDED = ("site-packages", "dist-packages", "test", "tests", "idlelib", "ensurepip", "__pycache__")
NOT_FOR_WINDOWS = ("lib-dynload", "config-*", "*.so")


def main() -> None:
    """Assemble from the command line."""
    wheel, destination = map(Path, sys.argv[1:])
    if sys.version_info[:2] != VERSION:
        sys.exit(f"assemble.py: run it by CPython {VERSION[0]}.{VERSION[1]}, as the wheel has that")
    copy_compiled(wheel, destination)
    copy_standard_library(destination)
    interpreter = destination / "python311.dll"
    lines = [f"  {line}" for line in forwarders(interpreter.read_bytes(), interpreter.stem)]
    (destination / "python3.def").write_text("\n".join(["LIBRARY python3.dll", "EXPORTS", *lines, ""]))


def copy_compiled(wheel: Path, destination: Path) -> None:
    """Copy the interpreter, its libraries and the modules in C. Raises SystemExit where one is missing."""
    wanted = {name: destination / name for name in BESIDE_THE_PROGRAM}
    wanted |= {name: destination / "DLLs" / name for name in LIBRARIES}
    wanted |= {f"{name}.pyd": destination / "DLLs" / f"{name}.pyd" for name in MODULES}
    (destination / "DLLs").mkdir(parents=True, exist_ok=True)
    for path in wheel.rglob("*"):
        target = wanted.pop(path.name.lower().replace(WHEEL_TAG, ""), None)
        if target:
            shutil.copyfile(path, target)
    wanted.pop("vcruntime140_1.dll", None)  # not every build needs it
    if wanted:
        sys.exit(f"assemble.py: the wheel lacks {', '.join(wanted)}")


def copy_standard_library(destination: Path) -> None:
    """Copy what is written in Python, and compile it: each start would compile it again otherwise."""
    library = destination / "Lib"
    ignored = shutil.ignore_patterns(*NOT_NEEDED, *NOT_FOR_WINDOWS)
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=ignored, dirs_exist_ok=True)
    (library / "site-packages").mkdir(exist_ok=True)
    compileall.compile_dir(library, quiet=2)


class Section(NamedTuple):
    """A part of a library: its name, where it is when loaded, and where in the file."""

    name: bytes
    virtual_size: int
    virtual_address: int
    file_size: int
    file_offset: int

    def holds(self, address: int) -> bool:
        """Whether it is loaded at `address`."""
        size = max(self.virtual_size, self.file_size)
        return self.virtual_address <= address < self.virtual_address + size


def forwarders(library: bytes, name: str) -> Iterator[str]:
    """The lines of a definition file that forward each name which `library` exports to the library `name`.

    The layout is that of Microsoft's "PE Format": 64-bit header, sections, export directory.
    """

    def unpack(form: str, offset: int) -> tuple[int, ...]:
        return struct.unpack_from(f"<{form}", library, offset)

    (header,) = unpack("I", 0x3C)
    (section_count,) = unpack("H", header + 6)
    (optional_size,) = unpack("H", header + 20)
    optional = header + 24
    sections = [
        Section(library[start : start + 8].rstrip(b"\0"), *unpack("IIII", start + 8))
        for start in range(optional + optional_size, optional + optional_size + 40 * section_count, 40)
    ]

    def section_of(address: int) -> Section:
        return next(section for section in sections if section.holds(address))

    def offset_of(address: int) -> int:
        section = section_of(address)
        return address - section.virtual_address + section.file_offset

    (directory,) = unpack("I", optional + 112)
    _, name_count, functions, names, ordinals = unpack("IIIII", offset_of(directory) + 20)
    for index in range(name_count):
        (name_address,) = unpack("I", offset_of(names) + 4 * index)
        start = offset_of(name_address)
        exported = library[start : library.index(b"\0", start)].decode()
        (ordinal,) = unpack("H", offset_of(ordinals) + 2 * index)
        (address,) = unpack("I", offset_of(functions) + 4 * ordinal)
        kind = "" if section_of(address).name == b".text" else " DATA"
        yield f"{exported} = {name}.{exported}{kind}"


if __name__ == "__main__":
    main()
