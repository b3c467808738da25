"""Numbers beside a logarithmic axis: round ones, and enough of them where the axis is short."""

import math

_NEARLY_EVEN = 3.0  # of an axis, as a factor: up to it steps of equal size are nearly as far apart


def ticks(low: float, high: float, count_max: int) -> list[float]:
    """At most `count_max` round numbers from `low` to `high`, both above 0; where it can be 1 among them."""
    if high / low < _NEARLY_EVEN:
        smallest = math.floor(math.log10(low)) - 2
        for decade in range(smallest, smallest + 4):
            for digit in (1, 2, 5):
                step = float(f"{digit}e{decade}")
                first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
                if last - first < count_max:
                    return [float(f"{number * step:.6g}") for number in range(first, last + 1)]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for digits in ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        every = [float(f"{digit}e{decade}") for decade in decades for digit in digits]
        found = [value for value in every if low <= value <= high]
        if len(found) <= count_max:
            return found
    step = -(-len(found) // count_max)
    return [10.0**decade for decade in decades if decade % step == 0 and low <= 10.0**decade <= high]
