"""`iocpbench`: the commands put together, and every failure turned into a line that says what to do."""

import errno
import io
import os
import sys
from typing import Any, NoReturn

import typer

from bench.commands.client import client
from bench.commands.compare import compare
from bench.commands.doctor import doctor
from bench.commands.export import export
from bench.commands.load import load
from bench.commands.models import models
from bench.commands.report import report
from bench.commands.run import run
from bench.commands.runs import runs
from bench.commands.serve import serve
from bench.commands.suites import suites
from bench.errors import Exit, UserError

app = typer.Typer(
    name="iocpbench",
    rich_markup_mode=None,  # with it the help takes 0.8 s
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=False,
    help="Which way of doing socket I/O answers fastest on this machine, and carries the most connections?",
    epilog="Begin with: iocpbench run",
)
_PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True}
for command in (run, models, suites, doctor, runs, report, compare, export, load, client):
    app.command()(command)
app.command(context_settings=_PASS_THROUGH)(serve)

_UsageError: Any = typer.BadParameter.__base__  # typer has no public name for it


def main() -> NoReturn:
    """Run the command line; exit with the code that DESIGN gives."""
    _speak_utf8()
    try:
        code = app(standalone_mode=False, prog_name="iocpbench")
        sys.stdout.flush()
    except UserError as error:
        _fail(str(error), error.exit_code)
    except _UsageError as error:
        where = error.ctx.command_path if error.ctx else "iocpbench"
        _fail(f"{error.format_message().rstrip('.')}; `{where} --help` shows what there is", Exit.USAGE)
    except (KeyboardInterrupt, typer.Abort):
        raise SystemExit(Exit.INTERRUPTED) from None
    except BrokenPipeError:  # who read our output has enough; nothing more can be written, also at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(Exit.FAILED) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        _fail(
            f"{error.filename or 'output'}: {error.strerror}; free space or name another folder", Exit.FAILED
        )
    raise SystemExit(code or 0)


def _speak_utf8() -> None:
    """On Windows a pipe and a file get this country's code page otherwise, which lacks most characters."""
    if sys.platform != "win32":
        return
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not stream.isatty():
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _fail(message: str, code: int) -> NoReturn:
    print(f"iocpbench: {message}", file=sys.stderr)
    raise SystemExit(code)
