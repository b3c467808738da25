"""Make what the documents show of the reference runs: `uv run python docs/refresh.py`.

Pictures go to docs/images. Texts go between `<!-- reference: NAME -->` and `<!-- /reference -->` in
README.md, docs/*.md and results/reference/README.md. Both are of the latest run of a suite in
results/reference; only what has changed is written. `--check` writes nothing, names what isn't current, and
then the exit code is 1.
"""

import argparse
import hashlib
import io
import re
import sys
import textwrap
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from bench.analysis.claims import Judgement, Verdict, judge
from bench.analysis.findings import Findings, find
from bench.errors import UserError
from bench.records.schema import Run
from bench.records.store import RunFolder, list_runs, resolve
from bench.report import claims
from bench.report.answer import answers
from bench.report.charts import canvas
from bench.report.drawing import draw_charts

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "docs/*.md", "results/reference/README.md")
WIDTH = 120  # of their lines
DPI = 110
# The same matplotlib draws the same but for a pixel here and there, where a CPU rounds differently.
DIFFERENCE_MAX = 0.001  # mean over all pixels, of the whole range
FIGURES_SHOWN = 6  # of a claim's evidence: the page has all


class Picture(NamedTuple):
    """A chart of the page: the suite whose reference run it is of, and what its file is called there."""

    suite: str
    chart: str


PICTURES = {
    "response-time": Picture("quick", "connections-response_time"),
    "request-rate": Picture("quick", "connections-request_rate"),
    "ratios": Picture("quick", "connections-ratio"),
    "distribution": Picture("quick", "connections-distribution"),
    "wandering": Picture("quick", "{run}-wandering"),
    "interpreter-tax": Picture("chapter", "connections-interpreter_tax"),
    "idle": Picture("idle", "idle-cpu_per_request"),
    "memory": Picture("idle", "idle-memory_per_connection"),
    "offered-load": Picture("load", "load-offered_load"),
    "threads": Picture("threads", "threads-settings"),
    "wine": Picture("wine", "connections-wine-response_time"),
}


class Reference:
    """A suite's reference run, with what is found in it."""

    def __init__(self, suite: str, folder: Path) -> None:
        self.folder = RunFolder.open(resolve(suite, folder))

    @cached_property
    def findings(self) -> Findings:
        """Computed once: of the whole chapter that takes seconds."""
        return find([self.folder])

    @cached_property
    def charts(self) -> dict[str, Figure]:
        """Every chart of its page."""
        return draw_charts(self.findings)

    def png(self, chart: str) -> bytes:
        """A chart, with what it was drawn from and by what. Raises UserError where the run has none such."""
        chart = chart.format(run=self.folder.path.name)
        if chart not in self.charts:
            has = ", ".join(self.charts) or "none"
            raise UserError(f"{self.folder.path} has no chart {chart}; it has: {has}")
        source = hashlib.sha256(self.folder.cells_file.read_bytes()).hexdigest()
        metadata = {"Software": f"matplotlib {mpl.__version__}", "Source": f"{chart} {source}"}
        return canvas.png(self.charts[chart], DPI, metadata)


class References(dict[str, Reference]):
    """The reference runs in a folder, by suite, each opened when it is asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __missing__(self, suite: str) -> Reference:
        self[suite] = Reference(suite, self.folder)
        return self[suite]


def main() -> int:
    """Refresh or check; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where something isn't current")
    parser.add_argument("--suites", help="only pictures of these, with commas between")
    parser.add_argument("--root", type=Path, default=ROOT, help="another checkout")
    parser.add_argument("--reference", type=Path, help="another folder of runs")
    options = parser.parse_args()
    runs = References(options.reference or options.root / "results" / "reference")
    try:
        asked = options.suites.split(",") if options.suites else {one.suite for one in PICTURES.values()}
        stale = dict(_stale(options.root, runs, asked))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    for path, content in stale.items():
        print(path.relative_to(options.root))
        if not options.check:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
    return 1 if stale and options.check else 0


def _stale(root: Path, runs: References, suites: Collection[str]) -> Iterator[tuple[Path, bytes]]:
    """The files that aren't current, and what they should hold; of the pictures only those of `suites`."""
    present = {path.stem for path in (root / "docs" / "images").glob("*.png")}
    if strange := present - PICTURES.keys():
        raise UserError(f"docs/images has pictures that nothing makes: {', '.join(sorted(strange))}")
    for name, picture in PICTURES.items():
        if picture.suite not in suites:
            continue
        path = root / "docs" / "images" / f"{name}.png"
        fresh = runs[picture.suite].png(picture.chart)
        if not path.exists() or not _same(path.read_bytes(), fresh):
            yield path, fresh
    for path in [path for pattern in DOCUMENTS for path in sorted(root.glob(pattern))]:
        before = path.read_text(encoding="utf-8")
        after = with_texts(before, runs)
        if after != before:
            yield path, after.encode()


