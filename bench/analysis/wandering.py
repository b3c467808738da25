"""How the machine's own speed wanders while a run goes on, and what is left of that within a round.

The yardstick is in every block, so its rate over time is the machine's. Another contender's rate over the
yardstick's in the same round had the same machine: what moves there is the two, and chance.
"""

import pandas as pd

from bench.analysis.findings import Findings
from bench.analysis.frames import BLOCK, CELL, LOAD

_TOGETHER = ["experiment", "block", *LOAD]
COLUMNS = ["run", "block", "repeat", "yardstick", "other", "time_s", "machine", "within"]


def wandering(findings: Findings) -> pd.DataFrame:
    """A row for each round of a closed loop that the yardstick was in, in order of time.

    `time_s` is since the run's first block was begun, to within the seconds that its servers take to start.
    `machine`: the yardstick's rate over its median at that load. `within`: the rate of `other`, of the same
    block, over the yardstick's, over the median of that at that load; NaN where there is none.
    """
    parts = [_of_run(findings, str(run), str(yardstick)) for run, yardstick in _yardsticks(findings).items()]
    return pd.concat(parts, ignore_index=True)[COLUMNS] if parts else pd.DataFrame(columns=COLUMNS)


def _yardsticks(findings: Findings) -> dict[str, str]:
    """Of each run the contender that most of its blocks have and that is it, whether it competes or not."""
    names: dict[str, str] = {}
    for run, suite in findings.suites.items():
        own = findings.table[(findings.table["run"] == run) & ~findings.table["wine"].astype(bool)]
        known = [
            one.name for experiment in suite.experiment for one in experiment.contenders if one.is_yardstick
        ]
        joined = list(own.loc[~own["competes"].astype(bool), "contender"])
        if not own["competes"].any():  # under Wine nothing is compared
            continue
        if present := [name for name in [*joined, *known] if (own["contender"] == name).any()]:
            names[run] = max(dict.fromkeys(present), key=list(own["contender"]).count)
    return names


def _of_run(findings: Findings, run: str, yardstick: str) -> pd.DataFrame:
    closed = findings.table[~findings.table["wine"].astype(bool) & (findings.table["offered_per_s"] == 0)]
    slices = findings.slices.merge(closed.loc[closed["run"] == run, CELL], on=CELL)
    others = {
        one.name: _other(slices[slices["experiment"] == one.name], yardstick, one.reference)
        for one in findings.suites[run].experiment
    }
    parts = [
        _at_load(own, yardstick, others[str(experiment)])
        for (experiment, *_), own in slices.groupby(_TOGETHER, sort=False)
        if (own["contender"] == yardstick).any()
    ]
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.concat(parts, ignore_index=True).merge(_starts(findings.cells, run), on=BLOCK)
    table["time_s"] = table["started_s"] + table["before_s"]
    return table.assign(yardstick=yardstick).sort_values("time_s", kind="stable")


def _other(slices: pd.DataFrame, yardstick: str, reference: str) -> str | None:
    """What is put beside the yardstick, the same at all loads: the reference, or what is there most often."""
    counts = slices.loc[slices["contender"] != yardstick, "contender"].value_counts(sort=False)
    if counts.empty:
        return None
    return reference if reference in counts else str(counts.idxmax())


def _at_load(own: pd.DataFrame, yardstick: str, other: str | None) -> pd.DataFrame:
    """The rounds of blocks of the same name and load, with `before_s`: what the block has had before them."""
    rates = own.pivot_table(index=[*BLOCK, "round"], columns="contender", values="rate_per_s")
    rates = rates[rates[yardstick] > 0]
    table = pd.DataFrame({"machine": rates[yardstick], "within": float("nan")})
    if other in rates:
        table["within"] = rates[other] / rates[yardstick]
    spans = own.groupby([*BLOCK, "round"])["span_s"].sum()
    before = spans.groupby(BLOCK).cumsum() - spans
    relative = (table / table.median()).join(before.rename("before_s")).reset_index()
    return relative.assign(other=other or "")


def _starts(cells: pd.DataFrame, run: str) -> pd.DataFrame:
    """When each block was begun, in seconds since the first."""
    own = cells[(cells["run"] == run) & (cells["status"] == "measured")]
    at = pd.to_datetime(own["started_at"], utc=True, format="ISO8601", errors="coerce")
    starts = own[BLOCK].assign(started_s=(at - at.min()).dt.total_seconds())
    return starts.dropna(subset="started_s").drop_duplicates(BLOCK)
