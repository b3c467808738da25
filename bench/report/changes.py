"""What has changed from one run to another: what may be compared, the changes in words, and a table.

Measurements in which other processes took CPUs (`foreign-load`) take no part where a load has others. Where
it hasn't they do, and intervals are wider by what the yardstick can't make up for (`bench.analysis.compare`).
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec
import pandas as pd

from bench.analysis.compare import Measured
from bench.analysis.compare import changes as compared
from bench.analysis.findings import Findings, find, load_of, rows_of
from bench.analysis.frames import BLOCK, CELL, LOAD
from bench.errors import Exit, UserError
from bench.plan.contender import Contender
from bench.plan.suite import Experiment, Quantity
from bench.records.schema import Load, Run
from bench.records.store import RunFolder
from bench.report import units, unread
from bench.report.answer import varying_loads
from bench.report.hosts import MAY_DIFFER, MUST_AGREE, differing
from bench.report.judging import JUDGINGS
from bench.report.load_words import describe

RATE = 0.05  # of false discoveries among the changes that are called one
DISTURBED = "foreign-load"
UNDISTURBED_MIN = 3  # repeats; with fewer an interval is wider than what the disturbed ones leave to be told
MEASURED = "measured"
WHENS = ("before", "after")

Direction = Literal["slower", "faster", "no change can be told"]


class Change(msgspec.Struct, frozen=True):
    """One contender under one load: how much longer it takes than before, against the yardstick.

    1.03 is 3 % slower, also where request rates are compared. No bounds where a run has one repeat.
    """

    experiment: str
    contender: str
    model: str | None
    implementation: str | None
    load: Load
    quantity: Quantity
    repeats: tuple[int, int]
    slowdown: float
    low: float | None
    high: float | None
    q: float | None
    direction: Direction
    allowance: float = 1.0  # factor by which the bounds are wider on each side: CPUs were taken meanwhile

    @property
    def shown(self) -> str:
        """`+2.1 % (+0.9 to +3.4)`."""
        if self.low is None or self.high is None:
            return _percent(self.slowdown)
        return f"{_percent(self.slowdown)} ({_percent(self.low, '')} to {_percent(self.high, '')})"


class Changes(msgspec.Struct, frozen=True):
    """A comparison of two runs."""

    before: str
    after: str
    changes: list[Change]
    notes: list[str]  # what to know before reading on
    differences: list[str]  # facts that differ and may
    left_out: list[str]  # contenders and loads that one of the runs hasn't, or not fit
    unread: list[str] = []  # what of the runs could not be read


class _Side(NamedTuple):
    """One of the two runs, and what of it takes part."""

    folder: RunFolder
    findings: Findings
    measured: Measured
    left_out: int  # blocks, each counted in each repeat, that others' processes disturbed
    kept: int  # of those, and take part all the same
    blocks: int

    @property
    def experiments(self) -> dict[str, Experiment]:
        """By name; without searches, which try other loads each time."""
        (suite,) = self.findings.suites.values()
        return {one.name: one for one in suite.experiment if one.search is None}


def changes(before: RunFolder, after: RunFolder, *, force: bool = False) -> Changes:
    """Compare two runs. Raises UserError with the facts that differ where they can't be, unless `force`."""
    if before.path.resolve() == after.path.resolve():
        raise UserError(f"{before.path.name} is both of them: name two runs", Exit.USAGE)
    reasons = list(refusals(before.run, after.run))
    if reasons and not force:
        raise UserError(f"these can't be compared: {'; '.join(reasons)} (--force does)", Exit.UNAVAILABLE)
    first, second = (_side(folder) for folder in (before, after))
    quantities = {
        name: experiment.judged_by
        for name, experiment in second.experiments.items()
        if name in first.experiments
    }
    columns = {name: JUDGINGS[quantity].column for name, quantity in quantities.items()}
    table = compared(first.measured, second.measured, columns)
    names = ["experiment", "contender", "model", "implementation"]
    rows = second.findings.table[names].itertuples(index=False, name=None)
    kinds = {(row[0], row[1]): row[2:] for row in rows}
    found = [
        _change(row, quantities[row["experiment"]], kinds[row["experiment"], row["contender"]])
        for row in rows_of(table)
    ]
    left_out = list(_left_out(first, second, found))
    if not found:
        why = _why_nothing(first, second, left_out)
        faults = "".join(f"\n{line}" for line in _unread(first.findings, second.findings)[:1])
        raise UserError(f"nothing can be compared: {why}{faults}", Exit.UNAVAILABLE)
    return Changes(
        before=before.path.name,
        after=after.path.name,
        changes=found,
        notes=[*_order(first, second), *_disturbed(first, second, found)],
        differences=[*reasons, *_differences(first, second)],
        left_out=left_out,
        unread=_unread(first.findings, second.findings),
    )


