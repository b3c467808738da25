"""Tables in sections on a terminal, where a narrow one leaves columns out, and as plain lines in a pipe."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

_GAP = "  "
NUMBERS = frozenset(
    ("median", "p99", "req/s", "echoes", "first echo", "first echo p99", "bytes/s", "reached")
)


class Line(NamedTuple):
    """A row's cells, under the headers; `is_dim` where all but those under `bright` are beside the point."""

    cells: list[str]
    is_dim: bool = False
    bright: frozenset[str] = frozenset()


def print_sections(
    console: Console,
    headers: Sequence[str],
    sections: Mapping[str, Sequence[Line]],
    spared: Sequence[str] = (),
    *,
    of_sections: str = "load",
    numbers: frozenset[str] = NUMBERS,
) -> None:
    """Print `sections` by their titles, which a pipe has in a column called `of_sections`.

    `spared` names the headers that a narrow terminal does without, the first of these first; `numbers` those
    whose cells end at the same place.
    """
    if not console.is_terminal:
        lines = [[title, *line.cells] for title, own in sections.items() for line in own]
        print_plain(console, [of_sections, *headers], lines)
        return
    kept = _columns_that_fit(headers, sections, spared, console.width)
    shown = {
        title: [line._replace(cells=[line.cells[i] for i in kept]) for line in own]
        for title, own in sections.items()
    }
    _print_parts(console, [headers[i] for i in kept], shown, numbers)
    if left_out := [header for i, header in enumerate(headers) if i not in kept]:
        console.print(Text(f"no room for {', '.join(left_out)}: see the page", style="dim"))


def print_plain(console: Console, headers: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print a line each, columns under each other."""
    every = [headers, *lines]
    widths = [max(map(len, column)) for column in zip(*every, strict=True)]
    for line in every:
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        console.print(Text(text.rstrip()), soft_wrap=True)


def _columns_that_fit(
    headers: Sequence[str], sections: Mapping[str, Sequence[Line]], spared: Sequence[str], room: int
) -> list[int]:
    """The places of `headers` that stay where the table has `room` characters."""
    every = [list(headers), *(line.cells for own in sections.values() for line in own)]
    # Marks take several lines where they must; a single one is whole.
    widths = {
        header: max(
            len(part) for cell in column for part in (cell.split(",") if header == "marks" else [cell])
        )
        for header, column in zip(headers, zip(*every, strict=True), strict=True)
    }
    chosen = [header for header in headers if header not in spared]
    for header in reversed(spared):
        wider = [*chosen, *([header] if header in headers else [])]
        if sum(widths[name] for name in wider) + len(_GAP) * (len(wider) - 1) <= room:
            chosen = wider
    return [place for place, header in enumerate(headers) if header in chosen]


def _print_parts(
    console: Console,
    headers: Sequence[str],
    sections: Mapping[str, Sequence[Line]],
    numbers: frozenset[str],
) -> None:
    """A table a section, of the same widths: a section's title, as long as it may be, is no cell of them."""
    every = [list(headers), *(line.cells for own in sections.values() for line in own)]
    widths = [max(map(len, column)) for column in zip(*every, strict=True)]

    def table(*, has_header: bool) -> Table:
        made = Table(
            box=None, pad_edge=False, padding=(0, len(_GAP), 0, 0), header_style="dim", show_header=has_header
        )
        for header, width in zip(headers, widths, strict=True):
            is_marks = header == "marks"  # which take the room that is left
            made.add_column(
                header,
                justify="right" if header in numbers else "left",
                no_wrap=not is_marks,
                width=None if is_marks else width,
            )
        return made

    console.print(table(has_header=True))
    for title, lines in sections.items():
        console.print(Text(title, style="bold"))
        part = table(has_header=False)
        for line in lines:
            part.add_row(
                *(
                    Text(cell, style="dim" if line.is_dim and header not in line.bright else "")
                    for header, cell in zip(headers, line.cells, strict=True)
                )
            )
        console.print(part)
