"""`iocpbench report`: the page, again, of one run or of several beside each other."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

MERGED_FOLDER = "merged"  # in the results' folder; no run is called so, since a run's name ends in its time


def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="Names, paths or suites; the latest if none."),
    ] = None,
    *,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the page and charts go.")] = None,
    results: Annotated[Path, typer.Option(metavar="DIR", help="Folder of all runs.")] = Path("results"),
    open_page: Annotated[bool, typer.Option("--open", help="Show the page in a browser.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
) -> None:
    """Show a run's table and answer, and write its page; several runs are put beside each other.

    Examples: iocpbench report | iocpbench report linux-run windows-run --out comparison
    """
    from bench.records.store import RunFolder, resolve

    names: list[str | None] = list(runs) if runs else [None]
    paths = dict.fromkeys(resolve(name, results).resolve() for name in names)
    folders = [RunFolder.open(path) for path in paths]

    from rich.console import Console

    from bench.analysis.findings import find
    from bench.commands.output import print_json
    from bench.garbage import no_garbage_collection
    from bench.report import page, terminal
    from bench.report.summary import of

    target = out or (results / MERGED_FOLDER if len(folders) > 1 else folders[0].path)
    with no_garbage_collection():  # all records stay to the end: it would look through them for nothing
        findings = find(folders)
        found = of(findings)
        written = page.write(folders, target, findings=findings, summary=found)
    if as_json:
        print_json({"page": str(written), **terminal.as_json(found)})
    else:
        terminal.show(found, Console())
        print(f"\npage: {written}")
    if open_page:
        webbrowser.open(written.resolve().as_uri())
