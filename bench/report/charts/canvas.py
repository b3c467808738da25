"""What all charts share: panels, the key, and how they are saved.

Figures are made without pyplot, which keeps global state; nothing here depends on time or place, so the same
records always give the same bytes.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.analysis.findings import load_of, rows_of
from bench.analysis.frames import LOAD
from bench.report import units
from bench.report.charts.style import INK, MARKED
from bench.report.load_words import describe

DPI = 150
_PNG = {"compress_level": 3}  # at the default of 6 a file is a tenth smaller, and takes half as long again
MAIN_WIDTH, LIGHT = 1.9, 0.45
RING: Any = {
    "linestyle": "none",
    "marker": "o",
    "markersize": 12.5,
    "markerfacecolor": "none",
    "markeredgecolor": MARKED,
    "markeredgewidth": 1.2,
    "clip_on": False,
}
_RC: Any = {  # matplotlib's type is a Literal of every key there is
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "svg.fonttype": "none",  # text stays text: it can be searched and read aloud
    "text.parse_math": False,  # a name may hold a dollar sign
    "svg.hashsalt": "iocpbench",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MARKED,
    "xtick.color": INK,
    "ytick.color": INK,
}


class Shown(NamedTuple):
    """What a chart is about: a column of `Findings.table`, and what its parts are called."""

    main: str
    label: str
    scale: units.Scale
    main_name: str
    light: str | None = None  # a second column, drawn thin
    light_name: str | None = None


def looks() -> AbstractContextManager[None]:
    """Within it figures are made and saved as all charts are."""
    return mpl.rc_context(_RC)


def png(drawn: Figure, dpi: int = 100, metadata: dict[str, str] | None = None) -> bytes:
    """The figure as the bytes of a PNG file, by default of a size for notebooks; `metadata` goes into it."""
    buffer = io.BytesIO()
    about = {"Software": None, **(metadata or {})}
    with looks():
        drawn.savefig(buffer, format="png", dpi=dpi, metadata=about, pil_kwargs=_PNG)
    return buffer.getvalue()


def save(drawn: Figure, path: Path) -> str:
    """Write `path`.svg and `path`.png; return the SVG's text."""
    buffer = io.StringIO()
    with looks(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name may be in any script
        drawn.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    path.with_name(f"{path.name}.png").write_bytes(png(drawn, DPI))
    path.with_name(f"{path.name}.svg").write_text(buffer.getvalue(), encoding="utf-8")
    return buffer.getvalue()


def panels(
    table: pd.DataFrame, labels: dict[str, str], x: str | None = None
) -> Iterator[tuple[str, pd.DataFrame]]:
    """The title and the rows of each run, and of each value of the load's axes other than `x`."""
    others = [name for name in LOAD if name != x and table[name].nunique() > 1]
    for key, part in table.groupby([*others, "run"], sort=False):
        words = [describe(load_of(rows_of(part.head(1))[0]), others)] if others else []
        words += [labels[str(key[-1])]] if len(labels) > 1 else []
        yield ", ".join(words), part


def key(drawn: Figure, table: pd.DataFrame, handles: list[Line2D]) -> None:
    """What the kinds of marks mean, above the panels; which is whose stands beside them."""
    codes = sorted({code for codes in table["disqualified"] for code in codes})
    if codes:
        handles = [*handles, Line2D([], [], **RING, label=", ".join(codes))]
    drawn.legend(handles=handles, loc="upper left", ncols=len(handles), frameon=False, fontsize=8.5)
