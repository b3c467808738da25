"""Figures as people read them: three digits and a unit."""

import math

Scale = tuple[tuple[float, str], ...]

TIMES: Scale = ((1e9, " s"), (1e6, " ms"), (1e3, " µs"), (1, " ns"))
RATES: Scale = ((1e6, "M"), (1e3, "k"), (1, ""))
SIZES: Scale = ((1 << 30, " GiB"), (1 << 20, " MiB"), (1 << 10, " KiB"), (1, " B"))
SHARES: Scale = ((0.01, " %"),)  # of one
NOTHING = "-"


def time(nanoseconds: float | None) -> str:
    """`3.86 ms`; a dash where nothing was measured."""
    return _with_unit(nanoseconds, TIMES)


def rate(per_second: float | None) -> str:
    """`259k`: requests a second."""
    return _with_unit(per_second, RATES)


def size(count: int) -> str:
    """`64 B`, `1.62 GiB`, and `16 MiB` where it is just that."""
    factor, unit = next((known for known in SIZES if count >= known[0]), SIZES[-1])
    return _with_unit(count, SIZES) if count % factor else f"{count // int(factor)}{unit}"


def bandwidth(messages_per_s: float | None, message_bytes: int) -> str:
    """`1.62 GiB`: bytes a second, in each direction."""
    return NOTHING if messages_per_s is None else size(round(messages_per_s * message_bytes))


def share(value: float | None) -> str:
    """`99.8 %`."""
    return NOTHING if value is None else f"{value:.1%}".replace("%", " %")


def ratio(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """`2.67 (2.64-2.71)`: with as many decimals as the interval is fit for; alone without bounds."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if low is None or high is None:
        return digits(value)
    decimals = max(places((high - low) / 2), 1 if value < 10 else 0)
    return f"{value:.{decimals}f} ({low:.{decimals}f}-{high:.{decimals}f})"


def places(half_width: float) -> int:
    """How many decimals a figure is fit for, whose interval has this half width."""
    return max(math.ceil(-math.log10(max(half_width, 1e-3))), 0)


def tick(value: float, scale: Scale) -> str:
    """An axis's number, without digits that say nothing: `20 ms`."""
    factor, unit = next((known for known in scale if value >= known[0]), scale[-1])
    return f"{value / factor:g}{unit}"


def digits(value: float) -> str:
    """Three significant digits, and all digits of a whole number."""
    if value == 0 or value >= 100:
        return f"{value:.0f}"
    places = max(0, 2 - math.floor(math.log10(value) + 1e-9))
    return f"{value:.{min(places, 3)}f}"


def _with_unit(value: float | None, scale: Scale) -> str:
    if value is None or not math.isfinite(value):
        return NOTHING
    factor, unit = next((known for known in scale if value >= known[0]), scale[-1])
    number = f"{value / factor:.0f}" if factor == 1 else digits(value / factor)
    return f"{number}{unit}"
