"""Colours of the page: a contender's in light and in dark, as a line and as a word, with enough contrast.

Charts are drawn once, in the colours of paper. In the page each of those is a custom property of CSS that has
another value where it is dark, and where a word is written in it.
"""

import re
from collections.abc import Iterable

from bench.report.charts.style import GRID, INK, MARKED

GROUNDS = {"light": "#ffffff", "dark": "#1d232a"}  # of cards, which hold charts and tables
CONTRAST = 4.5  # WCAG 2.2, 1.4.3; more than lines need, of which some are thin
_FRAME = {"#ffffff": "--card", INK: "--ink", GRID: "--line", MARKED: "--faint"}
_STEPS = 50
_VARIABLE = re.compile(r"var\(--([cw])([0-9a-f]{6})\)")


def variable(colour: str, *, is_text: bool) -> str:
    """The custom property that stands for `colour` (`#rrggbb`) in the page."""
    if colour == MARKED and is_text:
        return "var(--soft)"
    if colour in _FRAME:
        return f"var({_FRAME[colour]})"
    return f"var(--{'w' if is_text else 'c'}{colour[1:]})"


def definitions(texts: Iterable[str], theme: str) -> str:
    """The declarations of all variables that `texts` name. `theme` is a key of GROUNDS.

    A line keeps its colour on white, by which charts have it everywhere.
    """
    used = sorted({found for text in texts for found in _VARIABLE.findall(text)})
    ground = GROUNDS[theme]
    parts = []
    for kind, digits in used:
        is_kept = kind == "c" and theme == "light"
        colour = f"#{digits}" if is_kept else readable(f"#{digits}", ground, CONTRAST)
        parts.append(f"--{kind}{digits}: {colour};")
    return " ".join(parts)


def readable(colour: str, ground: str, least: float) -> str:
    """The colour nearest to `colour`, towards black or white, that has the contrast `least` with `ground`."""
    towards = max((0, 255), key=lambda end: contrast(_hex((end, end, end)), ground))
    for step in range(_STEPS + 1):
        share = step / _STEPS
        mixed = _hex(tuple(round(part + share * (towards - part)) for part in _parts(colour)))
        if contrast(mixed, ground) >= least:
            return mixed
    return _hex((towards, towards, towards))


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, from 1 to 21: WCAG 2.2, contrast ratio."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    shares = [part / 255 for part in _parts(colour)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _parts(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))


def _hex(parts: tuple[int, ...]) -> str:
    return f"#{bytes(parts).hex()}"
