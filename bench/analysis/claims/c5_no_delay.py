"""C5: that a socket doesn't block adds no delay of its own."""

from collections.abc import Iterator

import pandas as pd

from bench.analysis.claims.asked import Asked, asked, number
from bench.analysis.claims.verdict import Evidence, Judgement, Verdict, together, within
from bench.analysis.findings import Findings, load_of, rows_of
from bench.analysis.frames import BLOCK, CELL
from bench.analysis.intervals import t_interval

CLAIM = "C5"
STATEMENT = "Non-blocking I/O adds no delay of its own."
MARGIN_NS = 1000
RULE = (
    "One connection, servers in C: the median response time of `epoll:c` (Windows: `iocp:c`) less that "
    "of `threads:c`, within the round. Supported if the 95 % interval lies within 1 µs of 0, not "
    "supported if it lies outside. A generator that sleeps between two requests is woken by the system, "
    "which takes longer than either: only one that spins decides."
)
BLOCKING, NON_BLOCKING = "threads:c", ("epoll:c", "iocp:c")


def judge(found: Findings) -> Judgement:
    """Compare the medians at one connection, and beside that the CPU time for a request."""
    measured = asked(found, CLAIM)
    alone = measured.where((measured.table["connections"] == 1) & (measured.table["idle"] == 0))
    evidence = list(_evidence(alone))
    verdicts = [
        within(one.low, one.high, -MARGIN_NS, MARGIN_NS)
        for one in evidence
        if one.decides and one.quantity == "median response time"
    ]
    verdict = together(verdicts)
    reasons = []
    if verdict is Verdict.NOT_MEASURED:
        pair = " and ".join([NON_BLOCKING[0], BLOCKING])
        fact = (
            "all that was measured decides nothing" if evidence else f"{pair} with one connection are needed"
        )
        reasons = [f"{fact}: `iocpbench run chapter` measures it"]
    elif verdict is Verdict.INCONCLUSIVE:
        reasons = ["an interval crosses the margin of 1 µs: more --repeats"]
    return Judgement(
        claim=CLAIM, statement=STATEMENT, rule=RULE, verdict=verdict, evidence=evidence, reasons=reasons
    )


def _evidence(measured: Asked) -> Iterator[Evidence]:
    pairs = [
        ("median response time", _within_rounds(measured.slices, "p50_ns")),
        ("server CPU per request", _of_repeats(measured.cells, "server_cpu_ns_per_request")),
    ]
    notes = measured.notes
    for quantity, differences in pairs:
        for key, group in differences.groupby(CELL, sort=False, dropna=False):
            row = rows_of(group.head(1))[0]
            load = load_of(row)
            interval = t_interval(group["difference"], measured.level)
            blocking = tuple(BLOCKING if name == "contender" else row[name] for name in CELL)
            note = notes.get(key, "") or notes.get(blocking, "")
            yield Evidence(
                run=row["run"],
                what=f"{row['contender']} less {BLOCKING}, a generator that {load.wait}s",
                quantity=quantity,
                unit="ns",
                value=number(interval.mean),
                low=number(interval.low),
                high=number(interval.high),
                repeats=interval.repeats,
                decides=not note and quantity == "median response time",
                note=note or ("" if quantity == "median response time" else "shown beside the verdict"),
            )


def _within_rounds(slices: pd.DataFrame, column: str) -> pd.DataFrame:
    """CELL, repeat, `difference`: the median over rounds of what lies between the two in the same round."""
    paired = _paired(slices, [*BLOCK, "round"], column)
    medians = paired.groupby([*CELL, "repeat"], sort=False)["difference"].median()
    return medians.dropna().reset_index()


def _of_repeats(cells: pd.DataFrame, column: str) -> pd.DataFrame:
    return _paired(cells, BLOCK, column).dropna(subset="difference")


def _paired(table: pd.DataFrame, together: list[str], column: str) -> pd.DataFrame:
    own = table[table["contender"].isin(NON_BLOCKING)]
    of_blocking = table.loc[table["contender"] == BLOCKING, [*together, column]]
    paired = own.merge(of_blocking, on=together, suffixes=("", "_blocking"))
    return paired.assign(difference=paired[column] - paired[f"{column}_blocking"])
