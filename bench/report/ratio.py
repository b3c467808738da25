"""A ratio with its interval, as the reports have it."""

import math
from typing import Any

import msgspec

from bench.report import units


class Ratio(msgspec.Struct, frozen=True):
    """A ratio to the reference; no bounds where there was one repeat. `totals` where the cell is uneven."""

    ratio: float
    low: float | None
    high: float | None
    totals: "Ratio | None" = None


def of_row(row: dict[Any, Any]) -> Ratio | None:
    """The ratio in a row of `bench.analysis.ratios.ratios`; None where nothing completed in most rounds."""
    if finite(row["ratio"]) is None:
        return None
    totals = None
    if row["uneven"]:
        totals = Ratio(row["totals_ratio"], finite(row["totals_low"]), finite(row["totals_high"]))
    return Ratio(row["ratio"], finite(row["low"]), finite(row["high"]), totals)


def text(found: Ratio | None) -> str:
    """A ratio with its interval; a dash where nothing was compared."""
    return units.NOTHING if found is None else units.ratio(found.ratio, found.low, found.high)


def finite(value: float | None) -> float | None:
    """`value`; None where it is none that a person could read."""
    return value if value is not None and math.isfinite(value) else None
