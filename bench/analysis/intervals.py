"""Student's t intervals of a mean: what a handful of repeats says about a figure, and how sure it is.

The quantiles come from scipy.special; importing scipy.stats for them would take longer than most reports.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

LEVEL = 0.95


class Interval(NamedTuple):
    """A mean and the bounds that hold it at the level asked for; NaN where one value tells nothing."""

    mean: float
    low: float
    high: float
    repeats: int


def t_interval(values: ArrayLike, level: float = LEVEL) -> Interval:
    """The mean of independent `values` and its two-sided interval."""
    sample = np.asarray(values, dtype=float)
    mean = float(sample.mean()) if sample.size else np.nan
    deviation = float(sample.std(ddof=1)) if sample.size > 1 else np.nan
    half_width = float(half_widths(deviation, sample.size, level))
    return Interval(mean, mean - half_width, mean + half_width, sample.size)


def half_widths(deviation: ArrayLike, count: ArrayLike, level: ArrayLike = LEVEL) -> NDArray[np.float64]:
    """Half of the interval's width, from the standard deviation of `count` values; NaN below two values."""
    counts = np.asarray(count, dtype=float)
    freedom = np.where(counts > 1, counts - 1, np.nan)
    quantile = stdtrit(freedom, 0.5 + np.asarray(level) / 2)
    return np.asarray(quantile * np.asarray(deviation, dtype=float) / np.sqrt(freedom + 1), dtype=float)


def over_repeats(
    table: pd.DataFrame,
    keys: Sequence[str],
    column: str,
    level: float = LEVEL,
    family: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The mean of `column` in each group of `keys`, whose rows are repeats: keys, repeats, mean, low, high.

    With `family`, groups that share those keys are all compared with one of them, and their intervals hold
    together (Bonferroni).
    """
    groups = table.groupby(list(keys), sort=False)[column]
    result = groups.agg(repeats="count", mean="mean", deviation="std").reset_index()
    comparisons = (
        result.groupby(list(family))["mean"].transform("size") - 1 if family else pd.Series(1, result.index)
    )
    half_width = half_widths(
        result["deviation"], result["repeats"], 1 - (1 - level) / comparisons.clip(lower=1)
    )
    result["low"], result["high"] = result["mean"] - half_width, result["mean"] + half_width
    return result.drop(columns="deviation")