def with_texts(document: str, runs: References) -> str:
    """The document with the texts between its markers made anew. Raises UserError for an unknown name."""

    def fresh(match: re.Match[str]) -> str:
        if match[1] not in TEXTS:
            raise UserError(f"no text is called {match[1]}: known are {', '.join(TEXTS)}")
        return f"<!-- reference: {match[1]} -->\n\n{TEXTS[match[1]](runs)}\n\n<!-- /reference -->"

    return re.sub(r"<!-- reference: (\S+) -->\n.*?<!-- /reference -->", fresh, document, flags=re.DOTALL)


def answer(runs: References) -> str:
    """What the page of `quick` answers, quoted, and on what machine that was."""
    quick = runs["quick"]
    sentences = [one.sentence for one in answers(quick.findings)]
    quoted = textwrap.fill(" ".join(sentences), WIDTH, initial_indent="> ", subsequent_indent="> ")
    return f"{quoted}\n\n{textwrap.fill(f'That was {_machine(quick.folder.run)}; yours will differ.', WIDTH)}"


def machine(runs: References) -> str:
    """What the reference runs were measured on."""
    return textwrap.fill(f"The pictures are of runs on {_machine(runs['quick'].folder.run)}.", WIDTH)


def verdicts(runs: References) -> str:
    """A row for each claim: what came of it, and the figures that say so."""
    findings = runs["chapter"].findings
    names = set(findings.cells["contender"])
    rows = [f"| {one.claim} | {one.verdict.value} | {_found(one, names)} |" for one in judge(findings)]
    where = textwrap.fill(f"On {_machine(runs['chapter'].folder.run)}:", WIDTH)
    return "\n".join([where, "", "| | verdict | what was found |", "| --- | --- | --- |", *rows])


def list_of_runs(runs: References) -> str:
    """A row for each reference run: what it is of, and where and when it was measured."""
    rows = [
        f"| `{one.path.name}` | {one.run.suite['title']} | {_servers(one.run)} | {_host(one.run)} "
        f"| {datetime.fromisoformat(one.run.started_at):%Y-%m-%d} |"
        for one in reversed(list_runs(runs.folder))
    ]
    headers = ["run", "suite", "servers", "machine", "date"]
    return "\n".join([f"| {' | '.join(headers)} |", "| --- " * len(headers) + "|", *rows])


TEXTS: dict[str, Callable[[References], str]] = {
    "answer": answer,
    "machine": machine,
    "runs": list_of_runs,
    "verdicts": verdicts,
}


def _found(judgement: Judgement, contenders: Collection[str]) -> str:
    """The reasons, and of the figures that decide the first, a line for each quantity."""
    lines = [claims.reasons(judgement)]
    deciding = [one for one in judgement.evidence if one.decides]
    if judgement.verdict is not Verdict.NOT_MEASURED:
        for quantity, figures in groupby(deciding[:FIGURES_SHOWN], key=lambda one: one.quantity):
            lines.append(f"{quantity}: {'; '.join(f'{one.what} {claims.figure(one)}' for one in figures)}")
        more = len(deciding) - FIGURES_SHOWN
        lines += [f"and {more} more figures"] if more > 0 else []
    sentences = [
        line if line.split()[0] in contenders else line[0].upper() + line[1:] for line in lines if line
    ]
    return "<br>".join(sentences).replace("|", "\\|")


def _servers(run: Run) -> str:
    """The system and the Python of the servers."""
    if run.server_python is None:
        return f"{run.environment['system']}, {run.environment['python']}"
    return f"{run.server_python.system}, {run.server_python.interpreter}"


def _machine(run: Run) -> str:
    cpu, *others = _host(run).split(", ")
    started = datetime.fromisoformat(run.started_at)
    return f"a machine with {cpu} ({', '.join(others)}) in {started:%B %Y}"


def _host(run: Run) -> str:
    """`2 CPUs, AMD EPYC, Linux 6.18, CPython 3.11.7`."""
    environment = run.environment
    cpu = environment["cpu"]
    assert isinstance(cpu, dict)
    kernel = ".".join(str(environment["kernel"]).split("-")[0].split(".")[:2])
    system = f"{str(environment['system']).capitalize()} {kernel}"
    return f"{cpu['allowed']} CPUs, {cpu['model']}, {system}, {environment['python']}"


def _same(before: bytes, after: bytes) -> bool:
    """Whether two pictures are of the same records and, if the same matplotlib drew them, look the same."""
    pictures = [Image.open(io.BytesIO(content)) for content in (before, after)]
    sources, drawn_by = ([picture.info.get(key) for picture in pictures] for key in ("Source", "Software"))
    if sources[0] != sources[1] or pictures[0].size != pictures[1].size:
        return False
    pixels = [np.asarray(picture.convert("RGB"), dtype=float) / 255 for picture in pictures]
    return drawn_by[0] != drawn_by[1] or bool(np.abs(pixels[0] - pixels[1]).mean() < DIFFERENCE_MAX)


if __name__ == "__main__":
    sys.exit(main())
