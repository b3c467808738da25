"""`iocpbench doctor`."""

from typing import Annotated

import typer

from bench.commands.output import print_json, print_table


def doctor(
    connections: Annotated[
        int, typer.Option(metavar="N", min=1, help="As many as you want to measure.")
    ] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
) -> None:
    """Look for what would spoil a measurement here: fact, likely cause, next step.

    Example: iocpbench doctor --connections 10000
    """
    from bench.host.doctor import findings

    found = findings(connections)
    if as_json:
        print_json(found)
        return
    print_table(("check", "", "fact"), [(one.check, "ok" if one.good else "!", one.fact) for one in found])
    for one in found:
        if not one.good:
            print(f"\n{one.check}: {one.fact}\n  cause: {one.cause}\n  next:  {one.next_step}")