def _unread(*found: Findings) -> list[str]:
    return [
        f"{run}: {unread.sentence(one)}" for each in found for run, own in each.unread.items() for one in own
    ]


def refusals(before: Run, after: Run) -> Iterator[str]:
    """Facts in which the runs may not differ, and do."""
    lacking = [when for when, run in zip(WHENS, (before, after), strict=True) if run.yardstick_sha256 is None]
    if lacking:
        yield f"the run {' and the run '.join(lacking)} had no yardstick, so there is nothing to compare by"
    elif before.yardstick_sha256 != after.yardstick_sha256:
        yield "the yardstick's binary is another, so there is nothing that stayed the same"
    yield from differing((before, after), MUST_AGREE)
    systems = [run.server_python.system if run.server_python else "" for run in (before, after)]
    if systems[0] != systems[1] and "windows-wine" in systems:
        yield "servers under Wine are ranked by nothing"


def _side(folder: RunFolder) -> _Side:
    findings = find([folder])
    cells, slices = findings.cells, findings.slices
    blocks = cells[BLOCK].drop_duplicates()
    marked = cells[cells["marks"].map(lambda codes: DISTURBED in codes).astype(bool)]
    blocks = blocks.merge(marked[BLOCK].drop_duplicates(), on=BLOCK, how="left", indicator="disturbed")
    blocks["disturbed"] = blocks["disturbed"] == "both"
    at = ["experiment", *LOAD]
    others = (~blocks["disturbed"]).groupby([blocks[name] for name in at]).transform("sum")
    left_out = blocks[blocks["disturbed"] & (others >= UNDISTURBED_MIN)]
    kept = blocks[blocks["disturbed"] & (others < UNDISTURBED_MIN)]
    if not left_out.empty:
        gone = set(left_out[BLOCK].itertuples(index=False, name=None))
        cells, slices = (_without(table, gone) for table in (cells, slices))
    fit = findings.table[~findings.table["disqualified"].map(bool).astype(bool)]
    (level,) = findings.levels.values()
    measured = Measured(cells, slices, fit[CELL], _yardsticks(findings, folder.run), level, kept[at])
    return _Side(folder, findings, measured, len(left_out), len(kept), len(blocks))


def _without(table: pd.DataFrame, blocks: set[tuple[Any, ...]]) -> pd.DataFrame:
    kept = [key not in blocks for key in table[BLOCK].itertuples(index=False, name=None)]
    return table[pd.Series(kept, index=table.index, dtype=bool)]


def _yardsticks(findings: Findings, run: Run) -> dict[str, str]:
    """What each experiment's yardstick is called: one of its contenders, or one that joined them."""
    system = str(run.environment.get("system")).removesuffix("-wine")
    platform = {"windows": "win32"}.get(system, system)
    (suite,) = findings.suites.values()
    yardsticks = {}
    for experiment in suite.experiment:
        of_it = findings.table[findings.table["experiment"] == experiment.name]
        own = next((one.name for one in experiment.contenders if one.is_yardstick_on(platform)), None)
        joined = list(of_it.loc[~of_it["competes"].astype(bool), "contender"])
        if own or joined:
            yardsticks[experiment.name] = own or joined[0]
    return yardsticks


def _why_nothing(first: _Side, second: _Side, left_out: Sequence[str]) -> str:
    """The first reason that explains it."""
    without = [
        when for when, side in zip(WHENS, (first, second), strict=True) if not side.measured.yardsticks
    ]
    if without:
        return "; ".join(f"the run {when} has no figures of a yardstick" for when in without)
    disturbed = "".join(f"; {one}" for one in _disturbed(first, second, []))
    more = f", and {len(left_out) - 1} more" if len(left_out) > 1 else ""
    example = f" ({left_out[0]}{more})" if left_out else ""
    return (
        f"no contender was fit under the same load in both, with the yardstick beside it{example}{disturbed}"
    )


def _order(first: _Side, second: _Side) -> Iterator[str]:
    started = [datetime.fromisoformat(side.folder.run.started_at) for side in (first, second)]
    if started[0] > started[1]:
        names = [side.folder.path.name for side in (second, first)]
        yield f"{names[0]} was measured before {names[1]}: these are changes back in time"


