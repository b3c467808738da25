"""Histograms that the core recorded: added up, read, and as text that any HdrHistogram library reads.

Source: "V2 encoding" in HdrHistogram's AbstractHistogram: a header of 40 bytes, then each count as a ZigZag
LEB128 number, a run of zeros as its negative length; compressed with zlib, and the whole as base64.
"""

import base64
import math
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

LOWEST, HIGHEST, SIGNIFICANT_DIGITS = 1, 3_600_000_000_000, 3

_COOKIE = 0x1C849303 | 0x10
_COMPRESSED_COOKIE = 0x1C849304 | 0x10
_HEADER = struct.Struct(">IIIIQQd")
_COMPRESSED_HEADER = struct.Struct(">II")


def encode(counts: Sequence[int]) -> str:
    """The base64 of `counts`, which are in HdrHistogram's order and may end early; the rest are zeros."""
    payload = bytearray()
    zeros = 0
    for count in counts:
        if count == 0:
            zeros += 1
            continue
        if zeros:
            _append(payload, -zeros)
            zeros = 0
        _append(payload, count)
    header = _HEADER.pack(_COOKIE, len(payload), 0, SIGNIFICANT_DIGITS, LOWEST, HIGHEST, 1.0)
    compressed = zlib.compress(header + payload)
    return base64.b64encode(
        _COMPRESSED_HEADER.pack(_COMPRESSED_COOKIE, len(compressed)) + compressed
    ).decode()


def _append(payload: bytearray, number: int) -> None:
    rest = (number << 1) ^ (number >> 63)
    while rest > 0x7F:
        payload.append(rest & 0x7F | 0x80)
        rest >>= 7
    payload.append(rest)


def decode(text: str) -> list[int]:
    """The counts that `encode` was given, in the same order, up to the last that isn't zero.

    Raises ValueError where the text is no histogram in this format.
    """
    try:
        compressed = base64.b64decode(text, validate=True)
        cookie, size = _COMPRESSED_HEADER.unpack_from(compressed)
        raw = zlib.decompress(compressed[_COMPRESSED_HEADER.size : _COMPRESSED_HEADER.size + size])
        payload = raw[_HEADER.size : _HEADER.size + _HEADER.unpack_from(raw)[1]]
    except (ValueError, zlib.error, struct.error) as error:
        raise ValueError(f"not a histogram: {error}") from error
    if cookie != _COMPRESSED_COOKIE:
        raise ValueError(f"not a histogram in V2 format: it begins with {cookie:#x}")
    counts: list[int] = []
    for number in _numbers(payload):
        if number < 0:
            counts.extend([0] * -number)
        else:
            counts.append(number)
    return counts


def _numbers(payload: bytes) -> Iterable[int]:
    number = shift = 0
    for byte in payload:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield (number >> 1) ^ -(number & 1)
            number = shift = 0


_HALF = 1024  # of the core's layout: 2048 values that are told apart, then 1024 for each power of two


def _highest_equivalent(index: int) -> int:
    """The largest value that is counted at `index`."""
    if index < 2 * _HALF:
        return index
    bucket = index // _HALF - 1
    return ((index % _HALF + _HALF + 1) << bucket) - 1


class Histogram:
    """How often which value was recorded, in ns. `total` is the exact sum, `maximum` the exact largest.

    `beyond` values were past the end of the scale, an hour, and are counted there.
    """

    def __init__(self, counts: Iterable[int] = (), total: int = 0, maximum: int = 0, beyond: int = 0) -> None:
        self.counts = list(counts)
        self.count = sum(self.counts)
        self.total = total
        self.maximum = maximum
        self.beyond = beyond

    def add(self, other: "Histogram") -> None:
        """Add the values of another one."""
        longer, shorter = self.counts, other.counts
        if len(longer) < len(shorter):
            longer, shorter = list(shorter), longer
        for index, count in enumerate(shorter):
            if count:
                longer[index] += count
        self.counts = longer
        self.count += other.count
        self.total += other.total
        self.maximum = max(self.maximum, other.maximum)
        self.beyond += other.beyond

    def percentile(self, percent: float) -> int | None:
        """The value that at least `percent` % don't exceed; None where there are none."""
        return percentiles(enumerate(self.counts), self.count, self.maximum, (percent,))[0]

    def figures(self) -> dict[str, Any]:
        """What a result has of it."""
        encoded = encode(self.counts)
        if not self.count:
            return {"count": 0, "histogram": encoded}
        percents = (50.0, 90.0, 99.0, 99.9)
        p50, p90, p99, p99_9 = percentiles(enumerate(self.counts), self.count, self.maximum, percents)
        return {
            "count": self.count,
            "mean_ns": self.total / self.count,
            "p50_ns": p50,
            "p90_ns": p90,
            "p99_ns": p99,
            "p99_9_ns": p99_9,
            "max_ns": self.maximum,
            "histogram": encoded,
        }

    def to_json(self) -> list[Any]:
        """For a pipe; `from_json` makes the same histogram of it."""
        return [encode(self.counts), self.total, self.maximum, self.beyond]

    @classmethod
    def from_json(cls, values: list[Any]) -> "Histogram":
        """Of what `to_json` gave."""
        text, total, maximum, beyond = values
        return cls(decode(text), total, maximum, beyond)


def percentiles(
    ascending: Iterable[tuple[int, int]], count: int, maximum: int, percents: Sequence[float]
) -> list[int | None]:
    """For each of the ascending `percents` the value that so many % of `count` don't exceed.

    `ascending` are places in the histogram, each with how often it was met.
    """
    if not count:
        return [None] * len(percents)
    found: list[int | None] = []
    wanted = [max(1, math.ceil(count * percent / 100)) for percent in percents]
    seen = 0
    for index, met in ascending:
        seen += met
        while len(found) < len(wanted) and seen >= wanted[len(found)]:
            found.append(min(_highest_equivalent(index), maximum))
        if len(found) == len(wanted):
            break
    return found
