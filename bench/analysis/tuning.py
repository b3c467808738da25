"""The settings of an option, the best of them, and what they gain.

Of many settings some are ahead by luck, and the gain of the one that was ahead would be its luck as well. So
the setting is chosen on one half of the repeats, and its gain over the default is estimated on the other.

Source: the winner's curse; sample splitting (Cox, 1975).
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from bench.analysis.frames import CELL, LOAD
from bench.analysis.intervals import LEVEL
from bench.analysis.ratios import AT_LOAD, HIGHER_IS_BETTER, Compared, against, best

GROUP = [*AT_LOAD, "variant_of"]
_COLUMNS = [*GROUP, "default", "chosen", "best", "gain", "low", "high", "repeats"]


def gains(
    cells: pd.DataFrame,
    slices: pd.DataFrame,
    competing: pd.DataFrame,
    quantities: Mapping[tuple[str, str], Compared],
    level: float | Mapping[str, float] = LEVEL,
) -> pd.DataFrame:
    """For each contender that comes in several settings and each load, the best setting and its gain.

    `competing` has a row for each cell that takes part, with `variant_of` and `is_default`; `quantities` is
    what each experiment of each run is judged by. `chosen` was ahead in every other repeat, `best` lists all
    that couldn't be told from it there. `gain`, `low`, `high`: how many times as good as the default it is in
    the other `repeats`; NaN where there are too few. Loads at which the default isn't fit are left out.
    `level` is that of the intervals, of all or of each run's.
    """
    rows = [
        _gain(cells, slices, group, quantities[group["run"].iloc[0], group["experiment"].iloc[0]], level)
        for _, group in competing.dropna(subset="variant_of").groupby(GROUP, sort=False)
        if len(group) > 1 and group["is_default"].any()
    ]
    return pd.DataFrame([row for row in rows if row is not None], columns=_COLUMNS)


def settings(
    cells: pd.DataFrame,
    slices: pd.DataFrame,
    competing: pd.DataFrame,
    quantities: Mapping[tuple[str, str], Compared],
    level: float | Mapping[str, float] = LEVEL,
) -> pd.DataFrame:
    """How many times as good as its default each setting of a contender is, over all repeats.

    Parameters are those of `gains`. `gain`, `low`, `high` are of each cell alone: the gain of the
    best of many holds its luck. The default's is 1; loads at which it wasn't measured are left out.
    """
    parts = []
    for _, group in competing.dropna(subset="variant_of").groupby(GROUP, sort=False):
        first = group.iloc[0]
        defaults = group.loc[group["is_default"], "contender"]
        if len(group) < 2 or defaults.empty:
            continue
        quantity = quantities[first["run"], first["experiment"]]
        own_cells, own_slices = (_at(table, first[AT_LOAD]) for table in (cells, slices))
        own_level = level[first["run"]] if isinstance(level, Mapping) else level
        found = against(own_cells, own_slices, defaults.iloc[0], quantity, own_level)
        part = group[[*CELL, "variant_of"]].merge(found, on=CELL)
        parts.append(_as_gains(part, quantity))
    columns = [*CELL, "variant_of", "gain", "low", "high", "repeats"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _as_gains(part: pd.DataFrame, quantity: Compared) -> pd.DataFrame:
    """Ratios as how many times as good."""
    renamed = part.rename(columns={"ratio": "gain"})
    if HIGHER_IS_BETTER[quantity]:
        return renamed
    return renamed.assign(gain=1 / part["ratio"], low=1 / part["high"], high=1 / part["low"])


def _gain(
    cells: pd.DataFrame,
    slices: pd.DataFrame,
    group: pd.DataFrame,
    quantity: Compared,
    level: float | Mapping[str, float],
) -> tuple[object, ...] | None:
    first = group.iloc[0]
    level = level[first["run"]] if isinstance(level, Mapping) else level
    cells, slices = (_at(table, first[AT_LOAD]) for table in (cells, slices))
    repeats = sorted(slices["repeat"].unique())
    choosing, estimating = repeats[::2], repeats[1::2]
    ranked = best(_of(cells, choosing), _of(slices, choosing), group, quantity, level)
    if ranked.empty:
        return None
    chosen = ranked.loc[ranked["top"], "contender"].iloc[0]
    default = group.loc[group["is_default"], "contender"].iloc[0]
    others = against(_of(cells, estimating), _of(slices, estimating), default, quantity, level)
    found = others[others["contender"] == chosen]
    gain, low, high = (found.iloc[0][["ratio", "low", "high"]]) if len(found) else (float("nan"),) * 3
    if not HIGHER_IS_BETTER[quantity]:
        gain, low, high = 1 / gain, 1 / high, 1 / low
    told = sorted(ranked.loc[ranked["in_best"], "contender"], key=list(group["contender"]).index)
    return (*first[GROUP], default, chosen, told, gain, low, high, len(estimating))


def _at(table: pd.DataFrame, load: pd.Series) -> pd.DataFrame:
    for name in [*LOAD, "run", "experiment"]:  # what varies most first: it leaves less for the others
        table = table[table[name] == load[name]]
    return table


def _of(table: pd.DataFrame, repeats: Sequence[int]) -> pd.DataFrame:
    return table[table["repeat"].isin(repeats)]
