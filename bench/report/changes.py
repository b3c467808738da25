"""What has changed from one run to another: what may be compared, the changes in words, and a table."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from bench.analysis.compare import Measured
from bench.analysis.compare import changes as compared
from bench.analysis.findings import Findings, find, load_of, rows_of
from bench.analysis.frames import CELL
from bench.errors import Exit, UserError
from bench.plan.suite import Quantity
from bench.records.schema import Load, Run
from bench.records.store import RunFolder
from bench.report import unread
from bench.report.answer import varying_loads
from bench.report.hosts import MAY_DIFFER, MUST_AGREE, differing
from bench.report.judging import JUDGINGS
from bench.report.load_words import describe

RATE = 0.05  # of false discoveries among the changes that are called one

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
    differences: list[str]  # facts that differ and may
    left_out: list[str]  # contenders and loads that one of the runs hasn't, or not fit
    unread: list[str] = []  # what of the runs could not be read


def changes(before: RunFolder, after: RunFolder, *, force: bool = False) -> Changes:
    """Compare two runs. Raises UserError with the facts that differ where they can't be, unless `force`."""
    reasons = list(refusals(before.run, after.run))
    if reasons and not force:
        raise UserError(f"these can't be compared: {'; '.join(reasons)} (--force does)", Exit.UNAVAILABLE)
    first, second = find([before]), find([after])
    quantities = _quantities(first, second)
    columns = {name: JUDGINGS[quantity].column for name, quantity in quantities.items()}
    table = compared(_measured(first), _measured(second), columns)
    names = ["experiment", "contender", "model", "implementation"]
    kinds = {(row[0], row[1]): row[2:] for row in second.table[names].itertuples(index=False, name=None)}
    found = [
        _change(row, quantities[row["experiment"]], kinds[row["experiment"], row["contender"]])
        for row in rows_of(table)
    ]
    if not found:
        fact = "no contender was measured under the same load in both, with the yardstick beside it"
        faults = "".join(f"\n{line}" for line in _unread(first, second)[:1])
        raise UserError(f"nothing can be compared: {fact}{faults}", Exit.UNAVAILABLE)
    return Changes(
        before=before.path.name,
        after=after.path.name,
        changes=found,
        differences=[*reasons, *_differences(before.run, after.run)],
        left_out=list(_left_out(first, second, found)),
        unread=_unread(first, second),
    )


def _unread(*found: Findings) -> list[str]:
    return [
        f"{run}: {unread.sentence(one)}" for each in found for run, own in each.unread.items() for one in own
    ]


def refusals(before: Run, after: Run) -> Iterator[str]:
    """Facts in which the runs may not differ, and do."""
    if before.yardstick_sha256 is None or before.yardstick_sha256 != after.yardstick_sha256:
        yield "the yardstick's binary is another, so there is nothing that stayed the same"
    yield from differing((before, after), MUST_AGREE)
    systems = [run.server_python.system if run.server_python else "" for run in (before, after)]
    if systems[0] != systems[1] and "windows-wine" in systems:
        yield "servers under Wine are ranked by nothing"


def _differences(before: Run, after: Run) -> Iterator[str]:
    yield from differing((before, after), MAY_DIFFER)
    pythons = [
        run.server_python.interpreter if run.server_python else f"Python {run.versions.get('python')}"
        for run in (before, after)
    ]
    if pythons[0] != pythons[1]:
        yield f"servers' Python: {pythons[0]} and {pythons[1]}"
    versions = [run.versions.get("iocpbench") for run in (before, after)]
    if versions[0] != versions[1]:
        yield f"iocpbench: {versions[0]} and {versions[1]}"


def _quantities(before: Findings, after: Findings) -> dict[str, Quantity]:
    """What the experiments of both are judged by; where that differs, by the later one's."""
    (old,), (new,) = before.suites.values(), after.suites.values()
    known = {experiment.name for experiment in old.experiment if experiment.search is None}
    return {
        experiment.name: experiment.judged_by
        for experiment in new.experiment
        if experiment.name in known and experiment.search is None
    }


def _measured(findings: Findings) -> Measured:
    (suite,) = findings.suites.values()
    yardsticks = {}
    for experiment in suite.experiment:
        of_it = findings.table[findings.table["experiment"] == experiment.name]
        own = next((one.name for one in experiment.contenders if one.is_yardstick), None)
        joined = list(of_it.loc[~of_it["competes"].astype(bool), "contender"])
        if own or joined:
            yardsticks[experiment.name] = own or joined[0]
    fit = findings.table[~findings.table["disqualified"].map(bool).astype(bool)]
    return Measured(findings.cells, findings.slices, fit[CELL], yardsticks)


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
    )


def _direction(slowdown: float, q: float | None) -> Direction:
    if q is None or q >= RATE:
        return "no change can be told"
    return "slower" if slowdown > 1 else "faster"


def _left_out(before: Findings, after: Findings, found: Sequence[Change]) -> Iterator[str]:
    """`poll with 100 connections: littles-law in the first`, for what one of the runs had."""
    listed = {(one.experiment, one.contender, one.load) for one in found}
    seen: dict[tuple[str, str, Load], list[str]] = {}
    for word, findings in (("before", before), ("after", after)):
        for row in rows_of(findings.table[findings.table["competes"].astype(bool)]):
            key = (row["experiment"], row["contender"], load_of(row))
            marks = ", ".join(row["disqualified"])
            seen.setdefault(key, []).append(f"{marks} {word}" if marks else f"measured {word}")
    loads = [load for _, _, load in seen]
    for (experiment, contender, load), words in seen.items():
        if (experiment, contender, load) in listed:
            continue
        alone = len(words) == 1 and words[0].startswith("measured")
        why = f"{words[0]} alone" if alone else "; ".join(word for word in words if "measured" not in word)
        if why:  # otherwise it is the yardstick, or the yardstick wasn't fit
            yield f"{contender} with {describe(load, varying_loads(loads))}: {why}"


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


def markdown(found: Changes) -> str:
    """For a CI job's summary."""
    names = [_escaped(name) for name in (found.before, found.after)]
    lines = [f"### {' → '.join(names)}", "", _escaped(sentence(found)), ""]
    lines += ["| load | contender | in | takes longer by | |", "| --- | --- | --- | --- | --- |"]
    for title, rows in table(found).items():
        lines += [f"| {' | '.join(_escaped(cell) for cell in [title, *row])} |" for row in rows]
    lines += ["", NOTE]
    lines += [f"- differs: {_escaped(fact)}" for fact in found.differences]
    lines += [f"- left out: {_escaped(fact)}" for fact in found.left_out]
    lines += [f"- can't be read: {_escaped(fact)}" for fact in found.unread]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """As text in a table of Markdown: names come from suites."""
    for character in "\\`*_|<>[]":
        text = text.replace(character, f"\\{character}")
    return text
