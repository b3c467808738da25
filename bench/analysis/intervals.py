"""Student's t intervals of a mean: what a handful of repeats says about a figure, and how sure it is.

The quantiles come from scipy.special; importing scipy.stats for them would take longer than most reports.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from bench.analysis.groups import first_rows, numbers_of

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


def mean_of_means(samples: Sequence[ArrayLike], level: float = LEVEL) -> Interval:
    """The mean of the means of independent samples of different sizes, and Welch's interval of it."""
    means, variances, counts = _moments(samples)
    error, freedom = welch(variances, counts)
    half_width = float(stdtrit(freedom, 0.5 + level / 2) * error) / len(means)
    mean = sum(means) / len(means)
    return Interval(mean, mean - half_width, mean + half_width, min(counts))


def difference(one: ArrayLike, other: ArrayLike, level: float = LEVEL) -> Interval:
    """The mean of `one` less that of `other`, which are independent, and Welch's interval of it."""
    means, variances, counts = _moments((one, other))
    error, freedom = welch(variances, counts)
    half_width = float(stdtrit(freedom, 0.5 + level / 2) * error)
    mean = means[0] - means[1]
    return Interval(mean, mean - half_width, mean + half_width, min(counts))


def welch(
    variances: Sequence[ArrayLike], counts: Sequence[ArrayLike]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standard error and degrees of freedom of a sum or difference of means; NaN where one has one value.

    Source: Welch (1947).
    """
    parts = [
        np.asarray(variance, dtype=float) / np.asarray(count, dtype=float)
        for variance, count in zip(variances, counts, strict=True)
    ]
    error = np.sqrt(sum(parts))
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = error**4 / sum(
            part**2 / (np.asarray(count, dtype=float) - 1) for part, count in zip(parts, counts, strict=True)
        )
    return error, np.asarray(freedom, dtype=float)


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
    present = table.dropna(subset=list(keys))
    numbers = numbers_of(present, keys)
    figures = (
        present[column]
        .groupby(numbers, sort=False)
        .agg(repeats="count", mean="mean", deviation="std")
        .reset_index(drop=True)
    )
    result = present[list(keys)].iloc[first_rows(numbers)].reset_index(drop=True).join(figures)
    comparisons = (
        result["mean"].groupby(numbers_of(result, family)).transform("size") - 1
        if family
        else pd.Series(1, result.index)
    )
    half_width = half_widths(
        result["deviation"], result["repeats"], 1 - (1 - level) / comparisons.clip(lower=1)
    )
    result["low"], result["high"] = result["mean"] - half_width, result["mean"] + half_width
    return result.drop(columns="deviation")


def _moments(samples: Sequence[ArrayLike]) -> tuple[list[float], list[float], list[int]]:
    """Mean, variance and size of each; NaN where there are too few values."""
    arrays = [np.asarray(values, dtype=float) for values in samples]
    means = [float(sample.mean()) if sample.size else np.nan for sample in arrays]
    variances = [float(sample.var(ddof=1)) if sample.size > 1 else np.nan for sample in arrays]
    return means, variances, [sample.size for sample in arrays]
