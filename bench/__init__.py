"""iocpbench: which way of doing socket I/O answers fastest here, and does IOCP beat epoll?

For notebooks:

    import bench

    bench.load()                               # the latest run: a tidy DataFrame, one row a cell and repeat
    bench.ratios("chapter")                    # each contender against the reference, with intervals
    bench.charts("chapter")                    # every chart of the page; a notebook shows it
    bench.verdicts("linux-run", "windows-run") # on the chapter's claims; several runs beside each other

Each function takes runs by name or path, a suite's name for its latest run ("../results/chapter"), and
without any the latest of all; `results` is where names are looked for. All warn of what of a run can't be
read, and raise UserError where there is no such run. `bench.analysis.tidy` describes the tables' columns and
their types. Importing this package loads nothing else: each function brings what it needs.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from bench.analysis.claims import Judgement
    from bench.records.store import RunFolder

__all__ = [
    "charts",
    "distributions",
    "evidence",
    "load",
    "ratios",
    "runs",
    "series",
    "slices",
    "verdicts",
]

RunName = str | Path


def runs(results: RunName = "results") -> "pd.DataFrame":
    """All runs in a folder, the newest first; its column `run` has the names that the others take."""
    from bench.analysis import tidy
    from bench.records.store import list_runs

    return tidy.runs(list_runs(Path(results)))


def load(*runs: RunName, results: RunName = "results") -> "pd.DataFrame":
    """What was measured, and what wasn't and why: one row a cell and repeat."""
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
    """Each contender's ratios to the reference, with 95 % intervals: one row a load and quantity."""
    from bench.analysis import tidy
    from bench.analysis.findings import find

    return tidy.ratios(find(_folders(runs, results)))


def verdicts(*runs: RunName, results: RunName = "results") -> "pd.DataFrame":
    """One row for each of the chapter's claims that the runs' suites ask about."""
    from bench.analysis import tidy

    return tidy.verdicts(_judgements(runs, results))


def evidence(*runs: RunName, results: RunName = "results") -> "pd.DataFrame":
    """What the verdicts rest on: one row a figure."""
    from bench.analysis import tidy

    return tidy.evidence(_judgements(runs, results))


def charts(*runs: RunName, results: RunName = "results") -> "dict[str, Figure]":
    """Every chart of the page, by the name of its file; several runs are put beside each other."""
    from bench.analysis.findings import find
    from bench.report.drawing import draw_charts

    _let_notebooks_show_figures()
    return draw_charts(find(_folders(runs, results)))


def _judgements(runs: tuple[RunName, ...], results: RunName) -> "list[Judgement]":
    from bench.analysis.claims import judge
    from bench.analysis.findings import find

    return judge(find(_folders(runs, results)))


def _folders(runs: tuple[RunName, ...], results: RunName) -> "list[RunFolder]":
    import warnings

    from bench.records.store import RunFolder, resolve
    from bench.report.unread import sentences

    paths = [resolve(run, Path(results)).resolve() for run in runs or (None,)]
    folders = [RunFolder.open(path) for path in dict.fromkeys(paths)]
    for folder in folders:
        name = folder.path.name
        for line in sentences({name: folder.read().unread}, {name: name}):
            warnings.warn(f"{name}: {line}", stacklevel=3)
    return folders


def _let_notebooks_show_figures() -> None:
    """Figures are made without pyplot, which is what tells IPython how to show one."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return
    from matplotlib.figure import Figure

    from bench.report.charts import canvas

    shell.display_formatter.formatters["image/png"].for_type(Figure, canvas.png)
