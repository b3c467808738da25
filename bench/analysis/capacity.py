"""What searches found: for each contender the highest load that passes and the lowest that doesn't."""

from collections.abc import Sequence

import msgspec

from bench.measure.search import Bracket, bracket, judge, searched_value
from bench.plan.suite import Experiment, Search, Suite
from bench.records.schema import Load, Record


class Capacity(msgspec.Struct, frozen=True):
    """A contender's bracket under a load; `load` is without what the search varied."""

    run: str
    experiment: str
    contender: str
    load: Load
    search: Search
    found: Bracket
    trials: int
    is_over: bool  # False: it was interrupted, and a resumed run goes on
    wine: bool  # Windows code under Wine


def capacities(run: str, suite: Suite, records: Sequence[Record]) -> list[Capacity]:
    """The brackets of all searches in `records`, in the suite's order."""
    found = []
    for experiment in suite.experiment:
        if experiment.search is None:
            continue
        own = [one for one in records if one.cell.experiment == experiment.name]
        for contender in experiment.contenders:
            of_it = [
                one for one in own if one.cell.contender == contender.name and one.status != "unavailable"
            ]
            loads = dict.fromkeys(_without_searched(one.cell.load, experiment.search) for one in of_it)
            found += [_capacity(run, experiment, experiment.search, load, of_it) for load in loads]
    return found


def _capacity(
    run: str, experiment: Experiment, search: Search, load: Load, records: Sequence[Record]
) -> Capacity:
    trials: dict[float, list[Record]] = {}
    for one in records:
        if _without_searched(one.cell.load, search) == load:
            trials.setdefault(searched_value(one.cell.load, search), []).append(one)
    trials.pop(0.0, None)  # the closed loop that a search for a rate begins with
    levels = {value: judge(value, tried, search) for value, tried in trials.items()}
    ends = bracket(levels, search)
    is_over = all(end is None or end.trials >= search.confirmations for end in ends)
    return Capacity(
        run=run,
        experiment=experiment.name,
        contender=records[0].cell.contender,
        load=load,
        search=search,
        found=ends,
        trials=sum(map(len, trials.values())),
        is_over=is_over and any(end is not None for end in ends),
        wine=any(mark["code"] == "windows-wine" for one in records for mark in one.warnings),
    )


def _without_searched(load: Load, search: Search) -> Load:
    if search.maximise == "connections":
        return msgspec.structs.replace(load, connections=1)
    return msgspec.structs.replace(load, offered_per_s=0.0, arrivals="constant")
