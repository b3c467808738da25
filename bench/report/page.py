"""`report.html`: the answer, the charts, every figure with its interval, and what the figures rest on.

One file that can be passed on: charts are inline SVG, styles are inside, nothing is loaded from anywhere. It
is whole without scripts; its own little one lets tables be sorted and rows be chosen, and no other can run:
the page's policy names it by its hash. Each section is a template of its own.
"""

import base64
import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from bench.analysis.findings import Findings, find
from bench.analysis.memory import Memory
from bench.analysis.names import slug, visible
from bench.plan.suite import Quantity
from bench.records.store import RunFolder, replace_file
from bench.report import (
    about,
    capacity,
    claims,
    colours,
    inline_svg,
    memory,
    precision,
    ratio,
    tax_section,
    terminal,
    tuning,
    units,
    unread,
)
from bench.report import summary as summaries
from bench.report.answer import varying_loads
from bench.report.charts import canvas, memory_per_connection, settings, wandering
from bench.report.charts import interpreter_tax as tax_chart
from bench.report.charts.style import styles
from bench.report.drawing import CHARTS, draw_charts, file_name
from bench.report.judging import JUDGINGS, Judging
from bench.report.load_words import describe
from bench.report.marks import faults, meaning
from bench.report.ratio import Ratio
from bench.report.summary import Problem, Row, Summary, apart, marked_cells, problems_apart

PAGE_FILE, CHARTS_FOLDER = "report.html", "charts"

_TEMPLATES = Path(__file__).parent / "templates"
_SCRIPT_FILE = "page.js"
_OF_THE_MACHINE = "The rate of the same program under the same load, over the time of the run."
_PLOT_MARGIN = 0.06  # of the small interval plots, so that a dot at the end is whole
# What sections are called that aren't an experiment's: one of the same name gets another anchor.
_ANCHORS = frozenset(
    ("answer", "claims", "contents", "marks", "problems", "environment", "method", "reproduce", "data")
)


class Chart(NamedTuple):
    """A chart in the page."""

    name: str  # of its files
    subject: str  # NAME of its module
    title: str
    read: str
    svg: Markup
    experiment: str


class Section(NamedTuple):
    """The rows of one load, of one run."""

    title: str
    rows: list[Row]


class Part(NamedTuple):
    """What the page says about one experiment."""

    name: str
    anchor: str
    question: str
    sentences: list[str]
    best: list[str]  # of all runs, where there is one
    charts: list[Chart]  # the one that answers the question in front
    sections: list[Section]
    wine_charts: list[Chart]
    wine_sections: list[Section]  # of Windows code under Wine, which is compared with nothing
    wine_runs: int
    wine_faults: bool  # whether one of them has a mark that speaks against the code
    reference: str
    judging: Judging | None  # None where nothing is compared
    other_ratios: dict[Quantity, Judging]  # beside that of what it is judged by
    systems: int
    span: tuple[float, float]  # logarithms at the ends of the interval plots
    columns: list[summaries.Column]
    tuned: list[tuning.TunedRows]
    tuned_notes: list[str]
    memories: dict[str, list[Memory]]
    capacities: list[capacity.CapacityRow]
    capacity_title: str
    tax: tax_section.TaxSection | None
    tax_chart: Chart | None

    @property
    def has_figures(self) -> bool:
        """Whether it has a section of its own."""
        return bool(self.charts or self.sections or self.capacities)

    @property
    def link(self) -> str | None:
        """The anchor of its first section; None where nothing was measured."""
        if self.has_figures:
            return self.anchor
        return f"{self.anchor}-wine" if self.wine_sections else None

    @property
    def all_charts(self) -> list[Chart]:
        """Every chart, in the page's order."""
        return [*self.charts, *([self.tax_chart] if self.tax_chart else []), *self.wine_charts]


