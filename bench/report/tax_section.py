"""The page's section about Python over C in one experiment; its template is `interpreter_tax.html`."""

from itertools import groupby
from typing import NamedTuple

from bench.report.answer import varying_loads
from bench.report.interpreter_tax import Tax, binding_sentences, calls_sentence
from bench.report.load_words import describe
from bench.report.summary import Summary


class TaxRow(NamedTuple):
    """A pair under one load."""

    load: str
    tax: Tax


class TaxTable(NamedTuple):
    """A contender of one run, under all its loads."""

    title: str
    contender: str
    rows: list[TaxRow]


class TaxSection(NamedTuple):
    """Everything but the chart, which only an experiment has that asks for it."""

    tables: list[TaxTable]
    has_bounds: bool
    notes: list[str]


def section(summary: Summary, experiment: str) -> TaxSection | None:
    """None where the experiment has no such pair."""
    own = [one for one in summary.taxes if one.experiment == experiment]
    if not own:
        return None
    axes = varying_loads([one.load for one in own])
    tables = []
    for (run, contender, twin), group in groupby(own, key=lambda one: (one.run, one.contender, one.twin)):
        label = f"{summary.labels[run]}: " if len(summary.labels) > 1 else ""
        rows = [TaxRow(describe(one.load, axes), one) for one in group]
        tables.append(TaxTable(f"{label}{contender} over {twin}", contender, rows))
    return TaxSection(tables, any(one.is_bound for one in own), notes(summary, own))


def notes(summary: Summary, taxes: list[Tax]) -> list[str]:
    """What a call into the system costs the servers' Python, and what that is of what Python costs."""
    found: list[str | None] = []
    for run in dict.fromkeys(one.run for one in taxes):
        calls = summary.foreign_calls.get(run, [])
        found += [calls_sentence(calls), *binding_sentences([one for one in taxes if one.run == run], calls)]
    return [text for text in found if text is not None]
