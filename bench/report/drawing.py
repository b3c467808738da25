"""Which charts a report has: those that answer what an experiment asks, and how the machine was meanwhile.

What ran under Wine has one of its own, and is in no other. What a chart would only repeat it leaves out:
several rates are shown as offered load, settings of one contender against its default.
"""

from collections.abc import Iterator, Sequence
from types import ModuleType

import pandas as pd
from matplotlib.figure import Figure

from bench.analysis.findings import Findings
from bench.analysis.memory import Memory, memories
from bench.analysis.names import slug
from bench.analysis.tuning import settings as settings_of
from bench.analysis.wandering import wandering as wandering_of
from bench.report import interpreter_tax
from bench.report.charts import (
    bandwidth,
    cpu_per_request,
    distribution,
    fairness,
    first_echo_time,
    memory_per_connection,
    offered_load,
    ratio,
    request_rate,
    response_time,
    settings,
    wandering,
)
from bench.report.charts import interpreter_tax as tax_chart
from bench.report.interpreter_tax import Tax
from bench.report.judging import JUDGINGS, Judging

# In the order of the page. The tax has a section, and `wandering` is of a run instead of an experiment.
CHARTS = (
    first_echo_time,
    response_time,
    offered_load,
    request_rate,
    bandwidth,
    cpu_per_request,
    ratio,
    settings,
    distribution,
    fairness,
    memory_per_connection,
)
Drawn = tuple[ModuleType, Figure]


def draw_charts(findings: Findings) -> dict[str, Figure]:
    """Every chart, by the name of its file: `EXPERIMENT-CHART`, and `RUN-wandering`."""
    drawn: dict[str, Figure] = {}
    taxes, crowds = interpreter_tax.taxes(findings), memories(findings)
    for name in dict.fromkeys(experiment for _, experiment in findings.quantities):
        table = findings.table[findings.table["experiment"] == name]
        under_wine = table["wine"].astype(bool)
        native = table[~under_wine]
        alone = set(table.loc[under_wine, "run"]) - set(native.loc[native["competes"], "run"])
        native = native[~native["run"].isin(alone)]  # whose yardstick has nobody beside it
        own_taxes = [one for one in taxes if one.is_asked and one.experiment == name]
        own_crowds = [one for one in crowds if one.experiment == name and one.run in set(native["run"])]
        for chart, figure in _of_experiment(findings, name, native, own_taxes, own_crowds):
            drawn[file_name(name, chart)] = figure
        shown = table[under_wine].copy()
        shown["disqualified"] = shown["disqualified"].map(lambda _: [])  # all are: a ring tells nothing
        if response_time.applies(shown):
            labels = _labels(findings, shown)
            drawn[file_name(f"{name}-wine", response_time)] = response_time.draw(shown, labels)
    moved = wandering_of(findings)
    for run, own in moved.groupby("run", sort=False):
        if wandering.applies(own):
            drawn[file_name(str(run), wandering)] = wandering.draw(own)
    return drawn


def file_name(of: str, chart: ModuleType) -> str:
    """What a chart of an experiment, or of a run, is called."""
    return f"{slug(of)}-{chart.NAME}"


def _of_experiment(
    findings: Findings, name: str, native: pd.DataFrame, taxes: Sequence[Tax], crowds: Sequence[Memory]
) -> Iterator[Drawn]:
    """What Python costs over C is drawn where twins compete: the yardstick alone would draw it everywhere."""
    labels = _labels(findings, native)
    if taxes:
        yield tax_chart, tax_chart.draw(taxes, native, findings.labels)
    for chart in _by_load(native, has_taxes=bool(taxes)):
        yield chart, chart.draw(native, labels)
    yield from _compared(findings, name, native, labels)
    if distribution.applies(native):
        cells = findings.cells[findings.cells["experiment"] == name]
        yield distribution, distribution.draw(cells, native, labels)
    if crowds:
        yield memory_per_connection, memory_per_connection.draw(crowds, native, findings.labels)


def _by_load(native: pd.DataFrame, *, has_taxes: bool) -> Iterator[ModuleType]:
    """Charts of a quantity against the load."""
    offers = offered_load.applies(native)
    chosen = [
        (first_echo_time, True),
        (response_time, not offers),
        (offered_load, True),
        (request_rate, not offers),
        (bandwidth, True),
        (cpu_per_request, not has_taxes),
        (fairness, True),
    ]
    return (chart for chart, says_more in chosen if says_more and chart.applies(native))


def _compared(findings: Findings, name: str, native: pd.DataFrame, labels: dict[str, str]) -> Iterator[Drawn]:
    """Ratios to the reference; where all contenders come in several settings, to their defaults instead."""
    judging = _judging(findings, name)
    same = [
        run for (run, of), column in findings.quantities.items() if (of, column) == (name, judging.column)
    ]
    own = native[native["run"].isin(same)]
    competing = own[own["competes"].astype(bool)]
    if settings.applies(competing):
        gains = settings_of(findings.cells, findings.slices, competing, findings.quantities, findings.levels)
        yield settings, settings.draw(gains, competing, labels, judging)
    if competing["variant_of"].isna().any():
        is_asked = (findings.ratios["experiment"] == name) & (findings.ratios["quantity"] == judging.column)
        if ratio.applies(found := findings.ratios[is_asked], own):
            yield ratio, ratio.draw(found, own, labels, judging)


def _judging(findings: Findings, name: str) -> Judging:
    """What an experiment is judged by: in the last run, where runs differ."""
    column = [column for (_, experiment), column in findings.quantities.items() if experiment == name][-1]
    return next(judging for judging in JUDGINGS.values() if judging.column == column)


def _labels(findings: Findings, table: pd.DataFrame) -> dict[str, str]:
    shown = set(table["run"])
    return {run: label for run, label in findings.labels.items() if run in shown}
