"""How contenders of a block compare, and how sure that is.

The machine's own speed wanders by 10 % and more, for seconds at a time. So two contenders are compared within
the round, where both met the same weather; the median over rounds drops a round in which only one was
disturbed; and repeats, with fresh processes each, are the sample that the interval is computed from. What a
median can't see, stalls that hit a few slices, the ratio of totals shows: it stands beside it, and where the
two disagree by more than their intervals the cell is `uneven`. Contenders that had to be measured in
different blocks are compared through the one that was in both, the yardstick.

Everything is computed on logarithms, so that twice as fast and half as fast weigh the same.

Ancestors: randomized multiple interleaved trials (Abedi and Brecht, ICPE 2017), duet benchmarking (Bulej et
al., ICPE 2020); for the group of best, Hsu's multiple comparisons with the best.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd

from bench.analysis.frames import BLOCK, CELL, LOAD
from bench.analysis.intervals import LEVEL, mean_of_means, over_repeats, t_interval
from bench.plan.suite import Quantity

Compared = Literal["rate_per_s", "p50_ns", "first_echo_p50_ns"]
JUDGED_COLUMNS: dict[Quantity, Compared] = {
    "response_time": "p50_ns",
    "request_rate": "rate_per_s",
    "first_echo_time": "first_echo_p50_ns",
}
HIGHER_IS_BETTER = {"rate_per_s": True, "p50_ns": False, "p99_ns": False, "first_echo_p50_ns": False}
# A slice has too few requests for a 99th percentile, and too few connections are opened in it.
OF_WHOLE_REPEATS = ("p99_ns", "first_echo_p50_ns")
SERVER_CPU = "server_cpu_ns_per_request"
DRIFT_MIN = 0.03  # over a repeat; less is smaller than what most intervals can tell
AT_LOAD = ["run", "experiment", *LOAD]

_ROUND = [*BLOCK, "round"]
_REPEAT = [*CELL, "repeat"]
_COLUMNS = [*CELL, "quantity", "repeats", "ratio", "low", "high"]
_COLUMNS += ["totals_ratio", "totals_low", "totals_high", "uneven"]


def ratios(
    cells: pd.DataFrame, slices: pd.DataFrame, reference: str | Mapping[str, str], level: float = LEVEL
) -> pd.DataFrame:
    """The ratio of each contender to the reference, for each load and quantity, with intervals at `level`.

    `cells` and `slices` are those of `bench.analysis.frames`; `reference` is a contender's name, or one for
    each experiment. `ratio`, `low`, `high`: median over rounds, then mean over repeats (p99 and first-echo
    time: of each repeat's own percentile). `totals_*`: of all requests over all time, or of each repeat's own
    p50. Bounds are NaN where there is one repeat. First-echo times are compared where the load opens
    connections.
    """
    base = _references(cells, reference)
    parts = []
    for quantity in HIGHER_IS_BETTER:
        totals = _intervals(_against(base, _totals(quantity, cells, slices), BLOCK, quantity), level)
        if quantity in OF_WHOLE_REPEATS:
            part = totals.assign(totals_ratio=np.nan, totals_low=np.nan, totals_high=np.nan)
        else:
            medians = _against(base, slices, _ROUND, quantity)
            totals = totals.rename(columns={name: f"totals_{name}" for name in ("ratio", "low", "high")})
            part = _intervals(medians, level).merge(totals.drop(columns="repeats"), on=CELL)
        parts.append(part.assign(quantity=quantity))
    table = pd.concat(parts, ignore_index=True)
    with np.errstate(divide="ignore", invalid="ignore"):  # one that completed nothing has a ratio of 0
        gap = np.abs(np.log(table["ratio"] / table["totals_ratio"]))
        half_widths = np.hypot(
            np.log(table["high"] / table["low"]) / 2, np.log(table["totals_high"] / table["totals_low"]) / 2
        )
    table["uneven"] = gap > half_widths
    return table[_COLUMNS]


def against(
    cells: pd.DataFrame,
    slices: pd.DataFrame,
    base: str,
    quantity: Compared = "p50_ns",
    level: float = LEVEL,
) -> pd.DataFrame:
    """The ratio of each cell to the contender called `base` at its load, as in `ratios`, in one quantity."""
    bases = cells[AT_LOAD].drop_duplicates().assign(base=base)
    return _intervals(_against(bases, *_source(quantity, cells, slices), quantity), level)


def per_repeat(
    cells: pd.DataFrame, slices: pd.DataFrame, base: str | Mapping[str, str], quantity: Compared = "p50_ns"
) -> pd.DataFrame:
    """`log_ratio` of each cell to its load's base in each repeat: what the intervals are computed from."""
    return _against(_references(cells, base), *_source(quantity, cells, slices), quantity)


def cpu_ratios(
    cells: pd.DataFrame, slices: pd.DataFrame, reference: str | Mapping[str, str], level: float = LEVEL
) -> pd.DataFrame:
    """The ratio of each contender's CPU time for a request to the reference's, as in `ratios`.

    Where a slice is too short for the system's clock of CPU time (Windows), it is of whole repeats.
    """
    base = _references(cells, reference)
    used_s = slices["server_cpu_s"].astype(float)
    if used_s.notna().all():
        requests = slices["requests_total"].where(slices["requests_total"] > 0)
        of_slices = slices.assign(**{SERVER_CPU: used_s / requests}).dropna(subset=SERVER_CPU)
        return _intervals(_against(base, of_slices, _ROUND, SERVER_CPU), level)
    return _intervals(_against(base, _totals(SERVER_CPU, cells, slices), BLOCK, SERVER_CPU), level)


def best(
    cells: pd.DataFrame,
    slices: pd.DataFrame,
    competing: pd.DataFrame,
    quantity: Compared = "p50_ns",
    level: float = LEVEL,
) -> pd.DataFrame:
    """Each competing cell's ratio to the top one at its load; `in_best`: it can't be told from the top.

    `competing` has a row for each cell that takes part; `cells` and `slices` may have more. All intervals of
    a load hold together. With one repeat nothing can be told, so all are `in_best`.
    """
    sign = -1 if HIGHER_IS_BETTER[quantity] else 1
    source, together = _source(quantity, cells, slices)
    measured = _against(_most_present(source), source, together, quantity).merge(competing[CELL], on=CELL)
    scores = measured.groupby(CELL, sort=False)["log_ratio"].mean().mul(sign).reset_index()
    tops = scores.sort_values("log_ratio", kind="stable").drop_duplicates(AT_LOAD)
    base = tops[[*AT_LOAD, "contender"]].rename(columns={"contender": "base"})
    ratios_to_top = _against(base, source, together, quantity).merge(competing[CELL], on=CELL)
    table = _intervals(ratios_to_top, level, family=AT_LOAD).merge(base, on=AT_LOAD)
    table["top"] = table["contender"] == table["base"]
    worse = table["low"] > 1 if sign > 0 else table["high"] < 1
    table["in_best"] = table["top"] | ~worse
    return table[[*CELL, "top", "in_best", "repeats", "ratio", "low", "high"]]


def pooled(
    cells: pd.DataFrame,
    slices: pd.DataFrame,
    competing: pd.DataFrame,
    reference: str | Mapping[str, str],
    *,
    quantity: Compared = "p50_ns",
    level: float = LEVEL,
) -> pd.DataFrame:
    """One ratio to the reference for each contender of an experiment, over all loads at once.

    For a contender that is a version of the reference: what a change has cost shows at every load, and the
    loads of a repeat together say it with more certainty than each. Loads at which either isn't among
    `competing` are left out; `loads` says how many there are. In a repeat the mean over the loads, then as in
    `ratios`; where some loads have more repeats than others, the mean of the loads' own means.
    """
    base = _references(cells, reference)
    table, together = _source(quantity, cells, slices)
    measured = _against(base, table, together, quantity).merge(competing[CELL], on=CELL)
    fit = base.rename(columns={"base": "contender"}).merge(competing[CELL], on=[*AT_LOAD, "contender"])
    measured = measured.merge(fit[AT_LOAD], on=AT_LOAD)
    keys = ["run", "experiment", "contender"]
    rows = []
    for key, group in measured.dropna(subset="log_ratio").groupby(keys, sort=False):
        by_load = [own["log_ratio"] for _, own in group.groupby(LOAD, sort=False)]
        in_repeat = group.groupby("repeat", sort=False)["log_ratio"].agg(["mean", "size"])
        is_whole = (in_repeat["size"] == len(by_load)).all()
        found = t_interval(in_repeat["mean"], level) if is_whole else mean_of_means(by_load, level)
        rows.append((*key, found.repeats, *np.exp(found[:3]), len(by_load)))
    return pd.DataFrame(rows, columns=[*keys, "repeats", "ratio", "low", "high", "loads"])


def drift(slices: pd.DataFrame, level: float = LEVEL) -> pd.DataFrame:
    """How far each contender's rate moves against the mean of its round, from the first round to the last.

    A line is fitted to the log ratio in each repeat; `movement` is the mean over repeats, back as a ratio.
    `drift`: its interval excludes 1, and it is more than 3 %.
    """
    table = _centred(slices).dropna(subset="log_ratio")
    by_repeat = table.groupby(_REPEAT, sort=False)
    rounds = table["round"] - by_repeat["round"].transform("mean")
    sums = table.assign(product=rounds * table["log_ratio"], square=rounds**2).groupby(_REPEAT, sort=False)
    sums_of = sums.agg(
        product=("product", "sum"), square=("square", "sum"), first=("round", "min"), last=("round", "max")
    )
    slope = sums_of["product"] / sums_of["square"].where(sums_of["square"] > 0)
    moved = (slope * (sums_of["last"] - sums_of["first"])).rename("log_ratio").reset_index()
    result = _intervals(moved, level).rename(columns={"ratio": "movement"})
    moves = (result["low"] > 1) | (result["high"] < 1)
    result["drift"] = moves & (np.log(result["movement"]).abs() > np.log1p(DRIFT_MIN))
    return result


def _references(cells: pd.DataFrame, reference: str | Mapping[str, str]) -> pd.DataFrame:
    """The `base` of each load."""
    base = cells[AT_LOAD].drop_duplicates()
    names = {
        name: reference if isinstance(reference, str) else reference[name] for name in base["experiment"]
    }
    return base.assign(base=base["experiment"].map(names))


def _source(quantity: str, cells: pd.DataFrame, slices: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The table that has `quantity`, and the columns in which two rows that are compared agree."""
    if quantity in OF_WHOLE_REPEATS:
        return _totals(quantity, cells, slices), BLOCK
    return slices, _ROUND


def _totals(quantity: str, cells: pd.DataFrame, slices: pd.DataFrame) -> pd.DataFrame:
    """A figure of the whole repeat for each cell."""
    if quantity == "first_echo_p50_ns":
        opens = (cells["newcomers_per_s"] > 0) | (cells["requests_per_connection"] > 0)
        return cells[opens & cells[quantity].notna()]
    if quantity != "rate_per_s":
        return cells[cells["status"] == "measured"]
    sums = slices.groupby([*BLOCK, "contender"], sort=False)[["requests", "duration_s"]].sum().reset_index()
    return sums.assign(rate_per_s=sums["requests"] / sums["duration_s"])


def _against(base: pd.DataFrame, table: pd.DataFrame, together: list[str], quantity: str) -> pd.DataFrame:
    """`log_ratio` of each cell to its load's base in each repeat: the median over what they shared.

    A cell that was in no block with the base is compared with it through the contender that was in both's.
    """
    direct = _medians(_log_ratios(base, table, together, quantity))
    blocks = table[BLOCK].drop_duplicates()
    if len(blocks) == len(blocks.drop(columns="block").drop_duplicates()):
        return direct
    through = _medians(_log_ratios(_most_present(table), table, together, quantity)).merge(base, on=AT_LOAD)
    shared = [*AT_LOAD, "repeat"]
    of_base = through.loc[through["contender"] == through["base"], [*shared, "log_ratio"]]
    indirect = through.merge(of_base.rename(columns={"log_ratio": "of_base"}), on=shared)
    indirect["log_ratio"] -= indirect["of_base"]
    return pd.concat([direct, indirect[[*_REPEAT, "log_ratio"]]]).drop_duplicates(_REPEAT)


def _most_present(table: pd.DataFrame) -> pd.DataFrame:
    """The contender that was in most blocks of each load: the yardstick where a block had to be split."""
    present = table[[*BLOCK, "contender"]].drop_duplicates().groupby([*AT_LOAD, "contender"], sort=False)
    counts = present.size().rename("count").reset_index()
    most = counts.sort_values("count", ascending=False, kind="stable").drop_duplicates(AT_LOAD)
    return most.rename(columns={"contender": "base"}).drop(columns="count")


def _log_ratios(base: pd.DataFrame, table: pd.DataFrame, together: list[str], quantity: str) -> pd.DataFrame:
    """`log_ratio` of every row to the row of its load's base that was measured `together` with it.

    A slice that completed nothing gives minus infinity, which a median bears and a total shows.
    """
    own = table[[*together, "contender", quantity]].merge(base, on=AT_LOAD)
    of_base = own.loc[own["contender"] == own["base"], [*together, quantity]]
    paired = own.merge(of_base.rename(columns={quantity: "of_base"}), on=together)
    with np.errstate(divide="ignore", invalid="ignore"):
        return paired.assign(log_ratio=np.log(paired[quantity]) - np.log(paired["of_base"]))


def _centred(slices: pd.DataFrame) -> pd.DataFrame:
    """`log_ratio` of every slice's rate to the geometric mean of its round: needs no reference."""
    logs = np.log(slices["rate_per_s"].where(slices["rate_per_s"] > 0))
    return slices.assign(log_ratio=logs - logs.groupby([slices[key] for key in _ROUND]).transform("mean"))


def _medians(log_ratios: pd.DataFrame) -> pd.DataFrame:
    return log_ratios.groupby(_REPEAT, sort=False)["log_ratio"].median().reset_index()


def _intervals(per_repeat: pd.DataFrame, level: float, family: list[str] | None = None) -> pd.DataFrame:
    """`ratio`, `low` and `high` over repeats."""
    table = over_repeats(per_repeat, CELL, "log_ratio", level, family).rename(columns={"mean": "ratio"})
    bounds = ["ratio", "low", "high"]
    table[bounds] = np.exp(table[bounds])
    return table
