"""The brackets of searches, in a table's cells and in a sentence."""

from collections.abc import Sequence
from typing import NamedTuple

from bench.analysis.capacity import Capacity
from bench.measure.search import Level, Verdict
from bench.plan.suite import Search
from bench.report import units
from bench.report.load_words import describe

HEADERS = ("contender", "carries", "p99 there", "not", "p99 or why", "trials")


class CapacityRow(NamedTuple):
    """A bracket as people read it."""

    capacity: Capacity
    cells: tuple[str, ...]  # under HEADERS


def rows(found: Sequence[Capacity]) -> list[CapacityRow]:
    """The largest capacity first."""
    ordered = sorted(found, key=lambda one: -_carried(one))
    return [CapacityRow(one, _cells(one)) for one in ordered]


def sentence(found: Sequence[Capacity]) -> str:
    """Who carries most, in words."""
    native = [one for one in found if not one.wine]
    if not native:
        return "Nothing is concluded." if found else "Nothing was measured."
    search = native[0].search
    limit = f"p99 under {units.time(search.p99_limit_ns)}"
    parts = []
    for one in sorted(native, key=lambda one: -_carried(one)):
        passes, fails = one.found
        if passes is None:
            parts.append(f"{one.contender} keeps it at no load that was tried")
        elif fails is None:
            parts.append(f"{one.contender} up to {amount(passes, search)} and perhaps more")
        else:
            parts.append(f"{one.contender} up to {amount(passes, search)} (not {amount(fails, search)})")
    unfinished = "" if all(one.is_over for one in native) else "; the search isn't over"
    return f"With {limit}: {'; '.join(parts)}{unfinished}."


def title(found: Sequence[Capacity]) -> str:
    """What was searched for, and under what load."""
    search, load = found[0].search, found[0].load
    what = "the highest rate" if search.maximise == "rate" else "the most connections"
    fields = ["message_bytes"] if search.maximise == "connections" else ["connections", "message_bytes"]
    limit = units.time(search.p99_limit_ns)
    return f"{what} with p99 under {limit} and no error; {describe(load, fields)}"


def amount(level: Level, search: Search) -> str:
    """`64.4k requests/s`, `3800 connections`."""
    if search.maximise == "connections":
        return f"{level.value:.0f} connections"
    return f"{units.rate(level.value)} requests/s"


def _carried(one: Capacity) -> float:
    return one.found.passes.value if one.found.passes else 0.0


def _cells(one: Capacity) -> tuple[str, ...]:
    passes, fails = one.found
    return (
        one.contender,
        amount(passes, one.search) if passes else "nothing tried",
        _p99(passes) if passes else "",
        amount(fails, one.search) if fails else "not found",
        (fails.reason or _p99(fails)) if fails else "",
        f"{one.trials}" if one.is_over else f"{one.trials}, not over",
    )


def _p99(level: Level) -> str:
    """`8.31 ms (7.90-8.74)`: over the slices of all its trials."""
    if level.p99_ns is None:
        return units.NOTHING
    middle = units.time(level.p99_ns)
    bounds = ""
    if level.low_ns is not None and level.high_ns is not None:
        bounds = f" ({units.time(level.low_ns)} to {units.time(level.high_ns)})"
    undecided = ", can't be told" if level.verdict is Verdict.OPEN else ""
    return f"{middle}{bounds}{undecided}"
