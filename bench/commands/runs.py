"""`iocpbench runs`: what has been measured."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.commands.output import print_json, print_table

if TYPE_CHECKING:
    from bench.records.store import RunFolder


def runs(
    *,
    results: Annotated[Path, typer.Option(metavar="DIR", help="Folder of all runs.")] = Path("results"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
) -> None:
    """List the runs, the newest first.

    Example: iocpbench runs
    """
    from bench.records.store import list_runs

    found = [_row(folder) for folder in list_runs(results)]
    if as_json:
        print_json(found)
        return
    if not found:
        print(f"no run in {results} yet: `iocpbench run` makes one")
        return
    headers = list(found[0])
    print_table(headers, [[str(row[header]) for header in headers] for row in found])


def _row(folder: "RunFolder") -> dict[str, Any]:
    """`cells` are records with figures, `failed` those that failed; what can't run here is neither."""
    statuses = [record.status for record in folder.records()]
    killed = folder.run.status == "running" and not folder.in_use
    return {
        "name": folder.path.name,
        "started": folder.run.started_at,
        "suite": folder.run.suite.get("name", ""),
        "status": "interrupted" if killed else folder.run.status,
        "cells": statuses.count("measured"),
        "failed": statuses.count("failed"),
    }