def _disturbed(first: _Side, second: _Side, found: Sequence[Change]) -> Iterator[str]:
    for when, side in zip(WHENS, (first, second), strict=True):
        if count := side.left_out + side.kept:
            done = ["left out"] if side.left_out else []
            done += [f"{side.kept} of them taken, for want of others"] if side.kept else []
            yield (
                f"in {count} of {side.blocks} measurements {when} other processes used the CPUs "
                f"({DISTURBED}): {', '.join(done)}"
            )
    allowances = [one.allowance for one in found if one.allowance > 1]
    if allowances:
        least, most = (f"{100 * (value - 1):.2g}" for value in (min(allowances), max(allowances)))
        yield (
            f"{len(allowances)} intervals are wider for that, by {least} to {most} % on each side: "
            "a contender may have felt nothing of what the yardstick felt, or twice as much"
        )


def _differences(first: _Side, second: _Side) -> Iterator[str]:
    runs = first.folder.run, second.folder.run
    yield from differing(runs, MAY_DIFFER)
    facts: dict[str, list[str]] = {
        "servers' Python": [
            run.server_python.interpreter if run.server_python else f"Python {run.versions.get('python')}"
            for run in runs
        ],
        "iocpbench": [str(run.versions.get("iocpbench")) for run in runs],
        "status": [run.status for run in runs],
    }
    for name, experiment in second.experiments.items():
        if name in first.experiments:
            facts |= _facts(first.experiments[name], experiment)
    for label, values in facts.items():
        if values[0] != values[1]:
            yield f"{label}: {values[0]} and {values[1]}"


def _facts(*experiments: Experiment) -> dict[str, list[str]]:
    """What an experiment of either run asks, and what its contenders' names stand for."""
    facts = {
        f"{experiments[0].name} is judged by": [JUDGINGS[one.judged_by].long for one in experiments],
        f"slices of {experiments[0].name}": [units.time(1e9 * one.slice_s) for one in experiments],
    }
    before, after = ({one.name: _definition(one) for one in own.contenders} for own in experiments)
    return facts | {name: [before[name], told] for name, told in after.items() if name in before}


def _definition(contender: Contender) -> str:
    """`epoll:c threads=2`, or its command."""
    if contender.command is not None:
        return " ".join(contender.command)
    options = [f"{name}={value}" for name, value in sorted(contender.options.items())]
    return " ".join([f"{contender.model}:{contender.implementation}", *options])


def _change(row: dict[Any, Any], quantity: Quantity, kind: Sequence[str | None]) -> Change:
    slowdown, low, high = row["ratio"], row["low"], row["high"]
    if JUDGINGS[quantity].higher_is_better:
        slowdown, low, high = (1 / one if one else None for one in (slowdown, high, low))
    return Change(
        experiment=row["experiment"],
        contender=row["contender"],
        model=kind[0],
        implementation=kind[1],
        load=load_of(row),
        quantity=quantity,
        repeats=(row["repeats_before"], row["repeats_after"]),
        slowdown=slowdown,
        low=low,
        high=high,
        q=row["q"],
        direction=_direction(slowdown, row["q"]),
        allowance=row["allowance"],
    )


def _direction(slowdown: float, q: float | None) -> Direction:
    if q is None or q >= RATE:
        return "no change can be told"
    return "slower" if slowdown > 1 else "faster"


def _left_out(first: _Side, second: _Side, found: Sequence[Change]) -> Iterator[str]:
    """`poll with 100 connections: littles-law before`, for what one of the runs had."""
    listed = {(one.experiment, one.contender, one.load) for one in found}
    seen: dict[tuple[str, str, Load], list[str]] = {}
    for when, side in zip(WHENS, (first, second), strict=True):
        for key, state in _states(side):
            seen.setdefault(key, []).append(f"{state} {when}")
    axes = varying_loads([load for _, _, load in seen])
    for (experiment, contender, load), states in seen.items():
        if (experiment, contender, load) not in listed:
            unfit = [one for one in states if not one.startswith(MEASURED)]
            why = "; ".join(unfit) if unfit else f"{states[0]} alone"
            yield f"{contender} with {describe(load, axes)}: {why}"


def _states(side: _Side) -> Iterator[tuple[tuple[str, str, Load], str]]:
    """Of each measured cell but the yardstick's why it takes no part; MEASURED where it can."""
    undisturbed, fit = (
        set(table[CELL].itertuples(index=False, name=None))
        for table in (side.measured.cells, side.measured.fit)
    )
    for row in rows_of(side.findings.table[side.findings.table["competes"].astype(bool)]):
        yardstick = side.measured.yardsticks.get(row["experiment"])
        own = tuple(row[name] for name in CELL)
        of_yardstick = tuple(yardstick if name == "contender" else row[name] for name in CELL)
        if row["disqualified"]:
            state = ", ".join(row["disqualified"])
        elif own not in undisturbed:
            state = DISTURBED
        else:
            state = MEASURED if of_yardstick in fit else "without a yardstick that is fit"
        if row["contender"] != yardstick:
            yield (row["experiment"], row["contender"], load_of(row)), state


