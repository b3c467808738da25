"""iocpbench: which way of doing socket I/O answers fastest here, and does IOCP beat epoll?

For notebooks:

    import bench
    run = bench.load()                    # the latest run, or one by name
    bench.ratios(run)                     # each contender against the reference, with intervals
    bench.charts(run)["connections-response_time"]

Importing this package loads nothing else: each function brings what it needs.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from bench.records.store import RunFolder

__all__ = ["charts", "load", "ratios", "runs"]


def load(name_or_path: str | None = None, results: str = "results") -> "RunFolder":
    """A run by its name or path, by default the latest; `.records()` has everything that was measured."""
    from bench.records.store import RunFolder, resolve

    return RunFolder.open(resolve(name_or_path, Path(results)))


def runs(results: str = "results") -> "list[RunFolder]":
    """All runs, the newest first."""
    from bench.records.store import list_runs

    return list_runs(Path(results))


def ratios(*folders: "RunFolder") -> "pd.DataFrame":
    """Each contender's ratios to the reference: the columns of `bench.analysis.ratios.ratios`."""
    from bench.analysis.findings import find

    return find(folders).ratios


def charts(*folders: "RunFolder") -> "dict[str, Figure]":
    """Every chart of the page, by the name of its file; several runs are put beside each other."""
    from bench.analysis.findings import find
    from bench.report.page import draw_charts

    return draw_charts(find(folders))
