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

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from bench.analysis.frames import BLOCK, CELL, LOAD
from bench.analysis.groups import Numbers, count, first_rows, joined, numbers_of, rows_by_group
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

_LOAD, _REPEATS = "load_number", "repeat_number"
_REPEAT = [*CELL, "repeat"]
_COLUMNS = [*CELL, "quantity", "repeats", "ratio", "low", "high"]
_COLUMNS += ["totals_ratio", "totals_low", "totals_high", "uneven"]


def ratios(
    cells: pd.DataFrame,
    slices: pd.DataFrame,
    reference: str | Mapping[str, str],
    level: float = LEVEL,
    quantities: Iterable[str] = tuple(HIGHER_IS_BETTER),
) -> pd.DataFrame:
    """The ratio of each contender to the reference, for each load and quantity, with intervals at `level`.

    `cells` and `slices` are those of `bench.analysis.frames`; `reference` is a contender's name, or one for
    each experiment; `quantities` are those of HIGHER_IS_BETTER, or some of them. `ratio`, `low`, `high`:
    median over rounds, then mean over repeats (p99 and first-echo time: of each repeat's own percentile).
    `totals_*`: of all requests over all time, or of each repeat's own p50. Bounds are NaN where there is one
    repeat. First-echo times are compared where the load opens connections.
    """
    rounds = _Rows(slices, by_round=True)
    parts = []
    for quantity in quantities:
        whole = _Rows(_totals(quantity, cells, rounds))
        totals = _intervals(whole.against(whole.bases(reference), quantity), level)
        if quantity in OF_WHOLE_REPEATS:
            part = totals.assign(totals_ratio=np.nan, totals_low=np.nan, totals_high=np.nan)
        else:
            medians = rounds.against(rounds.bases(reference), quantity)
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
    return _intervals(per_repeat(cells, slices, base, quantity), level)


def between(
    cells: pd.DataFrame, slices: pd.DataFrame, quantity: Compared = "p50_ns", level: float = LEVEL
) -> pd.DataFrame:
    """The ratio of each two that were measured together, once: the one that appears later is the `base`."""
    rows = _source(quantity, cells, slices)
    parts = [
        rows.directly_against(rows.bases(name), quantity, before=place).assign(base=name)
        for place, name in enumerate(rows.contender_names)
    ]
    if not parts:
        return pd.DataFrame(columns=[*CELL, "base", "repeats", "ratio", "low", "high"])
    return _intervals(pd.concat(parts, ignore_index=True), level, keys=[*CELL, "base"])


def per_repeat(
    cells: pd.DataFrame, slices: pd.DataFrame, base: str | Mapping[str, str], quantity: Compared = "p50_ns"
) -> pd.DataFrame:
    """`log_ratio` of each cell to its load's base in each repeat: what the intervals are computed from."""
    rows = _source(quantity, cells, slices)
    return rows.against(rows.bases(base), quantity)


def cpu_ratios(
    cells: pd.DataFrame, slices: pd.DataFrame, reference: str | Mapping[str, str], level: float = LEVEL
) -> pd.DataFrame:
    """The ratio of each contender's CPU time for a request to the reference's, as in `ratios`.

    Where a slice is too short for the system's clock of CPU time (Windows), it is of whole repeats.
    """
    used_s = slices["server_cpu_s"].astype(float)
    if used_s.notna().all():
        requests = slices["requests_total"].where(slices["requests_total"] > 0)
        of_slices = slices.assign(**{SERVER_CPU: used_s / requests}).dropna(subset=SERVER_CPU)
        rows = _Rows(of_slices, by_round=True)
    else:
        rows = _Rows(_measured(cells))
    return _intervals(rows.against(rows.bases(reference), SERVER_CPU), level)


