"""What an open connection takes in memory, in the server's process and in the kernel."""

from collections.abc import Sequence

import msgspec
import pandas as pd

from bench.analysis.frames import CELL
from bench.records.schema import Load
from bench.report import units
from bench.report.findings import Findings, load_of, rows_of

TITLE = "Memory for each idle connection"
HEADERS = ("contender", "in the process", "in the kernel", "process without any")
IDLE_MIN = 1000  # with fewer, what a server takes once for all is too large a part
READ = (
    "What there was with all connections open, less what there was before the first, over their number. "
    "In the kernel: what it charges to the server; what an interrupt allocates may be charged to nobody."
)


class Memory(msgspec.Struct, frozen=True):
    """Of one contender. Bytes; None where the system doesn't tell."""

    run: str
    experiment: str
    contender: str
    in_c: bool
    load: Load
    connections: int
    process_bytes: float | None  # for each connection
    kernel_bytes: float | None  # for each connection
    without_bytes: float | None  # of the whole process

    @property
    def cells(self) -> list[str]:
        """Under HEADERS."""
        sizes = (self.process_bytes, self.kernel_bytes, self.without_bytes)
        return [self.contender, *(units.NOTHING if one is None else units.size(round(one)) for one in sizes)]


def memories(findings: Findings) -> list[Memory]:
    """Those of each experiment's largest idle crowd; the least in process and kernel first."""
    table = findings.cells[(findings.cells["status"] == "measured") & (findings.cells["idle"] >= IDLE_MIN)]
    if table.empty:
        return []
    wine = set(findings.table.loc[findings.table["wine"], CELL].itertuples(index=False, name=None))
    largest = table.groupby(["run", "experiment"])["idle"].transform("max")
    found = [
        _of(rows_of(group.head(1))[0], group)
        for key, group in table[table["idle"] == largest].groupby(CELL, sort=False)
        if key not in wine
    ]
    return sorted(
        found, key=lambda one: (one.run, one.experiment, *msgspec.structs.astuple(one.load), _total(one))
    )


def sentence(found: Sequence[Memory]) -> str:
    """The least and the most, in words."""
    least, most = found[0], found[-1]
    if least is most:
        return f"An idle connection takes {_words(least)}."
    extremes = ", ".join(f"{_words(one)} with {one.contender}" for one in (least, most))
    return f"An idle connection takes {extremes}."


def _words(one: Memory) -> str:
    parts = [(one.process_bytes, "in the process"), (one.kernel_bytes, "in the kernel")]
    return " and ".join(f"{units.size(round(size))} {where}" for size, where in parts if size is not None)


def _of(row: dict[str, object], group: pd.DataFrame) -> Memory:
    load = load_of(row)
    connections = load.connections + load.idle

    def each(name: str) -> float | None:
        more = group[f"server_{name}_bytes"] - group[f"server_{name}_before_bytes"]
        return None if more.isna().all() else max(0.0, float(more.median()) / connections)

    without = group["server_memory_before_bytes"].median()
    return Memory(
        run=str(row["run"]),
        experiment=str(row["experiment"]),
        contender=str(row["contender"]),
        in_c=row["implementation"] == "c",
        load=load,
        connections=connections,
        process_bytes=each("memory"),
        kernel_bytes=each("kernel"),
        without_bytes=None if pd.isna(without) else float(without),
    )


def _total(one: Memory) -> float:
    return (one.process_bytes or 0.0) + (one.kernel_bytes or 0.0)


def titles(found: Sequence[Memory], labels: dict[str, str]) -> dict[str, list[Memory]]:
    """Rows under what a section of a table is called: `8010 open connections`."""
    sections: dict[str, list[Memory]] = {}
    for one in found:
        label = f"{labels[one.run]}, " if len(labels) > 1 else ""
        sections.setdefault(f"{label}{one.connections} open connections", []).append(one)
    return sections
