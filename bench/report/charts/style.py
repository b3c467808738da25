"""How a contender looks, the same in every chart: colour by model, marker by model, dashes for C.

Colours are Okabe and Ito's and Tol's, which colour-blind people tell apart; markers do the same for a page
that is printed in black and white. A C twin has its model's colour, dashed and hollow: a pair is seen as one.
"""

import zlib
from typing import NamedTuple

import pandas as pd

INK, GRID, MARKED = "#1f2933", "#dfe3e8", "#7b8794"

_MODELS = {
    "threads": ("#4a4a4a", "s"),
    "select": ("#e69f00", "^"),
    "poll": ("#009e73", "D"),
    "epoll": ("#0072b2", "o"),
    "iocp": ("#d55e00", "o"),
    "io_uring": ("#882255", "P"),
    "overlapped": ("#cc79a7", "s"),
    "selectors": ("#56b4e9", "v"),
    "wsapoll": ("#117733", "D"),
    "wsaeventselect": ("#999933", "^"),
    "asyncio_streams": ("#aa4499", "X"),
    "asyncio_protocol": ("#332288", "p"),
    "asyncio_sockets": ("#ee3377", "d"),
    "trio": ("#b8860b", "*"),
    "anyio": ("#44aa99", "<"),
    "gevent": ("#cc6677", ">"),
    "tornado": ("#6699cc", "h"),
    "twisted": ("#994455", "d"),
}
_OTHER_COLOURS = ("#cc6677", "#44aa99", "#6699cc", "#994455", "#997700", "#004488")
_OTHER_MARKERS = ("h", "<", ">", "d", "*", "p")
_VARIANT_MARKERS = ("v", "<", ">", "h", "d", "P", "*")


class Style(NamedTuple):
    """A contender's looks."""

    colour: str
    marker: str
    dashed: bool
    hollow: bool


def styles(table: pd.DataFrame) -> dict[str, Style]:
    """The looks of each contender in `table` (columns contender, model, implementation).

    Contenders of the same model and implementation share the colour and differ in marker.
    """
    seen: dict[tuple[str, bool], int] = {}
    looks = {}
    for contender, model, implementation in (
        table[["contender", "model", "implementation"]].drop_duplicates().itertuples(index=False, name=None)
    ):
        is_c = implementation == "c"
        name = model if isinstance(model, str) else contender  # a command has no model
        colour, marker = _of_model(name)
        variant = seen.get((name, is_c), 0)
        seen[name, is_c] = variant + 1
        if variant:
            marker = _VARIANT_MARKERS[(variant - 1) % len(_VARIANT_MARKERS)]
        looks[contender] = Style(colour, marker, dashed=is_c, hollow=is_c)
    return looks


def _of_model(name: str) -> tuple[str, str]:
    """Known models have their own; another's name always gives the same."""
    if name in _MODELS:
        return _MODELS[name]
    number = zlib.crc32(name.encode())
    return _OTHER_COLOURS[number % len(_OTHER_COLOURS)], _OTHER_MARKERS[number // 7 % len(_OTHER_MARKERS)]


def lightened(colour: str, share: float = 0.35) -> str:
    """So much of the colour on white. Unlike a transparent one it hides what is behind it."""
    parts = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(255 - share * (255 - part)):02x}" for part in parts)
