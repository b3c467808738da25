"""`iocpbench export`: records for other programs."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def export(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="Names, paths or suites; the latest if none."),
    ] = None,
    *,
    form: Annotated[str, typer.Option("--format", help="csv (default), parquet or hgrm.")] = "csv",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the files go; export/ in the run's folder.")
    ] = None,
    results: Annotated[Path, typer.Option(metavar="DIR", help="Folder of all runs.")] = Path("results"),
) -> None:
    """Write a run's records for other programs; several runs go into the same tables.

    csv and parquet have a table of cells and one of slices; hgrm has a file for each distribution, which
    HdrHistogram's plotter reads.

    Example: iocpbench export --format csv --out tables
    """
    from bench.analysis.export import FORMATS, write
    from bench.errors import Exit, UserError
    from bench.plan.contender import nearest
    from bench.records.store import RunFolder, resolve
    from bench.report.unread import sentences

    known = next((one for one in FORMATS if one == form), None)
    if known is None:
        raise UserError(f"--format {form}: {nearest(form, FORMATS)}", Exit.USAGE)
    names: list[str | None] = list(runs) if runs else [None]
    folders = [
        RunFolder.open(path) for path in dict.fromkeys(resolve(name, results).resolve() for name in names)
    ]
    try:
        written = write(folders, known, out or folders[0].path / "export")
    except ImportError as error:
        cure = "pip install pyarrow, or uv run --extra parquet; csv needs nothing"
        raise UserError(f"--format parquet needs pyarrow: {cure}", Exit.UNAVAILABLE) from error
    if not written:
        raise UserError("nothing was measured in it, so there is nothing to export", Exit.FAILED)
    for path in written:
        print(path)
    labels = {folder.path.name: folder.path.name for folder in folders}
    for line in sentences({folder.path.name: folder.read().unread for folder in folders}, labels):
        print(f"iocpbench: {line}", file=sys.stderr)