def best(
    cells: pd.DataFrame,
    slices: pd.DataFrame,
    competing: pd.DataFrame,
    quantity: Compared = "p50_ns",
    level: float = LEVEL,
) -> pd.DataFrame:
    """Each competing cell's ratio to the top one at its load; `in_best`: it can't be told from the top.

    `competing` has a row for each cell that takes part; `cells` and `slices` may have more. All intervals of
    a load hold together. With one repeat nothing can be told, so all are `in_best` that completed anything.
    """
    sign = -1 if HIGHER_IS_BETTER[quantity] else 1
    rows = _source(quantity, cells, slices)
    measured = rows.against(rows.most_present(), quantity, numbered=True).merge(competing[CELL], on=CELL)
    scores = measured.groupby([*CELL, _LOAD], sort=False)["log_ratio"].mean().mul(sign).reset_index()
    scores = scores[np.isfinite(scores["log_ratio"])]
    tops = scores.sort_values("log_ratio", kind="stable").drop_duplicates(AT_LOAD)
    ratios_to_top = rows.against(rows.bases_of(tops), quantity).merge(competing[CELL], on=CELL)
    base = tops[[*AT_LOAD, "contender"]].rename(columns={"contender": "base"})
    table = _intervals(ratios_to_top, level, family=AT_LOAD).merge(base, on=AT_LOAD)
    table["top"] = table["contender"] == table["base"]
    worse = table["low"] > 1 if sign > 0 else table["high"] < 1
    has_figure = np.isfinite(table["ratio"]) & (table["ratio"] > 0)
    table["in_best"] = table["top"] | (has_figure & ~worse)
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
    measured = per_repeat(cells, slices, reference, quantity).merge(competing[CELL], on=CELL)
    base = cells[AT_LOAD].drop_duplicates()
    base["contender"] = [_named(reference, experiment) for experiment in base["experiment"]]
    fit = base.merge(competing[CELL], on=[*AT_LOAD, "contender"])
    measured = measured.merge(fit[AT_LOAD], on=AT_LOAD)
    keys = ["run", "experiment", "contender"]
    rows = []
    for key, group in measured.dropna(subset="log_ratio").groupby(keys, sort=False):
        log_ratios = group["log_ratio"].to_numpy(dtype=float)
        by_load = [log_ratios[own] for own in rows_by_group(numbers_of(group, LOAD))]
        in_repeat = group.groupby("repeat", sort=False)["log_ratio"].agg(["mean", "size"])
        is_whole = (in_repeat["size"] == len(by_load)).all()
        with np.errstate(invalid="ignore"):  # one that completed nothing has a ratio of 0, without bounds
            found = t_interval(in_repeat["mean"], level) if is_whole else mean_of_means(by_load, level)
        rows.append((*key, found.repeats, *np.exp(found[:3]), len(by_load)))
    return pd.DataFrame(rows, columns=[*keys, "repeats", "ratio", "low", "high", "loads"])


def drift(slices: pd.DataFrame, level: float = LEVEL) -> pd.DataFrame:
    """How far each contender's rate moves against the mean of its round, from the first round to the last.

    A line is fitted to the log ratio in each repeat; `movement` is the mean over repeats, back as a ratio.
    `drift`: its interval excludes 1, and it is more than 3 %.
    """
    rows = _Rows(slices, by_round=True)
    rates = slices["rate_per_s"].to_numpy(dtype=float)
    logs = pd.Series(np.log(np.where(rates > 0, rates, np.nan)))
    table = pd.DataFrame(
        {
            _REPEATS: rows.repeats,
            "round": slices["round"].to_numpy(dtype=float),
            "log_ratio": logs - logs.groupby(rows.together).transform("mean"),  # needs no reference
        }
    ).dropna(subset="log_ratio")
    rounds = table["round"] - table.groupby(_REPEATS)["round"].transform("mean")
    sums = table.assign(product=rounds * table["log_ratio"], square=rounds**2).groupby(_REPEATS, sort=False)
    sums_of = sums.agg(
        product=("product", "sum"), square=("square", "sum"), first=("round", "min"), last=("round", "max")
    )
    slope = sums_of["product"] / sums_of["square"].where(sums_of["square"] > 0)
    moved = slope * (sums_of["last"] - sums_of["first"])
    result = _intervals(rows.keyed(moved), level).rename(columns={"ratio": "movement"})
    moves = (result["low"] > 1) | (result["high"] < 1)
    result["drift"] = moves & (np.log(result["movement"]).abs() > np.log1p(DRIFT_MIN))
    return result


