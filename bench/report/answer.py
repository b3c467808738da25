"""The answer in one sentence, computed from intervals: what can be told, and nothing beyond that.

It speaks of the largest load at which most contenders are fit to be compared, names all that can't be told
from the fastest there, says how far behind the slowest is, and where other loads disagree.
"""

from collections.abc import Sequence

import msgspec
import pandas as pd

from bench.analysis.findings import Findings, load_of, rows_of
from bench.analysis.frames import LOAD
from bench.analysis.memory import Memory, memories
from bench.records.schema import Load
from bench.report import capacity, interpreter_tax, memory, units
from bench.report.judging import JUDGINGS, Judging
from bench.report.load_words import describe

UNDER_WINE = (
    "Measured under Wine, which can show that the Windows code works and nothing about its speed: "
    "nothing is concluded."
)


class Answer(msgspec.Struct, frozen=True):
    """What an experiment of a run says. `sentence` is about `load`: None where nothing can be told."""

    run: str
    experiment: str
    question: str
    sentence: str
    load: Load | None = None
    best: list[str] = []


def answers(findings: Findings) -> list[Answer]:
    """An answer for each experiment of each run, in the suite's order."""
    taxes, crowds = interpreter_tax.taxes(findings), memories(findings)
    found = [
        _answer(findings, run, experiment.name, experiment.question)
        for run, suite in findings.suites.items()
        for experiment in suite.experiment
    ]
    return [_with_memory(_with_tax(answer, taxes), crowds) for answer in found]


def _with_memory(answer: Answer, crowds: Sequence[Memory]) -> Answer:
    """What an idle connection takes, where there were many."""
    own = [one for one in crowds if (one.run, one.experiment) == (answer.run, answer.experiment)]
    if not own:
        return answer
    return msgspec.structs.replace(answer, sentence=f"{answer.sentence} {memory.sentence(own)}")


def varying_loads(loads: Sequence[Load]) -> list[str]:
    """The fields in which `loads` differ, and connections in any case."""
    return [
        name for name in LOAD if name == "connections" or len({getattr(load, name) for load in loads}) > 1
    ]


def by_load(table: pd.DataFrame) -> dict[Load, pd.DataFrame]:
    """The rows of each load, the smallest load first."""
    groups = [group for _, group in table.groupby(LOAD, sort=True)]
    return {load_of(rows_of(group.head(1)[LOAD])[0]): group for group in groups}


def _answer(findings: Findings, run: str, experiment: str, question: str) -> Answer:
    def own(table: pd.DataFrame) -> pd.DataFrame:
        return table[(table["run"] == run) & (table["experiment"] == experiment)]

    searched = [one for one in findings.capacities if (one.run, one.experiment) == (run, experiment)]
    if searched:
        return Answer(run, experiment, question, capacity.sentence(searched))
    measured = own(findings.table)
    measured = measured[measured["competes"]]
    has_wine = bool(measured["wine"].any())
    measured = measured[~measured["wine"]]
    ranked = _fit(measured, own(findings.best))
    asked = next(one for one in findings.suites[run].experiment if one.name == experiment)
    judging = JUDGINGS[asked.judged_by]
    if not ranked:
        if has_wine and measured.empty:
            return Answer(run, experiment, question, UNDER_WINE)
        sentence = _nothing(measured) + (" Nothing is concluded from Wine." if has_wine else "")
        return Answer(run, experiment, question, sentence)
    load = list(ranked)[-1]
    at_load = measured[(measured[LOAD] == list(_values(load))).all(axis="columns")]
    axes = varying_loads(list(by_load(measured)))
    parts = [
        _fastest(ranked[load], at_load, describe(load, axes), judging),
        *_slowest(ranked[load], judging),
        *_left_out(own(findings.cells), at_load, ranked[load], load),
        *_disagreeing(ranked, load, axes),
        *(["nothing is concluded from Wine"] if has_wine else []),
    ]
    best = ranked[load].loc[ranked[load]["in_best"], "contender"]
    sentences = [f"{'; '.join(parts)}.", *_kept_up(measured)]
    return Answer(run, experiment, question, " ".join(sentences), load, list(best))


def _with_tax(answer: Answer, taxes: Sequence[interpreter_tax.Tax]) -> Answer:
    """What Python costs, where twins in C compete."""
    own = [one for one in taxes if (one.run, one.experiment) == (answer.run, answer.experiment)]
    tax = interpreter_tax.sentence(own)
    return msgspec.structs.replace(answer, sentence=f"{answer.sentence} {tax}") if tax else answer


def _fit(measured: pd.DataFrame, best: pd.DataFrame) -> dict[Load, pd.DataFrame]:
    """The loads at which two or more contenders, and most of all, have no disqualifying mark."""
    counts = {load: len(rows) for load, rows in by_load(measured).items()}
    return {
        load: rows for load, rows in by_load(best).items() if len(rows) >= 2 and 2 * len(rows) > counts[load]
    }


