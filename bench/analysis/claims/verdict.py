"""What a claim's test gives: a verdict by a rule that was written beforehand, and what it rests on."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Literal

import msgspec

Unit = Literal["ratio", "ns", "ns_per_idle_connection", "ns_per_ms", "connections", "bytes"]


class Verdict(StrEnum):
    """What records say of a claim."""

    SUPPORTED = "supported"
    NOT_SUPPORTED = "not supported"
    INCONCLUSIVE = "inconclusive"
    NOT_MEASURED = "not measured here"


class Evidence(msgspec.Struct, kw_only=True, frozen=True):
    """One figure that a verdict rests on, or that is shown beside it.

    `low` and `high` are the ends of the 95 % interval over `repeats`; None where there is none. A figure
    that `decides` nothing says in `note` why.
    """

    run: str
    what: str  # `epoll:c over threads:c, 100 connections`
    quantity: str  # `median response time`
    unit: Unit
    value: float | None
    low: float | None = None
    high: float | None = None
    repeats: int = 0
    decides: bool = True
    note: str = ""


class Judgement(msgspec.Struct, kw_only=True, frozen=True):
    """A claim, its verdict, and why.

    `scope` is what the verdict is about, where the claim speaks of more; `reasons` say why it isn't measured
    here or is inconclusive, and how it could be.
    """

    claim: str
    statement: str
    rule: str
    verdict: Verdict
    evidence: list[Evidence]
    scope: str = ""
    reasons: list[str] = []


def together(parts: Iterable[Verdict]) -> Verdict:
    """The verdict where all parts must hold: one that doesn't decides, then one that is open."""
    found = set(parts)
    for verdict in (Verdict.NOT_SUPPORTED, Verdict.INCONCLUSIVE, Verdict.SUPPORTED):
        if verdict in found:
            return verdict
    return Verdict.NOT_MEASURED


def within(low: float | None, high: float | None, least: float, most: float) -> Verdict:
    """Whether an interval lies inside the margins, outside of them, or across one; open without bounds."""
    if low is None or high is None:
        return Verdict.INCONCLUSIVE
    if least <= low and high <= most:
        return Verdict.SUPPORTED
    if high < least or low > most:
        return Verdict.NOT_SUPPORTED
    return Verdict.INCONCLUSIVE
