"""iocpbench: which way of doing socket I/O answers fastest here, and does IOCP beat epoll?

For notebooks:

    import bench

    run = bench.load()                         # the latest run: a tidy DataFrame, one row a cell and repeat
    bench.ratios()                             # each contender against the reference, with intervals
    bench.charts()["connections-response_time"]
    bench.verdicts("linux-run", "windows-run") # of the chapter's claims; several runs beside each other

Each function takes runs by name or path and, without any, the latest; `results` is where names are looked
for. Importing this package loads nothing else: each function brings what it needs.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from bench.records.store import RunFolder

__all__ = ["charts", "distributions", "load", "ratios", "runs", "series", "slices", "verdicts"]

RunName = str | Path


def load(*runs: RunName, results: RunName = "results") -> "pd.DataFrame":
    """What was measured, one row a cell and repeat; `bench.analysis.tidy` describes columns and dtypes.

    Warns of what of a run can't be read. Raises UserError where there is no such run.
    """
    from bench.analysis import tidy

    return tidy.cells(_folders(runs, results))


def slices(*runs: RunName, results: RunName = "results", warmup: bool = False) -> "pd.DataFrame":
    """One row a slice of load; those of the warm-up round only where asked for."""
    from bench.analysis import tidy

    return tidy.slices(_folders(runs, results), warmup=warmup)


def series(*runs: RunName, results: RunName = "results") -> "pd.DataFrame":
    """One row for each 0.1 s of load."""
    from bench.analysis import tidy

    return tidy.series(_folders(runs, results))


def distributions(*runs: RunName, results: RunName = "results") -> "pd.DataFrame":
    """Response times of each cell: one row a bucket of its histogram, all repeats together."""
    from bench.analysis import tidy

    return tidy.distributions(_folders(runs, results))


def ratios(*runs: RunName, results: RunName = "results") -> "pd.DataFrame":
    """Each contender's ratios to the reference: the columns of `bench.analysis.ratios.ratios`."""
    from bench.analysis.findings import find

    return find(_folders(runs, results)).ratios


def verdicts(*runs: RunName, results: RunName = "results") -> "pd.DataFrame":
    """A row for each of the chapter's claims that the runs' suites ask about.

    Columns: `claim`, `statement`, `verdict`, `scope`, `why`, `rule`: text; `evidence`: lists of
    `bench.analysis.claims.Evidence`.
    """
    import pandas as pd

    from bench.analysis.claims import judge
    from bench.analysis.findings import find

    columns = ["claim", "statement", "verdict", "scope", "why", "rule", "evidence"]
    rows = [
        (
            *(one.claim, one.statement, one.verdict.value, one.scope),
            "; ".join(one.reasons),
            one.rule,
            one.evidence,
        )
        for one in judge(find(_folders(runs, results)))
    ]
    return pd.DataFrame(rows, columns=columns)


def charts(*runs: RunName, results: RunName = "results") -> "dict[str, Figure]":
    """Every chart of the page, by the name of its file; several runs are put beside each other."""
    from bench.analysis.findings import find
    from bench.report.page import draw_charts

    return draw_charts(find(_folders(runs, results)))


def runs(results: RunName = "results") -> "pd.DataFrame":
    """All runs, newest first: `run`, `status`, `started_at` (datetime64, UTC), `title`, `records`, `path`."""
    import pandas as pd

    from bench.records.store import list_runs

    rows = [
        (
            *(one.path.name, one.run.status, one.run.started_at, str(one.run.suite.get("title", ""))),
            *(len(one.records()), str(one.path)),
        )
        for one in list_runs(Path(results))
    ]
    table = pd.DataFrame(rows, columns=["run", "status", "started_at", "title", "records", "path"])
    return table.assign(
        started_at=pd.to_datetime(table["started_at"], utc=True, format="ISO8601", errors="coerce")
    )


def _folders(runs: tuple[RunName, ...], results: RunName) -> "list[RunFolder]":
    import warnings

    from bench.records.store import RunFolder, resolve
    from bench.report.unread import sentences

    names = [str(run) for run in runs] if runs else [None]
    folders = [RunFolder.open(resolve(name, Path(results))) for name in names]
    for folder in folders:
        name = folder.path.name
        for line in sentences({name: folder.read().unread}, {name: name}):
            warnings.warn(f"{name}: {line}", stacklevel=3)
    return folders