def _nothing(measured: pd.DataFrame) -> str:
    names = measured["contender"].unique()
    if len(names) == 0:
        return "Nothing was measured."
    if len(names) == 1:
        return f"Only {names[0]} was measured: there is nothing to compare it with."
    codes = sorted({code for marks in measured["disqualified"] for code in marks})
    if not codes:
        return "Nothing can be told: no two contenders were measured at the same load."
    fact = f"Nothing can be told: at every load too many contenders are marked {_listed(codes, 'or')}"
    disturbed = measured["marks"].map(lambda marks: "foreign-load" in marks).mean() >= 0.5
    return f"{fact}; other processes used the CPUs meanwhile." if disturbed else f"{fact}."


def _fastest(rows: pd.DataFrame, at_load: pd.DataFrame, where: str, judging: Judging) -> str:
    names = list(rows.loc[rows["in_best"], "contender"])
    values = at_load.loc[at_load["contender"].isin(names), judging.column]
    top = rows.loc[rows["top"], "contender"].iloc[0]
    if rows["repeats"].max() < 2:
        figure = judging.figure(at_load.loc[at_load["contender"] == top, judging.column].iloc[0])
        return (
            f"With {where} {top} {judging.did} ({figure}), but one repeat can't tell whether another does: "
            "measure at least 3"
        )
    figures = (
        judging.figure(values.iloc[0]) if len(names) == 1 else judging.figures(values.min(), values.max())
    )
    if len(names) == len(rows):
        return f"With {where} no difference between {_listed(names)} can be told ({figures})"
    if len(names) == 1:
        return f"With {where} {top} {judging.does} ({figures})"
    return f"With {where} {_listed(names)} {judging.do} and can't be told apart ({figures})"


def _slowest(rows: pd.DataFrame, judging: Judging) -> list[str]:
    others = rows[~rows["in_best"] & rows["low"].notna() & rows["high"].notna()]
    if others.empty:
        return []
    slowest = others.sort_values("ratio", ascending=not judging.higher_is_better).iloc[-1]
    factor, low, high = (units.digits(slowest[name]) for name in ("ratio", "low", "high"))
    return [f"{judging.worst.format(name=slowest['contender'], factor=factor)} ({low} to {high})"]


def _left_out(cells: pd.DataFrame, at_load: pd.DataFrame, rows: pd.DataFrame, load: Load) -> list[str]:
    """Contenders that have figures elsewhere in the experiment, but none here that may be compared."""
    parts = [
        f"{contender} is left out ({_listed(codes)})"
        for contender, codes in zip(at_load["contender"], at_load["disqualified"], strict=True)
        if contender not in set(rows["contender"])
    ]
    here = cells[(cells[LOAD] == list(_values(load))).all(axis="columns")]
    known = set(cells.loc[cells["status"] == "measured", "contender"]) - set(at_load["contender"])
    missing = here[here["contender"].isin(known) & (here["status"] != "measured")]
    statuses = dict(zip(missing["contender"], missing["status"], strict=True))
    return [*parts, *(f"{contender} is left out ({status})" for contender, status in statuses.items())]


def _disagreeing(ranked: dict[Load, pd.DataFrame], load: Load, axes: Sequence[str]) -> list[str]:
    """Loads whose fastest are others altogether."""
    fastest = {one: set(rows.loc[rows["in_best"], "contender"]) for one, rows in ranked.items()}
    parts = []
    for other, names in fastest.items():
        if names.isdisjoint(fastest[load]) and ranked[other]["repeats"].max() > 1:
            listed = [name for name in ranked[other]["contender"] if name in names]
            parts.append(
                f"with {describe(other, axes)} {_listed(listed)} {'does' if len(names) == 1 else 'do'}"
            )
    return [f"the order changes: {_listed(parts)}"] if parts else []


def _kept_up(measured: pd.DataFrame) -> list[str]:
    """Where several rates were offered, the highest that each contender kept up with."""
    offered = measured[measured["offered_per_s"] > 0]
    if offered["offered_per_s"].nunique() < 2:
        return []
    kept_up = offered[~offered["disqualified"].map(lambda codes: "rate-not-reached" in codes).astype(bool)]
    highest = kept_up.groupby("contender")["offered_per_s"].max()
    rates = {name: highest.get(name) for name in offered["contender"].unique()}
    words = [
        f"{name} {'none' if rate is None else units.rate(rate)}"
        for name, rate in sorted(rates.items(), key=lambda one: -(one[1] or 0))
    ]
    return [f"The highest of the rates offered that each kept up with: {_listed(words)} a second."]


def _values(load: Load) -> tuple[object, ...]:
    return msgspec.structs.astuple(load)


def _listed(names: Sequence[str], word: str = "and") -> str:
    """`a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"
