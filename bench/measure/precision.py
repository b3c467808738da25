"""Until precise: which blocks get another repeat, and intervals that hold although they are looked at.

A repeat is added where an interval is still too wide, so how many there are depends on what was measured, and
an interval for a fixed number of repeats then holds the truth less often than it says. How much less depends
on what is looked at. A rule that asks where the interval lies, as one that stops when it excludes 1, reaches
any conclusion in the end. This one asks for its width alone. The mean of a normal sample doesn't depend on
the standard deviations that the width is made from, so the stop favours no place for the mean (Stein 1945);
what it favours is a standard deviation that came out small, and so the interval is too narrow now and then.
It is worst where a few repeats more than the first look would be needed, and vanishes with many (Chow and
Robbins 1965; Starr 1966).

So three things are fixed beforehand, and recorded with the run: no interval is looked at before LOOKS_FROM
repeats; it is Student's t at LEVEL instead of 95 %; and every look is at that same level. LEVEL was chosen by
simulation (`tests/bench/measure/test_precision.py` repeats it): with one ratio of normal repeats, intervals
at 95 % hold the truth in 92.1 % of the runs at worst, those at LEVEL in 93.4 to 96 %, whatever the target is
and wherever a budget cuts it off. That takes a tenth more repeats than a number fixed beforehand. A
confidence sequence, which holds at every look whatever the rule is, takes at least 2.4 times as many (Robbins
1970); Stein's two stages would use the first repeats' standard deviation alone to the end.

The unit is the load: all its contenders are measured together, so they get another repeat together, until the
last of their ratios is precise. That makes a stop by luck rarer still.
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.plan.cells import Block
from bench.plan.suite import Experiment
from bench.records.schema import Load, Precision, Record

LEVEL = 0.96
LOOKS_FROM = 5

_Place = tuple[str, Load]


class Width(msgspec.Struct, kw_only=True, frozen=True):
    """How wide the interval of a ratio to the reference is."""

    experiment: str
    contender: str
    load: Load
    repeats: int
    half_width: float | None  # 0.02: 2 % to either side; None where there are too few repeats for an interval
    is_precise: bool


Look = Callable[[Sequence[Record], Experiment, Precision], list[Width]]
"""Makes the widths of one load's records; the statistics lie above this layer, so they are handed in."""


def rule(target: float, budget_s: float) -> Precision:
    """What a run records; `target` 0.02 means that 2 % to either side is precise."""
    return Precision(target=target, budget_s=budget_s, looks_from=LOOKS_FROM, level=LEVEL)


def is_precise(half_width: ArrayLike, repeats: ArrayLike, asked: Precision) -> NDArray[np.bool_]:
    """Whether an interval that so many repeats made is narrow enough; never where it is NaN."""
    enough = np.asarray(repeats) >= asked.looks_from
    return np.asarray(enough & (np.asarray(half_width, dtype=float) <= asked.target))


class Goal:
    """How far a run is from what was asked. It follows from its records alone, so that it can be resumed."""

    def __init__(self, asked: Precision, experiments: Iterable[Experiment], look: Look) -> None:
        self.asked = asked
        self._look = look
        self._experiments = {one.name: one for one in experiments if one.search is None}
        self._records: dict[_Place, list[Record]] = {}
        self._widths: dict[_Place, list[Width]] = {}

    def add(self, records: Iterable[Record]) -> None:
        """Take records into account; those of searches, which end by a rule of their own, are left out.

        A block that was measured again, since a crash had left a part of it, takes the place of that part.
        """
        added: dict[_Place, list[Record]] = {}
        for one in records:
            if one.cell.experiment in self._experiments:
                added.setdefault((one.cell.experiment, one.cell.load), []).append(one)
        for place, new in added.items():
            again = {(one.repeat, one.block) for one in new}
            kept = [one for one in self._records.get(place, []) if (one.repeat, one.block) not in again]
            self._records[place] = kept + new
            self._widths.pop(place, None)

    def is_reached(self, block: Block) -> bool:
        """Whether every ratio at the block's load is precise, or there is none."""
        return all(one.is_precise for one in self._widths_at((block.experiment, block.load)))

    @property
    def widths(self) -> list[Width]:
        """Of all ratios so far."""
        return [one for place in self._records for one in self._widths_at(place)]

    def _widths_at(self, place: _Place) -> list[Width]:
        """Computed when it is asked for, once until there are more records."""
        records = self._records.get(place)
        if records is None:
            return []
        if place not in self._widths:
            self._widths[place] = self._look(records, self._experiments[place[0]], self.asked)
        return self._widths[place]
