"""`iocpbench compare`: what has changed from one run to another."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.commands.output import parse_share, print_json
from bench.errors import Exit, UserError

if TYPE_CHECKING:
    from bench.report.changes import Changes

FORMATS = ("text", "markdown", "json")


def compare(
    before: Annotated[str, typer.Argument(metavar="A", help="The run before: its name, path or suite.")],
    after: Annotated[str, typer.Argument(metavar="B", help="The run after.")],
    *,
    form: Annotated[
        str | None, typer.Option("--format", help="text (default), markdown or json.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    fail_if_slower: Annotated[
        str | None,
        typer.Option(metavar="3%", help="Exit code 4 where an interval lies wholly beyond that."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Compare what may not be compared.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Draw a chart there: changes.svg and .png.")
    ] = None,
    results: Annotated[Path, typer.Option(metavar="DIR", help="Folder of all runs.")] = Path("results"),
) -> None:
    """Compare two runs through the yardstick that both have; a time of day or a load is none that counts.

    Example: iocpbench compare quick-20261124T090000Z quick-20261125T090000Z --fail-if-slower 5%
    """
    from bench.records.store import RunFolder, resolve

    chosen = _format(form, as_json=as_json)
    threshold = parse_share(fail_if_slower, "--fail-if-slower")
    folders = [RunFolder.open(resolve(name, results)) for name in (before, after)]

    from bench.report import changes

    found = changes.changes(*folders, force=force)
    if chosen == "json":
        print_json(changes.as_json(found, threshold))
    elif chosen == "markdown":
        print(changes.markdown(found, threshold))
    else:
        _show(found, threshold)
    if out is not None:
        from bench.report.charts import canvas
        from bench.report.charts import changes as chart

        out.mkdir(parents=True, exist_ok=True)
        canvas.save(chart.draw(found), out / chart.NAME)
    if threshold is not None and changes.beyond(found, threshold):
        said = changes.verdict(found, threshold)
        raise UserError(f"{said[0].lower()}{said[1:].rstrip('.')}", Exit.THRESHOLD)


def _format(form: str | None, *, as_json: bool) -> str:
    from bench.plan.contender import nearest

    if form is not None and form not in FORMATS:
        raise UserError(f"--format {form}: {nearest(form, FORMATS)}", Exit.USAGE)
    if as_json and form not in (None, "json"):
        raise UserError(f"--json and --format {form} are two formats: give one", Exit.USAGE)
    return "json" if as_json else form or "text"


def _show(found: "Changes", threshold: float | None) -> None:
    from rich.console import Console
    from rich.text import Text

    from bench.report import changes
    from bench.report.tables import Line, print_sections

    console = Console()
    console.print(Text(changes.heading(found), style="bold"), soft_wrap=not console.is_terminal)
    sections = {title: [Line(cells) for cells in rows] for title, rows in changes.table(found).items()}
    print_sections(console, changes.HEADERS, sections, numbers=frozenset())
    facts = [f"differs: {fact}" for fact in found.differences]
    facts += [f"left out: {fact}" for fact in found.left_out]
    facts += [f"can't be read: {fact}" for fact in found.unread]
    console.print()
    for line in [changes.NOTE, *facts]:
        console.print(Text(line, style="dim"), soft_wrap=not console.is_terminal)
    for line in found.notes:
        console.print(Text(line, style="yellow"), soft_wrap=not console.is_terminal)
    console.print()
    said = [changes.sentence(found), *([] if threshold is None else [changes.verdict(found, threshold)])]
    for line in said:
        console.print(Text(line, style="bold"), soft_wrap=not console.is_terminal)
