"""C2: epoll and IOCP are both excellent; what lies between them is the operating system."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.analysis.claims.asked import Asked, asked, number
from bench.analysis.claims.verdict import Evidence, Judgement, Verdict, together, within
from bench.analysis.findings import Findings, load_of, rows_of
from bench.analysis.frames import CELL, LOAD
from bench.analysis.intervals import difference
from bench.analysis.marks import WINE
from bench.analysis.ratios import AT_LOAD, against, best, per_repeat

CLAIM = "C2"
STATEMENT = "epoll and IOCP are both excellent: the difference between them is the operating system's."
MARGIN = 1.2
RULE = (
    "Supported if at every connection count `epoll:c` and `iocp:c` take at most 20 % longer than the "
    "best of their own system, and their ratios to `threads:c` of their own system are within 20 % of "
    "each other. Not supported where an interval lies outside. Absolute figures of two systems aren't "
    "compared."
)
COMPLETION_PORT, READINESS, BLOCKING, SELECT = "iocp:c", "epoll:c", "threads:c", "select:c"
OF_SYSTEM = {"linux": READINESS, "windows": COMPLETION_PORT}


class _Figure(NamedTuple):
    """A ratio of medians at one load."""

    evidence: Evidence
    most: float | None  # the margin; None where it is shown beside the verdict


def judge(found: Findings) -> Judgement:
    """Compare each with its own system's best, then the two in relation to blocking threads."""
    measured = asked(found, CLAIM)
    closed = measured.where((measured.table["offered_per_s"] == 0) & (measured.table["system"] != WINE))
    own = {
        system: list(_of_system(closed.where(closed.table["system"] == system), name))
        for system, name in OF_SYSTEM.items()
    }
    between = list(_between(closed))
    figures = [figure for part in own.values() for figure in part]
    evidence = [figure.evidence for figure in figures] + between
    verdicts = [
        within(one.evidence.low, one.evidence.high, 0, one.most)
        for one in figures
        if one.most is not None and one.evidence.decides
    ]
    verdicts += [within(one.low, one.high, 1 / MARGIN, MARGIN) for one in between if one.decides]
    missing = [name for system, name in OF_SYSTEM.items() if not own[system]]
    if missing or not any(one.decides for one in between):
        verdict = Verdict.NOT_MEASURED
        reasons = [_missing(found, name) for name in missing] or ["no count has both without a mark"]
    else:
        verdict = together(verdicts)
        reasons = ["an interval crosses a margin"] if verdict is Verdict.INCONCLUSIVE else []
    return Judgement(
        claim=CLAIM, statement=STATEMENT, rule=RULE, verdict=verdict, evidence=evidence, reasons=reasons
    )


def _missing(found: Findings, name: str) -> str:
    system = {READINESS: "Linux", COMPLETION_PORT: "Windows"}[name]
    under_wine = WINE in set(found.table["system"])
    ranks = "; what ran under Wine ranks nothing" if under_wine and name == COMPLETION_PORT else ""
    runs = f"a run of the same suite on {system} is needed beside it"
    return f"{name} over {BLOCKING} wasn't measured on {system}: {runs}{ranks}"


def _of_system(measured: Asked, name: str) -> Iterator[_Figure]:
    """The system's own over its best, its threads and its select, at every load."""
    competing = measured.table[measured.table["competes"] & (measured.table["note"] == "")]
    if name not in set(measured.table["contender"]):
        return
    ranked = best(measured.cells, measured.slices, competing, level=measured.level)
    tops = ranked.loc[ranked["top"], [*AT_LOAD, "contender"]].rename(columns={"contender": "best"})
    for row in rows_of(ranked[ranked["contender"] == name].merge(tops, on=AT_LOAD)):
        what = f"{name} over the best of its system, {row['best']}"
        yield _Figure(_evidence(measured, row, what, is_top=row["top"]), MARGIN)
    for base in (BLOCKING, SELECT):
        ratios = against(measured.cells, measured.slices, base, level=measured.level)
        fit = _also_fit(measured, ratios[ratios["contender"] == name], base)
        for row in rows_of(fit):
            yield _Figure(_evidence(measured, row, f"{name} over {base}"), None)


def _also_fit(measured: Asked, ratios: pd.DataFrame, base: str) -> pd.DataFrame:
    """`ratios` with `note`, why the two decide nothing."""
    notes = measured.notes
    texts = []
    for row in rows_of(ratios):
        key = tuple(row[name] for name in CELL)
        of_base = tuple(base if name == "contender" else row[name] for name in CELL)
        texts.append(notes.get(key, "") or (f"{base} is {notes[of_base]}" if notes.get(of_base) else ""))
    return ratios.assign(note=pd.Series(texts, index=ratios.index, dtype=object))


def _evidence(measured: Asked, row: dict[Any, Any], what: str, *, is_top: bool = False) -> Evidence:
    note = row.get("note") or measured.notes.get(tuple(row[name] for name in CELL), "")
    return Evidence(
        run=row["run"],
        what=f"{what}, {load_of(row).connections} connections",
        quantity="median response time",
        unit="ratio",
        value=row["ratio"],
        low=1.0 if is_top else number(row["low"]),
        high=1.0 if is_top else number(row["high"]),
        repeats=row["repeats"],
        decides=not note,
        note=note,
    )


def _between(measured: Asked) -> Iterator[Evidence]:
    """Windows' ratio to its threads over Linux's to its own, for each load that both runs have."""
    if measured.cells.empty:
        return
    samples = per_repeat(measured.cells, measured.slices, _bases(measured), "p50_ns")
    samples = samples[np.isfinite(samples["log_ratio"])]
    notes = measured.notes
    for _, group in samples.groupby(LOAD, sort=False, dropna=False):
        of_windows, of_linux = (group[group["contender"] == name] for name in (COMPLETION_PORT, READINESS))
        if of_windows.empty or of_linux.empty:
            continue
        found = difference(of_windows["log_ratio"], of_linux["log_ratio"], measured.level)
        cells = [
            (*(row[key] for key in CELL if key != "contender"), name)
            for part, own in ((of_windows, COMPLETION_PORT), (of_linux, READINESS))
            for row in rows_of(part.head(1))
            for name in (own, BLOCKING)
        ]
        marked = {notes.get(_in_order(cell), "") for cell in cells} - {""}
        row = rows_of(of_windows.head(1))[0]
        yield Evidence(
            run=f"{of_windows['run'].iloc[0]}, {of_linux['run'].iloc[0]}",
            what=(
                f"({COMPLETION_PORT} over {BLOCKING}) over ({READINESS} over {BLOCKING}), "
                f"{load_of(row).connections} connections"
            ),
            quantity="median response time",
            unit="ratio",
            value=number(np.exp(found.mean)),
            low=number(np.exp(found.low)),
            high=number(np.exp(found.high)),
            repeats=min(len(of_windows), len(of_linux)),
            decides=not marked,
            note=", ".join(sorted(marked)),
        )


def _in_order(cell: tuple[Any, ...]) -> tuple[Any, ...]:
    """Values of CELL with the contender last, in CELL's order."""
    place = CELL.index("contender")
    return (*cell[:place], cell[-1], *cell[place:-1])


def _bases(measured: Asked) -> dict[str, str]:
    return dict.fromkeys(measured.cells["experiment"].unique(), BLOCKING)
