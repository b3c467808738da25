"""How contenders have changed from one run to another, through the yardstick that both have.

Two runs meet different weather, so absolute figures can't be compared. In each run a contender is compared
with the yardstick within the round; what that ratio has changed by is the contender's change, as far as the
yardstick stayed the same. Repeats are the sample of either run: Welch's t interval of the difference of the
mean logarithms.

The yardstick makes up for a machine that is slower or faster as a whole. It can't where another process took
CPUs: how much of that a contender feels depends on whether its server or the generator was the busier one,
and on how many threads it has that ask for a CPU. Then a contender may have felt nothing of what the
yardstick felt, or twice as much (in logarithms), so intervals are wider by that on both sides: by the
yardstick's own change and the half-width of its interval.

Of many changes some look like one by chance, so `q` says at which rate of false discoveries each is among
those found.

Source: Welch (1947); Benjamini and Hochberg (1995).
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from bench.analysis.frames import CELL, LOAD, LOAD_DTYPES
from bench.analysis.intervals import LEVEL, half_widths, welch
from bench.analysis.ratios import Compared, per_repeat

KEY = ["experiment", "contender", *LOAD]
_COLUMNS = [*KEY, "quantity", "repeats_before", "repeats_after", "ratio", "low", "high"]
_COLUMNS += ["allowance", "p", "q"]
_FIGURES = ["repeats", "mean", "variance"]
_NOTHING = pd.DataFrame(columns=[*KEY, *_FIGURES]).astype({**LOAD_DTYPES, **dict.fromkeys(_FIGURES, float)})
_UNDISTURBED = pd.DataFrame(columns=["experiment", *LOAD]).astype(LOAD_DTYPES)


class Measured(NamedTuple):
    """A run to compare: its tables, the cells of it that may be, and its yardstick in each experiment."""

    cells: pd.DataFrame
    slices: pd.DataFrame
    fit: pd.DataFrame  # CELL of each cell without a disqualifying mark, the yardstick's too
    yardsticks: Mapping[str, str]
    level: float = LEVEL  # of its intervals: higher where repeats were added until it was precise
    # Experiment and LOAD of what other processes took CPUs from, and takes part all the same.
    disturbed: pd.DataFrame = _UNDISTURBED


def changes(before: Measured, after: Measured, quantities: Mapping[str, Compared]) -> pd.DataFrame:
    """The change of each contender under each load that both runs have: `after` over `before`.

    `quantities` is what an experiment's contenders are judged by. `ratio`, `low`, `high` are of ratios to the
    yardstick; `allowance` is the factor by which bounds are wider where CPUs were taken, 1 elsewhere; bounds,
    `p` and `q` are NaN where a run has one repeat. The yardstick itself isn't listed.
    """
    parts = [_change(before, after, experiment, quantity) for experiment, quantity in quantities.items()]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=_COLUMNS[:-1])
    table["q"] = discovery_rates(table["p"].to_numpy(dtype=float))
    return table[_COLUMNS]


def discovery_rates(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each of a family of p-values the least rate of false discoveries at which it is one.

    NaN stays NaN and isn't counted. Source: Benjamini and Hochberg (1995).
    """
    q = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    scaled = p[order] * order.size / np.arange(1, order.size + 1)
    q[order] = np.minimum(1, np.minimum.accumulate(scaled[::-1])[::-1])
    return q


def _change(before: Measured, after: Measured, experiment: str, quantity: Compared) -> pd.DataFrame:
    one, other = (_summed_up(run, experiment, quantity) for run in (before, after))
    both = one.merge(other, on=KEY, suffixes=("_before", "_after"))
    allowance = _allowances(before, after, experiment, quantity, both)
    change, error, freedom = _difference(both)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stdtr(freedom, -np.maximum(np.abs(change) - allowance, 0) / error)
    half_width = stdtrit(freedom, 0.5 + LEVEL / 2) * error + allowance
    return both.assign(
        quantity=quantity,
        ratio=np.exp(change),
        low=np.exp(change - half_width),
        high=np.exp(change + half_width),
        allowance=np.exp(allowance),
        p=p,
    )[_COLUMNS[:-1]]


def _allowances(
    before: Measured, after: Measured, experiment: str, quantity: Compared, changes: pd.DataFrame
) -> NDArray[np.float64]:
    """For each of `changes` how much more, or less, its contender may have felt than the yardstick did."""
    at = ["experiment", *LOAD]
    disturbed = pd.concat([before.disturbed, after.disturbed]).drop_duplicates(at)[at]
    felt = pd.DataFrame(columns=[*at, "felt"]).astype({**LOAD_DTYPES, "felt": float})
    if not disturbed.empty:
        one, other = (_own_figures(run, experiment, quantity) for run in (before, after))
        both = one.merge(other, on=at, suffixes=("_before", "_after")).merge(disturbed, on=at)
        change, error, freedom = _difference(both)
        felt = both[at].assign(felt=np.abs(change) + stdtrit(freedom, 0.5 + LEVEL / 2) * error)
    joined = changes[at].merge(felt, on=at, how="left")
    return joined["felt"].fillna(0.0).to_numpy(dtype=float)


def _difference(both: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Of the means after and before, its standard error, and the degrees of freedom of that."""
    whens = ("before", "after")
    error, freedom = welch(
        [both[f"variance_{when}"] for when in whens], [both[f"repeats_{when}"] for when in whens]
    )
    change = (both["mean_after"] - both["mean_before"]).to_numpy(dtype=float)
    return change, error, freedom


def _own_figures(run: Measured, experiment: str, quantity: Compared) -> pd.DataFrame:
    """Mean and variance over repeats of the yardstick's own figure, as a logarithm, for each load."""
    cells = run.cells[run.cells["experiment"] == experiment]
    own = cells[(cells["contender"] == run.yardsticks.get(experiment)) & (cells[quantity] > 0)]
    logs = np.log(own[quantity].astype(float))
    grouped = own.assign(log=logs).groupby(["experiment", *LOAD], sort=False)["log"]
    return grouped.agg(repeats="count", mean="mean", variance="var").reset_index()


def _summed_up(run: Measured, experiment: str, quantity: Compared) -> pd.DataFrame:
    """Mean and variance over repeats of each fit cell's log ratio to the yardstick; without the yardstick.

    Where the run's intervals are at a higher level, the variance is one that makes such an interval at LEVEL.
    """
    yardstick = run.yardsticks.get(experiment)
    cells, slices = (table[table["experiment"] == experiment] for table in (run.cells, run.slices))
    if yardstick is None or cells.empty:
        return _NOTHING
    measured = per_repeat(cells, slices, yardstick, quantity).merge(run.fit[CELL], on=CELL)
    loads = run.fit.loc[run.fit["contender"] == yardstick, ["run", "experiment", *LOAD]]
    measured = measured.merge(loads, on=["run", "experiment", *LOAD])
    measured = measured[measured["contender"] != yardstick]
    grouped = measured[np.isfinite(measured["log_ratio"])].groupby(KEY, sort=False)["log_ratio"]
    summed_up: pd.DataFrame = grouped.agg(repeats="count", mean="mean", variance="var").reset_index()
    asked, usual = (half_widths(1, summed_up["repeats"], level) for level in (run.level, LEVEL))
    return summed_up.assign(variance=summed_up["variance"] * (asked / usual) ** 2)
