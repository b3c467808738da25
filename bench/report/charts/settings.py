"""What each setting of an option gains over the default, for contenders that come in several."""

import pandas as pd
from matplotlib.figure import Figure

from bench.analysis.findings import load_of, rows_of
from bench.analysis.frames import CELL
from bench.analysis.tuning import GROUP
from bench.report.charts import rows
from bench.report.charts.rows import Band, Panel, Point, Row
from bench.report.charts.style import styles
from bench.report.judging import Judging
from bench.report.ratio import Ratio, finite

NAME, TITLE = "settings", "What each setting gains over the default"
READ = (
    "How many times as good as the default of the same contender a setting is; right of 1 is better. Lines "
    "are 95 % intervals over all repeats. Of many settings some are ahead by luck: what the best gains is "
    "estimated apart, in the table."
)


def applies(table: pd.DataFrame) -> bool:
    """Where a contender comes in several settings, one of which is its default."""
    settings = table[table["variant_of"].notna()].groupby(GROUP, sort=False)
    return any(len(group) > 1 and bool(group["is_default"].any()) for _, group in settings)


def draw(found: pd.DataFrame, table: pd.DataFrame, labels: dict[str, str], judging: Judging) -> Figure:
    """The chart of one experiment: `found` is `bench.analysis.tuning.settings` of it."""
    bands = [
        _band(own, labels[str(run)] if len(labels) > 1 else "", judging)
        for run, own in found.merge(table[[*CELL, "disqualified"]], on=CELL).groupby("run", sort=False)
    ]
    codes = sorted({code for codes in table["disqualified"] for code in codes})
    return rows.figure(bands, styles(table), codes)


def _band(found: pd.DataFrame, label: str, judging: Judging) -> Band:
    """A run's settings as its suite has them, and a panel for each load."""
    names = found[["contender", "variant_of"]].drop_duplicates().itertuples(index=False, name=None)
    settings = {name: Row(name, of, name.removeprefix(f"{of}-")) for name, of in names}
    groups = list(dict.fromkeys(row.name for row in settings.values()))
    order = sorted(settings, key=lambda name: groups.index(settings[name].name))
    panels = [
        Panel(
            title,
            [
                Point(
                    order.index(row["contender"]),
                    Ratio(gain, finite(row["low"]), finite(row["high"])),
                    bool(row["disqualified"]),
                )
                for row in rows_of(found)
                if load_of(row) == load and (gain := finite(row["gain"]))
            ],
        )
        for load, title in rows.titles([load_of(row) for row in rows_of(found)], label).items()
    ]
    axis_name = f"times as good as the default, by {judging.quantity}: more is better"
    return Band([settings[name] for name in order], panels, axis_name)
