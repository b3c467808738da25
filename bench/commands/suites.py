"""`iocpbench suites`."""

import sys
from typing import Annotated

import typer

from bench.commands.output import print_json, print_table


def suites(
    show: Annotated[str | None, typer.Option(metavar="NAME", help="Print this suite, to copy from.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
) -> None:
    """List the suites that come with iocpbench, or show one.

    Example: iocpbench suites --show quick > mine.toml && iocpbench run mine.toml
    """
    from bench.plan import suite

    if show is not None:
        sys.stdout.write(suite.read(show)[1])
        return
    found = [(name, suite.table(name).title) for name in suite.names()]
    if as_json:
        print_json([{"name": name, "title": title} for name, title in found])
    else:
        print_table(("suite", "question"), found)
