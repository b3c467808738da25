"""What a run was asked: its suite, and where that can't be read, or lacks something, what the records tell.

A run that another version made, or whose run.json was damaged, still shows all that was measured in it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from bench.analysis.ratios import JUDGED_COLUMNS
from bench.plan.contender import YARDSTICK_MODELS, Contender
from bench.plan.suite import SCHEMA, Experiment, LoadTable, Quantity, Search, Suite
from bench.records.reading import RUN_FILE, Unread
from bench.records.schema import Cell, Record


class Asked(NamedTuple):
    """A suite, and what of it isn't as it was written."""

    suite: Suite
    unread: list[Unread]


def suite_of(resolved: Mapping[str, Any], records: Sequence[Record], run: str) -> Asked:
    """The suite in `run`'s run.json, with everything in it that `records` are of."""
    unread = []
    try:
        suite = msgspec.convert(resolved, Suite)
    except msgspec.ValidationError as error:
        fact = f"its suite can't be read ({error}), so it is told from the records, and no claim is judged"
        unread.append(Unread(RUN_FILE, fact))
        told = {str(one["name"]): one for one in _tables(resolved.get("experiment")) if "name" in one}
        suite = _suite(resolved, told, records, run)
    known = {experiment.name for experiment in suite.experiment}
    lacking = dict.fromkeys(one.cell.experiment for one in records if one.cell.experiment not in known)
    if lacking:
        fact = f"its suite lacks what there are records of: {', '.join(lacking)}; shown as the records tell"
        unread.append(Unread(RUN_FILE, fact))
    added = [_experiment(name, {}, records) for name in lacking]
    experiments = [_with_contenders(one, records) for one in suite.experiment]
    return Asked(msgspec.structs.replace(suite, experiment=[*experiments, *added]), unread)


def _tables(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _suite(
    resolved: Mapping[str, Any], told: Mapping[str, dict[str, Any]], records: Sequence[Record], run: str
) -> Suite:
    """A suite of the experiments that there are records of, in the order in which it names them."""
    measured = dict.fromkeys(one.cell.experiment for one in records)
    names = [*(name for name in told if name in measured), *(name for name in measured if name not in told)]
    experiments = [_experiment(name, told.get(name, {}), records) for name in names]
    return Suite(
        schema=SCHEMA,
        name=_text(resolved.get("name")) or run,
        title=_text(resolved.get("title")) or run,
        contenders=list(dict.fromkeys(one.name for part in experiments for one in part.contenders)),
        reference=experiments[0].reference if experiments else "",
        experiment=experiments,
    )


def _experiment(name: str, told: Mapping[str, Any], records: Sequence[Record]) -> Experiment:
    """As the records have it; question, contenders' order, reference and search where `told` names them."""
    own = [one for one in records if one.cell.experiment == name]
    contenders = {one.cell.contender: _contender(one.cell) for one in own}
    named = [_text(one.get("name")) for one in _tables(told.get("contenders"))]
    order = [one for one in named if one in contenders] or list(contenders)
    measured = [one for one in order if any(each.cell.contender == one and each.load for each in own)]
    reference = _text(told.get("reference"))
    judged_by: Quantity = "response_time"
    judged_by = next((one for one in JUDGED_COLUMNS if one == told.get("judged_by")), judged_by)
    return Experiment(
        name=name,
        question=_text(told.get("question")),
        claims=[],
        judged_by=judged_by,
        contenders=[contenders[one] for one in order],
        reference=reference if reference in measured else next(iter(measured or order)),
        repeats=max(one.repeat for one in own),
        rounds=max((len(one.load.slices) for one in own if one.load), default=0),
        slice_s=next((one.slice_s for one in own if one.slice_s), 0.0),
        load=LoadTable(),
        search=_search(told.get("search")),
    )


def _with_contenders(experiment: Experiment, records: Sequence[Record]) -> Experiment:
    """With those that there are records of, and that it doesn't name: the yardstick aside."""
    known = {one.name for one in experiment.contenders}
    others = {
        one.cell.contender: _contender(one.cell)
        for one in records
        if one.cell.experiment == experiment.name and one.cell.contender not in known
    }
    added = [one for one in others.values() if not _may_be_yardstick(one)]
    return msgspec.structs.replace(experiment, contenders=[*experiment.contenders, *added])


def _may_be_yardstick(contender: Contender) -> bool:
    return contender.implementation == "c" and contender.model in YARDSTICK_MODELS.values()


def _contender(cell: Cell) -> Contender:
    return Contender(
        name=cell.contender, model=cell.model, implementation=cell.implementation, options=cell.options
    )


def _search(told: object) -> Search | None:
    try:
        return msgspec.convert(told, Search | None)
    except msgspec.ValidationError:
        return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
