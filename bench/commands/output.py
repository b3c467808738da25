"""What commands print: tables on a terminal, the same as plain text in a pipe, JSON for programs."""

import math
import re
import sys
from collections.abc import Sequence
from typing import Any

from bench.errors import Exit, UserError

_BUDGET_UNITS_S = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print `rows`: wrapped to the terminal's width there, one line each in a pipe."""
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
        for row in (headers, *rows):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*headers, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False).print(table)


def print_json(value: Any) -> None:  # anything that msgspec encodes
    """Print `value` as JSON that a person can read, too."""
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def parse_list(text: str | None) -> list[str] | None:
    """`a,b` -> ["a", "b"]; None stays None."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def split_command(text: str) -> list[str]:
    """A command in parts, as this system's shell takes it. Raises ValueError where a quote isn't closed."""
    if sys.platform == "win32":
        from bench.host import win32

        return win32.split_command(text)
    import shlex

    return shlex.split(text)


def parse_counts(text: str | None, option: str) -> list[int] | None:
    """`1,10,100` -> [1, 10, 100]. Raises UserError where one is no whole number of at least 1."""
    if text is None:
        return None
    parts = parse_list(text) or [""]
    for part in parts:
        if not part.isdecimal() or int(part) < 1:
            raise UserError(f"{option}: {part!r} is not a whole number of at least 1", Exit.USAGE)
    return [int(part) for part in parts]


def parse_share(text: str | None, option: str, *, above_zero: bool = False) -> float | None:
    """`3%` -> 0.03. Raises UserError, also of 0 % where it is to be above that."""
    if text is None:
        return None
    number = text.strip().removesuffix("%").strip()
    try:
        share = float(number) / 100
    except ValueError:
        share = math.nan
    is_large_enough = share > 0 if above_zero else share >= 0
    if not text.strip().endswith("%") or not is_large_enough or not share < 10:
        which = "above 0%" if above_zero else "from 0% up"
        raise UserError(f"{option}: {text!r} is no percentage {which}: 3%, say", Exit.USAGE)
    return share


def parse_budget_s(text: str | None, option: str) -> float | None:
    """`5m` -> 300. Raises UserError."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h)", text.strip())
    if match is None or float(match[1]) == 0:
        raise UserError(f"{option}: {text!r} is no time above 0: 90s, 5m or 1h, say", Exit.USAGE)
    return float(match[1]) * _BUDGET_UNITS_S[match[2]]


def parse_target(target: str) -> tuple[str, int]:
    """`127.0.0.1:9000` -> its host and port. Raises UserError."""
    host, _, port = target.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise UserError(f"{target!r} is not HOST:PORT with a port from 1 to 65535", Exit.USAGE)
    return host, int(port)


def duration(seconds: float) -> str:
    """`0:42` or `1:02:03`: time that a person waits."""
    minutes, whole_seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole_seconds:02}" if hours else f"{minutes}:{whole_seconds:02}"
