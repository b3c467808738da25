"""What a run shows while it measures: a picture on a terminal, a line a block in a pipe, or nothing.

Nothing is drawn during a slice; drawing takes 2 ms, which is time of the run but of no measurement.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bench.commands.output import duration
from bench.measure.run import Observer, Progress
from bench.records.schema import Record
from bench.report import units
from bench.report.load_words import describe

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

WIDEST_SHOWN = 3  # of the ratios that are too wide: what fits a terminal's width


@contextmanager
def shown(*, quiet: bool) -> Iterator[Observer]:
    """The observer that suits where stderr goes."""
    if quiet:
        yield Silent()
    elif not sys.stderr.isatty():
        yield Plain()
    else:
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True, markup=False, highlight=False)
        with Live(console=console, auto_refresh=False, transient=True) as live:
            yield Picture(live)


class Silent:
    """Shows nothing but notes, each once."""

    def __init__(self) -> None:
        self._noted: set[str] = set()

    def block_begins(self, progress: Progress) -> None:
        """Nothing."""

    def round_begins(self, number: int) -> None:
        """Nothing."""

    def block_ended(self, progress: Progress, records: list[Record]) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Say it, but not again in the next repeat."""
        if text not in self._noted:
            self._noted.add(text)
            self._say(f"note: {text}")

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


class Plain(Silent):
    """A line when a block has ended."""

    def block_ended(self, progress: Progress, records: list[Record]) -> None:
        """Where the run stands, and what was fastest."""
        block = progress.block
        still = f"; {_still_wide(progress)}" if progress.goal else ""
        line = (
            f"{progress.number}/{progress.total} {block.experiment}, {describe(block.load)}, "
            f"repeat {progress.repeat}: {_fastest(records)}{still}"
        )
        self._say(line)
        for record in records:
            if record.status == "failed":
                self.note(_failure(record))


class Picture(Silent):
    """How far the run is, what is measured now, and what the last block showed."""

    def __init__(self, live: "Live") -> None:
        super().__init__()
        self._live = live
        self._progress: Progress | None = None
        self._last: tuple[Progress, list[Record]] | None = None

    def block_begins(self, progress: Progress) -> None:
        """Draw what comes next."""
        self._progress = progress
        self._draw("starting")

    def round_begins(self, number: int) -> None:
        """Draw which round it is."""
        assert self._progress is not None
        self._draw(f"round {number} of {self._progress.block.rounds}" if number else "warm-up")

    def block_ended(self, progress: Progress, records: list[Record]) -> None:
        """Keep it for the next picture; failures stay on the screen."""
        self._last = progress, records
        for record in records:
            if record.status == "failed":
                self.note(_failure(record))

    def _say(self, line: str) -> None:
        self._live.console.print(line, style="yellow")

    def _draw(self, doing: str) -> None:
        from rich.console import Group
        from rich.text import Text

        assert self._progress is not None
        progress = self._progress
        block = progress.block
        repeat = f"repeat {progress.repeat}{'' if progress.goal else f' of {block.repeats}'}"
        now = f"{describe(block.load)} · {repeat} · {doing}"
        parts: list[RenderableType] = [_bar(progress), Text.assemble(("now   ", "dim"), now)]
        if progress.goal is not None:
            parts.append(Text.assemble(("wide  ", "dim"), _still_wide(progress, shown=WIDEST_SHOWN)))
        if self._last is not None:
            parts.append(_last_block(*self._last))
        self._live.update(Group(*parts), refresh=True)


def _bar(progress: Progress) -> "RenderableType":
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    row = Table.grid(expand=True, padding=(0, 1))
    row.add_column(ratio=1)
    row.add_column(justify="right")
    most = "at most " if progress.goal else ""
    left_s = max(progress.left_s, 0)
    left = Text(f"block {progress.number} of {progress.total} · {most}{duration(left_s)} left")
    row.add_row(ProgressBar(total=progress.total, completed=progress.number - 1), left)
    return row


def _last_block(progress: Progress, records: list[Record]) -> "RenderableType":
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for justify in ("left", "right", "right", "left"):
        table.add_column(justify=justify)
    for record in _by_median(records):
        assert record.load is not None
        marks = ", ".join(str(mark["code"]) for mark in record.warnings)
        median = units.time(record.load.response_time.p50_ns)
        table.add_row(
            f"      {record.cell.contender}",
            median,
            f"{units.rate(record.load.rate_per_s)}/s",
            Text(marks, "dim"),
        )
    title = f"{describe(progress.block.load)}: median response time, requests a second"
    return Group(Text.assemble(("last  ", "dim"), title), table)


def _still_wide(progress: Progress, shown: int = 0) -> str:
    """While repeats are being added, how many ratios are too wide yet, and the widest of them."""
    from bench.report.precision import still_wide

    assert progress.goal is not None
    return still_wide(progress.goal.widths, progress.goal.asked.target, shown)


def _failure(record: Record) -> str:
    return f"{record.cell.contender}, {describe(record.cell.load)}: {record.reason}"


def _by_median(records: list[Record]) -> list[Record]:
    def median(record: Record) -> Any:
        assert record.load is not None
        return record.load.response_time.p50_ns or float("inf")

    return sorted((record for record in records if record.load is not None), key=median)


def _fastest(records: list[Record]) -> str:
    ranked = _by_median(records)
    if not ranked or ranked[0].load is None:
        return "nothing could be measured"
    load = ranked[0].load
    median = units.time(load.response_time.p50_ns)
    return f"fastest {ranked[0].cell.contender}, median {median}, {units.rate(load.rate_per_s)}/s"
