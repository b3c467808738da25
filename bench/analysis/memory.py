"""What an open connection takes in memory, in the server's process and in the kernel."""

import msgspec
import pandas as pd

from bench.analysis.findings import Findings, load_of, rows_of
from bench.analysis.frames import CELL
from bench.records.schema import Load

IDLE_MIN = 1000  # with fewer, what a server takes once for all is too large a part


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
