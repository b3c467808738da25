"""Verdicts on the chapter's claims, in words."""

from collections import Counter
from collections.abc import Sequence

from bench.analysis.claims import Evidence, Judgement, Verdict
from bench.records.schema import Run
from bench.report import units
from bench.report.hosts import MAY_DIFFER, MUST_AGREE, differing

TITLE = "Verdicts on the chapter's claims"
READ = (
    "Each is computed from the records by a rule that was written before they were. What ran under Wine and "
    "cells with a disqualifying mark decide nothing."
)
HEADERS = ("what", "quantity", "figure with 95 % interval", "repeats", "")
SIGNS = {
    Verdict.SUPPORTED: "✓",
    Verdict.NOT_SUPPORTED: "✗",
    Verdict.INCONCLUSIVE: "?",
    Verdict.NOT_MEASURED: "-",
}

_FIXED = {
    "ns_per_ms": (1e6, " ms for each ms"),
    "ns_per_idle_connection": (1.0, " ns for each idle connection"),
}


def cells(one: Evidence) -> list[str]:
    """Under HEADERS."""
    return [one.what, one.quantity, figure(one), str(one.repeats or units.NOTHING), note(one)]


def note(one: Evidence) -> str:
    """Why it decides nothing; nothing where it does."""
    return "" if one.decides else f"decides nothing: {one.note}" if one.note else "decides nothing"


def figure(one: Evidence) -> str:
    """Its value with interval and unit."""
    if one.unit == "connections":
        return _bracket(one.low, one.high)
    if one.value is None:
        return units.NOTHING
    if one.unit in _FIXED:
        factor, unit = _FIXED[one.unit]
        return f"{_interval(one, factor)}{unit}"
    if one.unit == "bytes":
        return units.size(round(one.value))
    if one.unit == "ratio":
        return units.ratio(one.value, one.low, one.high)
    largest = max(abs(value) for value in (one.value, one.low, one.high) if value is not None)
    factor, unit = next((known for known in units.TIMES if largest >= known[0]), units.TIMES[-1])
    return f"{_interval(one, factor)}{unit}"


def reasons(judgement: Judgement) -> str:
    """Of what the verdict is, and why it isn't another, in one text."""
    scope = [f"of {judgement.scope}"] if judgement.scope else []
    return "; ".join([*scope, *judgement.reasons])


def tally(judgements: Sequence[Judgement]) -> dict[Verdict, int]:
    """How many have each verdict, those that decide most in front."""
    counts = Counter(one.verdict for one in judgements)
    return {verdict: counts[verdict] for verdict in Verdict if counts[verdict]}


def hosts(runs: Sequence[Run]) -> str:
    """In what the hosts of several runs differ; nothing where they don't, or there is one."""
    facts = list(differing(runs, MUST_AGREE | MAY_DIFFER))
    return f"The runs' hosts differ in: {'; '.join(facts)}." if facts else ""


def _bracket(low: float | None, high: float | None) -> str:
    if not low:
        return units.NOTHING if high is None else f"fewer than {high:.0f}"
    return f"{low:.0f} or more" if high is None else f"{low:.0f} to {high:.0f}"


def _interval(one: Evidence, factor: float) -> str:
    assert one.value is not None
    if one.low is None or one.high is None:
        return units.digits(one.value / factor) if one.value > 0 else f"{one.value / factor:.3g}"
    low, value, high = (bound / factor for bound in (one.low, one.value, one.high))
    places = units.places((high - low) / 2)
    return f"{value:.{places}f} ({low:.{places}f} to {high:.{places}f})"
