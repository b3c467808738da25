"""C1: one figure isn't enough; the fastest to answer needn't be the one that carries most."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import msgspec
import pandas as pd

from bench.analysis.capacity import Capacity
from bench.analysis.claims.asked import UNDER_WINE, Asked, asked, number
from bench.analysis.claims.verdict import Evidence, Judgement, Verdict
from bench.analysis.findings import Findings, load_of, rows_of
from bench.analysis.frames import CELL, LOAD
from bench.analysis.ratios import between

CLAIM = "C1"
STATEMENT = "A server is judged by its response time and by how many it serves at once: one figure misleads."
RULE = (
    "Supported if the two rankings differ: of some pair one answers faster at some connection count, "
    "and the other keeps p99 under the limit with more connections. Both must be told: the 95 % "
    "interval of the ratio of medians excludes 1, counting every pair and count, and the two searches' "
    "brackets don't overlap."
)


class _Pair(msgspec.Struct, frozen=True):
    """Two contenders of a run, and how they compare at one load: below 1 `one` answers faster."""

    one: str
    other: str
    run: str
    connections: int
    ratio: float
    low: float | None
    high: float | None
    repeats: int

    @property
    def faster(self) -> str | None:
        """The one that answers faster; None where that can't be told."""
        if self.low is None or self.high is None or self.low <= 1 <= self.high:
            return None
        return self.one if self.high < 1 else self.other


def judge(found: Findings) -> Judgement:
    """Compare the ranking by response time with that by connections carried."""
    measured = asked(found, CLAIM)
    carried = [
        one
        for one in found.capacities
        if one.search.maximise == "connections"
        and CLAIM in _claims(found, one)
        and (one.found.passes is not None or one.found.fails is not None)
    ]
    evidence = [_carried(one) for one in carried]
    closed = measured.where(measured.table["offered_per_s"] == 0)
    native = [one for one in carried if not one.wine]
    pairs = list(_pairs(closed.where(closed.table["note"] == ""), native))
    told = [pair for pair in pairs if pair.faster is not None and _more(pair, native) is not None]
    differing = [pair for pair in told if pair.faster != _more(pair, native)]
    evidence += [_evidence(pair) for pair in _each_once(differing or told)]
    if not pairs:
        verdict, reasons = Verdict.NOT_MEASURED, [_missing(closed, native, carried)]
    elif differing:
        verdict, reasons = Verdict.SUPPORTED, []
    elif told:
        verdict = Verdict.NOT_SUPPORTED
        reasons = ["wherever both can be told, the one that answers faster carries more as well"]
    else:
        verdict = Verdict.INCONCLUSIVE
        reasons = ["no pair differs in both for sure: more repeats, or a lower limit for the search"]
    return Judgement(
        claim=CLAIM, statement=STATEMENT, rule=RULE, verdict=verdict, evidence=evidence, reasons=reasons
    )


def _claims(found: Findings, capacity: Capacity) -> Sequence[str]:
    own = (one for one in found.suites[capacity.run].experiment if one.name == capacity.experiment)
    return next(own).claims


def _missing(closed: Asked, native: Sequence[Capacity], carried: Sequence[Capacity]) -> str:
    if carried and not native:
        return "connections were searched for under Wine alone, which ranks nothing"
    if not carried:
        return "how many connections each carries wasn't searched for: `iocpbench run chapter` does"
    if closed.table.empty:
        return "response time over connections wasn't measured: `iocpbench run chapter` does"
    return "no two contenders have both figures without a mark that keeps them out"


def _pairs(measured: Asked, carried: Sequence[Capacity]) -> Iterator[_Pair]:
    """Every two contenders of a run that have both figures, at every load; intervals hold together."""
    searched = {(one.run, one.contender) for one in carried}
    wanted: list[tuple[dict[Any, Any], dict[Any, Any]]] = []
    for _, group in measured.table.groupby(["run", "experiment", *LOAD], sort=False):
        rows = [row for row in rows_of(group[CELL]) if (row["run"], row["contender"]) in searched]
        wanted += combinations(rows, 2)
    level = 1 - (1 - measured.level) / max(len(wanted), 1)
    with_both = measured.where(
        pd.Series([key in searched for key in _run_and_contender(measured)], dtype=bool)
    )
    ratios = between(with_both.cells, with_both.slices, "p50_ns", level)
    found = {(row["base"], *(row[name] for name in CELL)): row for row in rows_of(ratios)}
    for pair in wanted:
        # Each two were compared once, in an order of their own.
        one, other = pair if _key(*pair) in found else pair[::-1]
        figures = found.get(_key(one, other))
        if figures is not None:
            yield _Pair(
                one=one["contender"],
                other=other["contender"],
                run=str(one["run"]),
                connections=load_of(one).connections,
                ratio=figures["ratio"],
                low=number(figures["low"]),
                high=number(figures["high"]),
                repeats=figures["repeats"],
            )


def _key(one: dict[Any, Any], base: dict[Any, Any]) -> tuple[Any, ...]:
    return (base["contender"], *(one[name] for name in CELL))


def _run_and_contender(measured: Asked) -> Iterator[tuple[Any, ...]]:
    return measured.table[["run", "contender"]].itertuples(index=False, name=None)


def _more(pair: _Pair, carried: Sequence[Capacity]) -> str | None:
    """The one that carries more connections; None where the brackets overlap."""
    ends = {one.contender: one.found for one in carried if one.run == pair.run}
    for more, fewer in ((pair.one, pair.other), (pair.other, pair.one)):
        passes, fails = ends[more].passes, ends[fewer].fails
        if passes is not None and fails is not None and passes.value >= fails.value:
            return more
    return None


def _each_once(pairs: Sequence[_Pair]) -> list[_Pair]:
    """Of each two contenders the load at which they are furthest apart."""
    furthest = pd.Series([max(pair.ratio, 1 / pair.ratio) for pair in pairs], dtype=float)
    kept: dict[tuple[str, str, str], _Pair] = {}
    for index in furthest.sort_values(ascending=False, kind="stable").index:
        pair = pairs[index]
        kept.setdefault((pair.run, pair.one, pair.other), pair)
    return list(kept.values())


def _evidence(pair: _Pair) -> Evidence:
    return Evidence(
        run=pair.run,
        what=f"{pair.one} over {pair.other}, {pair.connections} connections",
        quantity="median response time",
        unit="ratio",
        value=pair.ratio,
        low=pair.low,
        high=pair.high,
        repeats=pair.repeats,
    )


def _carried(capacity: Capacity) -> Evidence:
    passes, fails = capacity.found.passes, capacity.found.fails
    return Evidence(
        run=capacity.run,
        what=capacity.contender,
        quantity=f"connections with p99 under {capacity.search.p99_limit_ns / 1e6:g} ms",
        unit="connections",
        value=passes.value if passes else 0.0,
        low=passes.value if passes else 0.0,
        high=fails.value if fails else None,
        repeats=capacity.trials,
        decides=not capacity.wine,
        note=UNDER_WINE if capacity.wine else "",
    )
