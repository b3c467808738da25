"""What Python costs over C, for a table and in words, and what of that is the way it calls the system.

Marks say what a pair may be used for. Where the generator or the wake-ups were what was measured, the CPU
time that a server used for a request still is its own, so that is compared; what the clients saw isn't.
Where the generator held up the twin in C alone, C can do more: Python's cost is at least what is shown.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from bench.analysis.findings import Findings, load_of, rows_of
from bench.analysis.frames import CELL, LOAD
from bench.analysis.ratios import SERVER_CPU
from bench.records.schema import ForeignCall, Load
from bench.report import ratio, units
from bench.report.load_words import describe
from bench.report.ratio import Ratio

CPU_STILL_GOOD = {"generator-bound", "wake-bound"}  # as their meanings say
# Those that call the system through ctypes, while the others call modules in C, and how often for a request:
# counted (docs/method.md), at their defaults. Where much is ready some of them need far fewer. `overlapped`,
# which the system calls back through ctypes, isn't among them: what that costs wasn't measured.
FOREIGN_CALLS_MAX = {"io_uring": 2, "iocp": 4, "wsaeventselect": 3, "wsapoll": 1}
AT_LEAST, AT_MOST = "≥", "≤"
BOUNDS = f"{AT_LEAST}, {AT_MOST}: the generator held up the twin in C, which can do more"


class Tax(msgspec.Struct, frozen=True):
    """Python over C under one load: ratios of a contender to its twin."""

    run: str
    experiment: str
    contender: str
    twin: str
    model: str
    load: Load
    repeats: int
    cpu: Ratio | None  # of the server's CPU time for a request
    response_time: Ratio | None  # of medians
    rate: Ratio | None  # None in an open loop, where both do what is offered
    cpu_ns: float | None
    twin_cpu_ns: float | None
    marks: list[str]  # what disqualifies one of the two: `generator-bound (C)`
    is_cpu_fit: bool
    is_fit: bool  # response time and rate, too
    is_bound: bool  # of response time and rate: C, held up by the generator, can do more
    is_asked: bool  # the twin competes; otherwise it is the yardstick, which is in every block

    @property
    def shown_cpu(self) -> str:
        """`1.31 (1.28-1.35)`."""
        return ratio.text(self.cpu)

    @property
    def shown_response_time(self) -> str:
        """`≥ 1.31 (1.28-1.35)` where C can do more."""
        return self._bounded(AT_LEAST, self.response_time)

    @property
    def shown_rate(self) -> str:
        """`≤ 0.76 (0.74-0.78)` where C can do more."""
        return self._bounded(AT_MOST, self.rate)

    def _bounded(self, sign: str, found: Ratio | None) -> str:
        return f"{sign} {ratio.text(found)}" if self.is_bound and found else ratio.text(found)


def taxes(findings: Findings) -> list[Tax]:
    """Every pair under every load: by experiment, run and contender as the suites have them, then by load."""
    if findings.taxes.empty:
        return []
    cells = {tuple(row[name] for name in CELL): row for row in rows_of(findings.table)}
    measured = findings.cells[findings.cells["status"] == "measured"]
    cpu_ns = measured.groupby(CELL, sort=False)[SERVER_CPU].mean().dropna().to_dict()
    by_pair: dict[tuple[Any, ...], list[dict[Any, Any]]] = {}
    for row in rows_of(findings.taxes):
        by_pair.setdefault((*(row[name] for name in CELL), row["twin"]), []).append(row)
    found = []
    for (*key, twin), rows in by_pair.items():
        own = tuple(key)
        theirs = tuple(twin if name == "contender" else value for name, value in zip(CELL, key, strict=True))
        found.append(_tax(rows, cells[own], cells[theirs], (cpu_ns.get(own), cpu_ns.get(theirs))))
    return sorted(found, key=_order(findings))


def _order(findings: Findings) -> Callable[[Tax], tuple[Any, ...]]:
    keys = findings.table[["experiment", "contender"]].itertuples(index=False, name=None)
    contenders = list(dict.fromkeys(keys))
    experiments = list(dict.fromkeys(experiment for experiment, _ in contenders))
    runs = list(findings.suites)
    return lambda one: (
        experiments.index(one.experiment),
        runs.index(one.run),
        contenders.index((one.experiment, one.contender)),
        msgspec.structs.astuple(one.load),
    )


def _tax(
    rows: Sequence[dict[Any, Any]],
    own: dict[Any, Any],
    theirs: dict[Any, Any],
    cpu_ns: tuple[float | None, float | None],
) -> Tax:
    ratios = {row["quantity"]: ratio.of_row(row) for row in rows}
    load = load_of(own)
    python, c = set(own["disqualified"]), set(theirs["disqualified"])
    return Tax(
        run=own["run"],
        experiment=own["experiment"],
        contender=own["contender"],
        twin=theirs["contender"],
        model=own["model"],
        load=load,
        repeats=max(row["repeats"] for row in rows),
        cpu=ratios.get(SERVER_CPU),
        response_time=ratios.get("p50_ns"),
        rate=None if load.offered_per_s else ratios.get("rate_per_s"),
        cpu_ns=cpu_ns[0],
        twin_cpu_ns=cpu_ns[1],
        marks=_marks(own["disqualified"], theirs["disqualified"], ratios),
        is_cpu_fit=(python | c) <= CPU_STILL_GOOD,
        is_fit=not python | c,
        is_bound=c == {"generator-bound"} and not python,
        is_asked=theirs["competes"],
    )


def _marks(python: Sequence[str], c: Sequence[str], ratios: dict[str, Ratio | None]) -> list[str]:
    """`wake-bound` where both have it, `generator-bound (C)` where one has."""
    words = [
        code if code in python and code in c else f"{code} ({'Python' if code in python else 'C'})"
        for code in dict.fromkeys([*python, *c])
    ]
    is_uneven = any(found is not None and found.totals is not None for found in ratios.values())
    return [*words, *(["uneven"] if is_uneven else [])]


def sentence(found: Sequence[Tax]) -> str | None:
    """What Python costs in CPU time, in words, over all loads at which that may be compared.

    None where no experiment asks, or nothing can be said.
    """
    fit = [one for one in found if one.is_asked and one.is_cpu_fit and one.cpu and one.cpu.low is not None]
    costs, unclear = [], []
    for contender, own in _by_contender(fit):
        ratios = [one.cpu for one in own if one.cpu is not None]
        if all(_holds_1(one) for one in ratios):
            unclear.append(contender)
            continue
        ends = [units.ratio(end(one.ratio for one in ratios)) for end in (min, max)]
        costs.append(f"{' to '.join(dict.fromkeys(ends))} ({contender})")
    if not costs and not unclear:
        return None
    parts = [f"For a request Python takes {', '.join(costs)} times the CPU time of C"] if costs else []
    if unclear:
        doubt = f"{', '.join(unclear)}: no difference in CPU time between Python and C can be told"
        parts.append(doubt)
    return f"{'; '.join(parts)}."


def calls_sentence(calls: Sequence[ForeignCall]) -> str | None:
    """What one call costs by both ways; None where that wasn't measured."""
    parts = [
        f"{units.time(one.module.p50_ns)} and {units.time(one.ctypes.p50_ns)} {_with_arguments(one)}"
        for one in calls
    ]
    if not parts:
        return None
    ways = "One call into the system, made from a module in C and through ctypes, takes this Python"
    return f"{ways} {', '.join(parts)}."