def write(
    folders: Sequence[RunFolder],
    out: Path | None = None,
    *,
    findings: Findings | None = None,
    summary: Summary | None = None,
) -> Path:
    """Write the page and its charts into `out`, by default the first run's folder; return the page's path.

    `findings` are those of `folders`, and `summary` is theirs, where they are known already.
    """
    findings = findings or find(folders)
    target = out or folders[0].path
    charts_folder = target / CHARTS_FOLDER
    charts_folder.mkdir(parents=True, exist_ok=True)
    summary = summary or summaries.of(findings)
    figures = draw_charts(findings)
    parts = [_part(summary, name, figures, charts_folder) for name in _experiments(findings)]
    wanderings = {
        run: list(_charts(figures, run, charts_folder, _OF_THE_MACHINE, [wandering]))
        for run in findings.suites
    }
    path = target / PAGE_FILE
    fresh = path.with_name(f"{PAGE_FILE}.new")
    fresh.write_text(_render(findings, summary, parts, wanderings, target), encoding="utf-8")
    replace_file(fresh, path)
    return path


def _render(
    findings: Findings, summary: Summary, parts: list[Part], wanderings: dict[str, list[Chart]], target: Path
) -> str:
    """The page's text."""
    problems, elsewhere = problems_apart(summary)
    charts = [chart for part in parts for chart in part.all_charts]
    charts += [chart for own in wanderings.values() for chart in own]
    marked = marked_cells(summary.rows)
    swatches = {
        name: colours.variable(style.colour, is_text=False) for name, style in styles(findings.table).items()
    }
    coloured = [*(chart.svg for chart in charts), *swatches.values()]
    script = (_TEMPLATES / _SCRIPT_FILE).read_text(encoding="utf-8")
    return (
        _templates()
        .get_template("page.html")
        .render(
            summary=summary,
            judgements=summaries.shown_judgements(summary),
            parts=parts,
            main=next(iter(parts[0].charts), None) if parts else None,
            charts=charts,
            wanderings=wanderings,
            marks={code: meaning(code) for code in marked},
            marked=marked,
            problems=problems,
            elsewhere=terminal.not_of_this_system(elsewhere),
            unread=unread.sentences(summary.unread, summary.labels),
            runs=[about.of(folder, findings, target) for folder in findings.folders],
            colours=swatches,
            grounds=colours.GROUNDS,
            definitions={theme: colours.definitions(coloured, theme) for theme in colours.GROUNDS},
            script=Markup(script),  # noqa: S704 - our own
            script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        )
    )


def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_visible,
    )
    environment.filters.update(time=units.time, rate=units.rate, ratio=ratio.text, slug=slug, code=_code)
    environment.globals.update(
        where=_where,
        capacity_headers=capacity.HEADERS,
        memory=memory,
        claims=claims,
        precision=precision,
        tuning_title=tuning.TITLE,
        tuning_headers=tuning.HEADERS,
        unread_title=unread.TITLE,
        plot=_plot,
        uneven=terminal.uneven,
        mark_title=lambda code: meaning(code).fact,
        faults=faults,
    )
    return environment


def _visible(value: Any) -> Any:  # whatever a template writes
    return visible(value) if type(value) is str else value  # Markup is the page's own