def heading(found: Changes) -> str:
    """Which run was before, and which after."""
    return f"{found.before} → {found.after}"


def as_json(found: Changes, threshold: float | None = None) -> dict[str, Any]:
    """For a program; with a threshold also which changes lie wholly beyond it."""
    built: dict[str, Any] = msgspec.to_builtins(found)
    if threshold is None:
        return built
    return {**built, "threshold": threshold, "beyond": msgspec.to_builtins(beyond(found, threshold))}


def sentence(found: Changes) -> str:
    """What has changed, in words."""
    moved = [one for one in found.changes if one.direction != "no change can be told"]
    if not any(one.q is not None for one in found.changes):
        return "Nothing can be told: a run with one repeat has no intervals."
    if not moved:
        widest = max((one.high or 1) / (one.low or 1) for one in found.changes)
        return f"No change can be told; intervals are up to +-{50 * (widest - 1):.2g} % wide."
    parts = []
    for direction in ("slower", "faster"):
        own = [one for one in moved if one.direction == direction]
        names = dict.fromkeys(one.contender for one in own)
        if own:
            extremes = sorted(abs(one.slowdown - 1) for one in own)
            size = " to ".join(dict.fromkeys(f"{100 * value:.2g}" for value in (extremes[0], extremes[-1])))
            parts.append(f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} {direction} by {size} %")
    return f"{'; '.join(parts)}; of {len(found.changes)} comparisons {len(moved)} show a change."


def _percent(ratio: float, unit: str = " %") -> str:
    return f"{100 * (ratio - 1):+.1f}{unit}"


def beyond(found: Changes, threshold: float) -> list[Change]:
    """Those whose whole interval is slower by more than the threshold."""
    return [one for one in found.changes if one.low is not None and one.low > 1 + threshold]


def verdict(found: Changes, threshold: float) -> str:
    """Which are slower by more than the threshold, in words."""
    limit = f"slower by more than {100 * threshold:g} %"
    slower = beyond(found, threshold)
    if not slower:
        return f"Nothing is surely {limit}."
    axes = varying_loads([one.load for one in found.changes])
    names = [f"{one.contender} with {describe(one.load, axes)}" for one in slower]
    return f"{limit.capitalize()}: {', '.join(names)}."


def table(found: Changes) -> dict[str, list[list[str]]]:
    """Rows of contender, quantity, change and direction, under what they are of."""
    several = len({one.experiment for one in found.changes}) > 1
    axes = varying_loads([one.load for one in found.changes])
    sections: dict[str, list[list[str]]] = {}
    for one in found.changes:
        title = f"{one.experiment}: {describe(one.load, axes)}" if several else describe(one.load, axes)
        mark = "" if one.direction == "no change can be told" else one.direction
        cells = [one.contender, JUDGINGS[one.quantity].long, one.shown, mark]
        sections.setdefault(title, []).append(cells)
    return sections


HEADERS = ("contender", "in", "takes longer by", "")
NOTE = (
    "Each run's ratio to the yardstick, compared with the other's; 95 % intervals over repeats. "
    f"slower, faster: of those called so at most {100 * RATE:g} % are so by chance."
)


def markdown(found: Changes, threshold: float | None = None) -> str:
    """For a CI job's summary."""
    said = [sentence(found), *([] if threshold is None else [verdict(found, threshold)])]
    lines = [f"### {_escaped(heading(found))}", "", *map(_escaped, said), ""]
    lines += ["| load | contender | in | takes longer by | |", "| --- | --- | --- | --- | --- |"]
    for title, rows in table(found).items():
        lines += [f"| {' | '.join(_escaped(cell) for cell in [title, *row])} |" for row in rows]
    lines += ["", NOTE, "", *(f"- {_escaped(note)}" for note in found.notes)]
    lines += [f"- differs: {_escaped(fact)}" for fact in found.differences]
    lines += [f"- left out: {_escaped(fact)}" for fact in found.left_out]
    lines += [f"- can't be read: {_escaped(fact)}" for fact in found.unread]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """As text in a table of Markdown: names come from suites."""
    text = " ".join(text.split()).replace("&", "&amp;")
    for character in "\\`*_|<>[]~#$":
        text = text.replace(character, f"\\{character}")
    return text
