"""What came of runs that were to be measured until they are precise, in words and rows."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import msgspec

from bench.analysis.intervals import LEVEL
from bench.analysis.precision import Reached, widest_first
from bench.measure.precision import Width
from bench.report import units
from bench.report.answer import varying_loads
from bench.report.load_words import describe

TITLE = "Until precise"
HEADERS = ("at", "repeats", "precise", "the widest")


class Row(NamedTuple):
    """The ratios of one load, which have got their repeats together."""

    at: str
    repeats: str
    precise: str  # `5 of 6`
    widest: str
    is_reached: bool

    @property
    def cells(self) -> tuple[str, ...]:
        """Under HEADERS."""
        return self[:4]


def sentence(found: Reached) -> str:
    """How many ratios are precise, and what ended it."""
    total, wide = len(found.widths), len(found.wide)
    goal = f"within +-{100 * found.asked.target:g} %"
    if not total:
        return f"No ratio could be brought {goal}: no two that may be compared were measured."
    if not wide:
        which = f"All {total} ratios are" if total > 1 else "The ratio is"
        return f"{which} {goal}, after {_repeats(found.widths)}."
    rest = _sum(found.asked.budget_s)
    end = f"the budget of {rest} is spent" if found.is_over else "the run hasn't come to its end"
    return f"{total - wide} of {total} ratios are {goal}, after {_repeats(found.widths)}; {end}."


def not_reached(found: Reached) -> Iterator[str]:
    """`with 100 connections: threads +-3.4 %, poll +-2.2 %`, for each load that has some."""
    for title, own in by_load(found.widths):
        wide = [one for one in widest_first(own) if not one.is_precise]
        if wide:
            yield f"with {title}: {', '.join(f'{one.contender} {interval(one.half_width)}' for one in wide)}"


def note(found: Reached) -> str:
    """Why the intervals of this run are wider than others."""
    return (
        f"Its intervals were looked at after each repeat: computed at {100 * found.asked.level:g} %, "
        f"they hold the true ratio {100 * LEVEL:g} times in 100."
    )


def rows(found: Reached) -> list[Row]:
    """A row for each load."""
    return [
        Row(
            at=title,
            repeats=str(max(one.repeats for one in own)),
            precise=f"{sum(one.is_precise for one in own)} of {len(own)}",
            widest=f"{own[0].contender} {interval(own[0].half_width)}",
            is_reached=all(one.is_precise for one in own),
        )
        for title, own in ((title, widest_first(own)) for title, own in by_load(found.widths))
    ]


def by_load(found: Sequence[Width]) -> list[tuple[str, list[Width]]]:
    """Those of each load, under what it is called: by the experiment's name, too, where there are several."""
    axes = varying_loads([one.load for one in found])
    several = len({one.experiment for one in found}) > 1

    def title(one: Width) -> str:
        return f"{describe(one.load, axes)} ({one.experiment})" if several else describe(one.load, axes)

    experiments = list(dict.fromkeys(one.experiment for one in found))
    ordered = sorted(
        found, key=lambda one: (experiments.index(one.experiment), msgspec.structs.astuple(one.load))
    )
    return [(name, list(own)) for name, own in groupby(ordered, title)]


def still_wide(widths: Sequence[Width], target: float, shown: int) -> str:
    """`3 of 18 ratios over +-2 %: threads, 100 connections +-3.4 %; …`, with so many of the widest named."""
    wide = [one for one in widest_first(widths) if not one.is_precise]
    axes = varying_loads([one.load for one in widths])
    names = [
        f"{one.contender}, {describe(one.load, axes)} {interval(one.half_width)}" for one in wide[:shown]
    ]
    more = ["…"] if names and len(wide) > shown else []
    listed = f": {'; '.join([*names, *more])}" if names else ""
    return f"{len(wide)} of {len(widths)} ratios over +-{100 * target:g} %{listed}"


def interval(half_width: float | None) -> str:
    """`+-2.1 %`."""
    return "can't be told" if half_width is None else f"+-{units.digits(100 * half_width)} %"


def _repeats(found: Sequence[Width]) -> str:
    counts = [one.repeats for one in found]
    least, most = min(counts), max(counts)
    return f"{most} repeats" if least == most else f"{least} to {most} repeats"


def _sum(seconds: float) -> str:
    return f"{seconds:g} s" if seconds < 120 else f"{seconds / 60:.3g} min"
