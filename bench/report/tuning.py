"""The best setting of an option in words: a row for each contender that comes in several settings."""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import msgspec

from bench.analysis.findings import Findings, load_of, rows_of
from bench.records.schema import Load
from bench.report import units
from bench.report.answer import varying_loads
from bench.report.load_words import describe
from bench.report.ratio import finite

TITLE = "Best settings"
HEADERS = ("contender", "best settings", "against", "times as good")
READ = "Chosen in every other repeat, its gain estimated in the others: so it holds no luck of the first."
ONE_CPU = "The servers had one CPU: threads and processes take turns there."


class Tuned(msgspec.Struct, frozen=True):
    """What the best setting of a contender gains over the default at a load; no bounds with few repeats."""

    run: str
    experiment: str
    load: Load
    contender: str
    default: str
    chosen: str
    best: list[str]
    gain: float | None
    low: float | None
    high: float | None
    one_cpu: bool  # the servers had no more


class TunedRows(NamedTuple):
    """Those of one load."""

    title: str
    rows: list[tuple[str, ...]]


def tuned(findings: Findings) -> list[Tuned]:
    """A row for each contender in several settings, for each load; in the suite's order."""
    cpus = findings.cells.groupby(["run", "experiment"])["server_cpus"].agg(set).to_dict()
    found = []
    for row in rows_of(findings.gains):
        where = cpus[row["run"], row["experiment"]]
        found.append(
            Tuned(
                run=row["run"],
                experiment=row["experiment"],
                load=load_of(row),
                contender=row["variant_of"],
                default=row["default"],
                chosen=row["chosen"],
                best=row["best"],
                gain=finite(row["gain"]),
                low=finite(row["low"]),
                high=finite(row["high"]),
                one_cpu=all(one.isdigit() for one in where),
            )
        )
    return found


def by_load(rows: Sequence[Tuned], labels: dict[str, str]) -> list[TunedRows]:
    """The cells of a table of one experiment, under the loads that they are about."""
    axes = varying_loads([row.load for row in rows])

    def title(row: Tuned) -> str:
        label = f"{labels[row.run]}, " if len(labels) > 1 else ""
        return label + describe(row.load, axes)

    return [TunedRows(name, [_cells(row) for row in own]) for name, own in groupby(rows, key=title)]


def notes(rows: Sequence[Tuned]) -> list[str]:
    """What belongs below the table."""
    return [READ, *([ONE_CPU] if any(row.one_cpu for row in rows) else [])]


def _cells(row: Tuned) -> tuple[str, ...]:
    settings = ", ".join(_setting(name, row.contender) for name in [row.chosen, *_others(row)])
    if row.chosen == row.default:
        return (row.contender, settings, "it is as it comes", "1")
    gain = units.NOTHING if row.gain is None else units.ratio(row.gain, row.low, row.high)
    return (row.contender, settings, _setting(row.default, row.contender), gain)


def _others(row: Tuned) -> list[str]:
    return [name for name in row.best if name != row.chosen]


def _setting(name: str, contender: str) -> str:
    return name.removeprefix(f"{contender}-")
