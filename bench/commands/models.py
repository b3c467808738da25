"""`iocpbench models`."""

from typing import TYPE_CHECKING, Annotated

import typer

from bench.commands.output import print_json, print_table

if TYPE_CHECKING:
    from bench.plan.contender import Option


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
    every = [[_flag(option) for option in model.options] for model in found]
    of_all = [flag for flag in every[0] if all(flag in own for own in every)] if every else []
    rows = [
        (
            model.name,
            ", ".join(model.implementations),
            ", ".join(model.systems),
            "yes" if model.available else "no",
            " ".join(flag for flag in own if flag not in of_all),
        )
        for model, own in zip(found, every, strict=True)
    ]
    print_table(("model", "in", "systems", "here", "options of its own"), rows)
    print(f"\noptions of all: {' '.join(of_all)}")
    for model in found:
        if not model.available:
            print(model.reason or f"{model.name} can't run here")


def _flag(option: "Option") -> str:
    """As it is written on a command line."""
    return f"--{option.name.replace('_', '-')}"
