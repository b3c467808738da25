"""How first-echo time grows with the pause between two looks for new clients: the figure behind C3 and C4."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.analysis.claims.asked import Asked, number, options, slopes
from bench.analysis.claims.verdict import Evidence
from bench.analysis.findings import Findings, rows_of
from bench.analysis.frames import CELL

SETTING = "accept_poll_ms"
MARGIN_NS_PER_MS = 50_000  # a twentieth of the pause: one that is waited out takes at least half of it
DEFAULT_ACCEPT = {"overlapped": "alternating", "iocp": "thread"}


class Slope(NamedTuple):
    """Of one model and one way of accepting."""

    model: str
    accept: str
    is_idle: bool  # a client comes alone; otherwise others are served meanwhile
    evidence: Evidence


def accept_slopes(found: Findings, measured: Asked) -> list[Slope]:
    """The slope of the median first-echo time over `accept_poll_ms`, for each model and way of accepting."""
    rows = []
    options_of = {key: given for key, given in options(found).items() if SETTING in given}
    owners = measured.cells[["run", "experiment", "contender"]].itertuples(index=False, name=None)
    has_setting = np.array([owner in options_of for owner in owners], dtype=bool)
    about = [*CELL, "repeat", "model", "implementation", "first_echo_p50_ns"]
    notes = measured.notes
    for row in rows_of(measured.cells.loc[has_setting, about]):
        given = options_of[row["run"], row["experiment"], row["contender"]]
        if row["model"] in DEFAULT_ACCEPT:
            accept = given.get("accept") or DEFAULT_ACCEPT[row["model"]]
            kept = {name: row[name] for name in ("run", "experiment", "repeat", "model", "implementation")}
            kept["first_echo_p50_ns"] = row["first_echo_p50_ns"]
            cell = {"accept": accept, SETTING: given[SETTING], "is_idle": row["newcomers_per_s"] == 0}
            rows.append(kept | cell | {"note": notes.get(_key(row), "")})
    if not rows:
        return []
    keys = ["run", "experiment", "model", "implementation", "accept", "is_idle"]
    table = pd.DataFrame(rows)
    marked = table[table["note"] != ""].drop_duplicates(keys).set_index(keys)["note"].to_dict()
    by_setting = slopes(table, SETTING, "first_echo_p50_ns", keys, measured.level)
    return [_slope(row, marked) for row in rows_of(by_setting)]


def _slope(row: dict[str, object], marked: dict[object, str]) -> Slope:
    keys = ("run", "experiment", "model", "implementation", "accept", "is_idle")
    note = marked.get(tuple(row[key] for key in keys), "")
    is_idle = bool(row["is_idle"])
    where = "a client alone" if is_idle else "while others are served"
    by = "in a thread of its own" if row["accept"] == "thread" else "alternating with a pause"
    evidence = Evidence(
        run=str(row["run"]),
        what=f"{_name(row)}, accepting {by}, {where}",
        quantity=f"median first-echo time over the pause, {row['points']} settings",
        unit="ns_per_ms",
        value=number(row["mean"]),
        low=number(row["low"]),
        high=number(row["high"]),
        repeats=int(str(row["repeats"])),
        decides=not note and is_idle,
        note=note or ("" if is_idle else "shown beside the verdict"),
    )
    return Slope(str(row["model"]), str(row["accept"]), is_idle, evidence)


def _name(row: dict[str, object]) -> str:
    return f"{row['model']}:c" if row["implementation"] == "c" else str(row["model"])


def _key(row: dict[str, object]) -> tuple[object, ...]:
    return tuple(row[name] for name in CELL)