def binding_sentences(found: Sequence[Tax], calls: Sequence[ForeignCall]) -> Iterator[str]:
    """How much of what Python costs a model a call through ctypes is; never taken off any figure."""
    call = max(calls, key=lambda one: one.arguments, default=None)
    binding_ns = call.ctypes.p50_ns - call.module.p50_ns if call else 0.0
    if binding_ns <= 0:
        return
    for contender, own in _by_contender([one for one in found if one.model in FOREIGN_CALLS_MAX]):
        count = FOREIGN_CALLS_MAX[own[0].model]
        axes = [name for name in LOAD if len({getattr(one.load, name) for one in own}) > 1]
        parts = [
            f"{_percent(share)} with {describe(one.load, axes or ['connections'])} (of {units.time(more_ns)})"
            for one in own
            if one.is_cpu_fit and one.cpu and not _holds_1(one.cpu) and (more_ns := _more_ns(one)) > 0
            if (share := count * binding_ns / more_ns) < 1  # above it says nothing
        ]
        if parts:
            times = f"{count} call{'s' if count > 1 else ''} a request"
            yield (
                f"{contender} calls through ctypes, which adds {units.time(binding_ns)} to a call. It makes "
                f"{times} at most, up to about {', '.join(parts)} of what Python takes more than C."
            )


def _more_ns(tax: Tax) -> float:
    """CPU time for a request beyond C's."""
    return (tax.cpu_ns or 0.0) - (tax.twin_cpu_ns or 0.0)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _by_contender(found: Sequence[Tax]) -> list[tuple[str, list[Tax]]]:
    groups: dict[str, list[Tax]] = {}
    for one in found:
        groups.setdefault(one.contender, []).append(one)
    return list(groups.items())


def _holds_1(found: Ratio) -> bool:
    return found.low is None or found.high is None or found.low <= 1 <= found.high


def _with_arguments(call: ForeignCall) -> str:
    how_many = f"with {call.arguments} arguments" if call.arguments else "without arguments"
    return f"{how_many} ({call.call})"
