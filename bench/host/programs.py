"""Whether a program can be started, before anything is measured."""

import os
import shutil
import sys
from pathlib import Path

from bench.errors import Exit, UserError


def check_program(contender: str, program: str) -> None:
    """Raise UserError where the command of `contender` begins with a `program` that can't be started.

    On Windows only a start shows it: there a name's ending may be left out, and more folders are searched.
    """
    if sys.platform == "win32" or shutil.which(program) is not None:
        return
    raise UserError(f"contender {contender}: {_why_not(program)}", Exit.USAGE)


def _why_not(program: str) -> str:
    path = Path(program)
    if path.is_dir():
        return f"{program} is a folder: name the program in it"
    if os.sep not in program:
        if path.is_file():
            return f"no program {program} on the PATH, but a file here: write ./{program}"
        return f"no program {program} on the PATH: install it, or give its path"
    if path.exists():
        return f"{program} is not executable: chmod +x {program}, or name what runs it"
    return f"{program} doesn't exist: build it, or give its path from the folder that you run this in"