class _Rows:
    """Rows that are compared: a slice of each contender, or a figure of each one's whole repeat.

    What they are grouped and joined by is worked out here, once for all quantities and references.
    """

    def __init__(self, table: pd.DataFrame, *, by_round: bool = False) -> None:
        self.table = table
        self.loads = numbers_of(table, AT_LOAD)
        in_repeat = joined(self.loads, table["repeat"])
        blocks = joined(in_repeat, table["block"])
        self.repeats = joined(in_repeat, table["contender"])  # of a cell
        self.in_blocks = joined(blocks, table["contender"])
        self.together = joined(blocks, table["round"]) if by_round else blocks
        self.is_split = count(blocks) > count(in_repeat)
        codes, names = pd.factorize(table["contender"])
        self._contenders = np.asarray(codes, dtype=np.int64)
        self.contender_names = [str(name) for name in names]

    def bases(self, reference: str | Mapping[str, str]) -> Numbers:
        """The base of each load, as its place in `contender_names`; -1 where it has none."""
        experiments = self.table["experiment"].iloc[first_rows(self.loads)]
        return self._places([_named(reference, experiment) for experiment in experiments])

    def bases_of(self, tops: pd.DataFrame) -> Numbers:
        """Those that `tops` names in `contender`, for the loads that it numbers."""
        bases: Numbers = np.full(count(self.loads), -1, dtype=np.int64)
        bases[tops[_LOAD].to_numpy(dtype=np.int64)] = self._places(tops["contender"])
        return bases

    def most_present(self) -> Numbers:
        """The contender that was in most blocks of each load: the yardstick where a block had to be split."""
        firsts = first_rows(self.in_blocks)
        present = pd.DataFrame({"load": self.loads[firsts], "contender": self._contenders[firsts]})
        counts = present.groupby(["load", "contender"], sort=False).size().rename("count").reset_index()
        most = counts.sort_values("count", ascending=False, kind="stable").drop_duplicates("load")
        bases: Numbers = np.full(count(self.loads), -1, dtype=np.int64)
        bases[most["load"].to_numpy(dtype=np.int64)] = most["contender"].to_numpy(dtype=np.int64)
        return bases

    def against(self, bases: Numbers, quantity: str, *, numbered: bool = False) -> pd.DataFrame:
        """`log_ratio` of each cell to its load's base in each repeat: the median over what they shared.

        A cell that was in no block with the base is compared with it through the contender that was in
        both's. With `numbered` also the number of its load.
        """
        found = self.directly_against(bases, quantity)
        if self.is_split:
            through = self.directly_against(self.most_present(), quantity)
            of_load = bases[through[_LOAD].to_numpy(dtype=np.int64)]
            is_base = self._places(through["contender"]) == of_load
            shared = [_LOAD, "repeat"]
            of_base = through.loc[is_base, [*shared, "log_ratio"]].rename(columns={"log_ratio": "of_base"})
            indirect = through.merge(of_base, on=shared)
            indirect["log_ratio"] -= indirect.pop("of_base")
            found = pd.concat([found, indirect]).drop_duplicates(_REPEAT)
        return found if numbered else found.drop(columns=_LOAD)

    def directly_against(self, bases: Numbers, quantity: str, *, before: int | None = None) -> pd.DataFrame:
        """Of cells that shared a block with the base alone; with `before` of contenders before that place.

        A slice that completed nothing gives minus infinity, which a median bears and a total shows.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(self.table[quantity].to_numpy(dtype=float))
            is_base = self._contenders == bases[self.loads]
            base_rows: Numbers = np.full(count(self.together), -1, dtype=np.int64)
            base_rows[self.together[is_base]] = np.flatnonzero(is_base)
            of_base = base_rows[self.together]
            has_base = of_base >= 0
            if before is not None:
                has_base &= self._contenders < before
            log_ratios = pd.Series(logs[has_base] - logs[of_base[has_base]])
        return self.keyed(log_ratios.groupby(self.repeats[has_base], sort=False).median())

    def keyed(self, of_repeats: "pd.Series[float]") -> pd.DataFrame:
        """A figure of each of `repeats`, by number, as `log_ratio` with what it is of."""
        rows = first_rows(self.repeats)[of_repeats.index.to_numpy(dtype=np.int64)]
        table = self.table[_REPEAT].iloc[rows].reset_index(drop=True)
        return table.assign(log_ratio=of_repeats.to_numpy(dtype=float), **{_LOAD: self.loads[rows]})

    def _places(self, names: Iterable[str | None]) -> Numbers:
        places: dict[str | None, int] = {name: place for place, name in enumerate(self.contender_names)}
        return np.array([places.get(name, -1) for name in names], dtype=np.int64)


def _named(reference: str | Mapping[str, str], experiment: str) -> str | None:
    return reference if isinstance(reference, str) else reference.get(experiment)


def _source(quantity: str, cells: pd.DataFrame, slices: pd.DataFrame) -> _Rows:
    """The rows that have `quantity`."""
    if quantity == "first_echo_p50_ns":
        return _Rows(_with_first_echo(cells))
    if quantity in OF_WHOLE_REPEATS:
        return _Rows(_measured(cells))
    return _Rows(slices, by_round=True)


def _totals(quantity: str, cells: pd.DataFrame, rounds: _Rows) -> pd.DataFrame:
    """A figure of the whole repeat for each cell."""
    if quantity == "first_echo_p50_ns":
        return _with_first_echo(cells)
    if quantity != "rate_per_s":
        return _measured(cells)
    sums = rounds.table.groupby(rounds.in_blocks, sort=False)[["requests", "duration_s"]].sum()
    whole = rounds.table[[*BLOCK, "contender"]].iloc[first_rows(rounds.in_blocks)].reset_index(drop=True)
    return whole.assign(rate_per_s=(sums["requests"] / sums["duration_s"]).to_numpy(dtype=float))


def _with_first_echo(cells: pd.DataFrame) -> pd.DataFrame:
    opens = (cells["newcomers_per_s"] > 0) | (cells["requests_per_connection"] > 0)
    return cells[opens & cells["first_echo_p50_ns"].notna()]


def _measured(cells: pd.DataFrame) -> pd.DataFrame:
    return cells[cells["status"] == "measured"]


def _intervals(
    per_repeat: pd.DataFrame,
    level: float,
    family: Sequence[str] | None = None,
    keys: Sequence[str] = CELL,
) -> pd.DataFrame:
    """`ratio`, `low` and `high` over repeats."""
    table = over_repeats(per_repeat, keys, "log_ratio", level, family).rename(columns={"mean": "ratio"})
    bounds = ["ratio", "low", "high"]
    table[bounds] = np.exp(table[bounds])
    return table