def _code(text: str) -> Markup:
    """`text` with what stands in backticks set as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(visible(text)))))  # noqa: S704 - escaped


def _experiments(findings: Findings) -> list[str]:
    names = (experiment.name for suite in findings.suites.values() for experiment in suite.experiment)
    return list(dict.fromkeys(names))


def _part(summary: Summary, name: str, figures: dict[str, Figure], folder: Path) -> Part:
    rows, under_wine = apart([row for row in summary.rows if row.experiment == name])
    answers = [answer for answer in summary.answers if answer.experiment == name]
    searched = [one for one in summary.capacities if one.experiment == name]
    tuned = [one for one in summary.tuned if one.experiment == name]
    several = len(summary.labels) > 1
    sentences = [
        f"{summary.labels[answer.run]}: {answer.sentence}" if several else answer.sentence
        for answer in answers
    ]
    words = " ".join(sentences)
    runs = {row.run for row in rows}
    references = {own[name] for run, own in summary.references.items() if run in runs and name in own}
    return Part(
        name=name,
        anchor=f"{slug(name)}-experiment" if name in _ANCHORS else slug(name),
        question=answers[0].question,
        sentences=sentences,
        best=answers[0].best if len(answers) == 1 else [],
        charts=_main_first(list(_charts(figures, name, folder, words)), rows),
        sections=list(_sections(rows, summary)),
        wine_charts=list(_charts(figures, f"{name}-wine", folder, "Under Wine, which ranks nothing.")),
        wine_sections=list(_sections(under_wine, summary)),
        wine_runs=len({row.run for row in under_wine}),
        wine_faults=any(faults(row.marks) for row in under_wine),
        reference=references.pop() if len(references) == 1 else "the reference",
        judging=JUDGINGS[rows[0].judged_by] if rows else None,
        other_ratios={
            quantity: judging
            for quantity, judging in JUDGINGS.items()
            if any(row.ratio_of(quantity) and row.judged_by != quantity for row in rows)
            and not (quantity == "request_rate" and all(row.load.offered_per_s for row in rows))
        },
        systems=len({row.system for row in rows}),
        span=_span(rows),
        columns=summaries.columns_asked_for(rows),
        tuned=tuning.by_load(tuned, summary.labels),
        tuned_notes=tuning.notes(tuned),
        memories=memory.titles([one for one in summary.memories if one.experiment == name], summary.labels),
        capacities=capacity.rows(searched),
        capacity_title=capacity.title(searched) if searched else "",
        tax=tax_section.section(summary, name),
        tax_chart=next(_charts(figures, name, folder, words, [tax_chart]), None),
    )


def _main_first(charts: list[Chart], rows: Sequence[Row]) -> list[Chart]:
    """In front what the experiment asks: settings, memory of a crowd, or what contenders are judged by."""
    if not charts or not rows or charts[0].subject not in JUDGINGS:
        return charts
    asked = {settings.NAME}
    if len({row.load for row in rows}) == 1:  # otherwise it asks what more of them cost
        asked.add(memory_per_connection.NAME)
    main = next((chart.subject for chart in charts if chart.subject in asked), rows[0].judged_by)
    return sorted(charts, key=lambda chart: chart.subject != main)


def _charts(
    figures: dict[str, Figure],
    experiment: str,
    folder: Path,
    words: str,
    charts: Sequence[ModuleType] = CHARTS,
) -> Iterator[Chart]:
    """Save the charts of an experiment. `words` say what they show, to who can't see them."""
    for chart in charts:
        name = file_name(experiment, chart)
        if name in figures:
            text = canvas.save(figures[name], folder / name)
            svg = inline_svg.element(text, name, visible(f"{chart.TITLE}. {words}"))
            yield Chart(name, chart.NAME, chart.TITLE, chart.READ, svg, experiment)


def _sections(rows: Sequence[Row], summary: Summary) -> Iterator[Section]:
    axes = varying_loads([row.load for row in rows])
    for (load, run), group in groupby(rows, key=lambda row: (row.load, row.run)):
        label = f"{summary.labels[run]}, " if len(summary.labels) > 1 else ""
        yield Section(label + describe(load, axes), list(group))


def _span(rows: Sequence[Row]) -> tuple[float, float]:
    """The logarithms of the smallest and largest bound, with 1 between them and room for a dot."""
    found = [row.judged for row in rows if row.judged is not None]
    bounds = [1.0, *(bound for one in found for bound in (one.ratio, one.low, one.high) if bound)]
    low, high = math.log(min(bounds)), math.log(max(bounds))
    margin = max(high - low, 0.1) * _PLOT_MARGIN
    return low - margin, high + margin


def _plot(found: Ratio | None, span: tuple[float, float]) -> dict[str, float]:
    """Where 1, dot and whisker of a small interval plot are, in percent of its width."""

    def place(value: float) -> float:
        return round(100 * (math.log(value) - span[0]) / (span[1] - span[0]), 2)

    if found is None or not found.ratio:
        return {"one": place(1)}
    low, high = place(found.low or found.ratio), place(found.high or found.ratio)
    return {"one": place(1), "at": place(found.ratio), "low": low, "width": round(high - low, 2)}


def _where(problem: Problem) -> str:
    return "; ".join(describe(load, varying_loads(problem.loads)) for load in problem.loads)
