"""`iocpbench models`."""

from typing import Annotated

import typer

from bench.commands.output import print_json, print_table


def models(
    *,
    server_python: Annotated[
        str | None, typer.Option(metavar="PATH", help="What there is under another Python.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
) -> None:
    """List the models: what runs here, with which options, and why not where it doesn't.

    Example: iocpbench models
    """
    from bench.measure.interpreter import chosen, list_models

    with chosen(server_python) as interpreter:
        found = list_models(interpreter)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            model.name,
            ", ".join(model.implementations),
            ", ".join(model.systems),
            "yes" if model.available else model.reason or "no",
            " ".join(f"--{option.name.replace('_', '-')}" for option in model.options),
        )
        for model in found
    ]
    print_table(("model", "in", "systems", "runs here", "options"), rows)
