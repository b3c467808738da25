"""Python over C, a row for each model and load: CPU time of the server beside response time."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from bench.report.answer import varying_loads
from bench.report.charts import rows
from bench.report.charts.rows import Band, Panel, Point, Row
from bench.report.charts.style import styles
from bench.report.interpreter_tax import Tax
from bench.report.load_words import describe

NAME, TITLE = "interpreter_tax", "Interpreter tax: Python over its twin in C"
READ = (
    "How many times as much Python takes as the same model in C: the server's CPU time for a request, and "
    "the median response time, which also holds what kernel and generator take for either. Lines are 95 % "
    "intervals; an arrow says that C could do more than the generator asked for. What is grey has a mark "
    "that keeps it out of the answer."
)


def draw(taxes: Sequence[Tax], table: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """The chart of one experiment's pairs, as they are ordered; `table` and `labels` are `Findings`'."""
    axes_of_load = varying_loads([one.load for one in taxes])
    names = [f"{labels[one.run]}: {one.contender}" if len(labels) > 1 else one.contender for one in taxes]
    beside = [
        Row(one.contender, name, describe(one.load, axes_of_load))
        for one, name in zip(taxes, names, strict=True)
    ]
    cpu = [
        Point(place, one.cpu, not one.is_cpu_fit)
        for place, one in enumerate(taxes)
        if one.cpu is not None and one.cpu.ratio > 0
    ]
    response_time = [
        Point(place, one.response_time, not one.is_fit, one.is_bound)
        for place, one in enumerate(taxes)
        if one.response_time is not None and one.response_time.ratio > 0
    ]
    panels = [Panel("server CPU time for a request", cpu), Panel("median response time", response_time)]
    codes = {code for one in taxes if not one.is_fit for code in one.marks if code != "uneven"}
    band = Band(beside, panels, "times what it takes in C")
    return rows.figure([band], styles(table), sorted(codes), "Python over C")
