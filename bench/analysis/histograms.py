"""HdrHistograms, decoded by numpy: percentiles of several repeats come from added histograms, no averages.

A generator hands over the whole distribution in HdrHistogram's V2 format: base64 of a header and a zlib
stream, in which counts are ZigZag LEB128 numbers and a negative number is that many empty buckets. Buckets
are kept sparse here: of 33 792 a run of load fills some hundreds.

Source: AbstractHistogram.encodeIntoByteBuffer in HdrHistogram, hdr_histogram_log.c in HdrHistogram_c.
"""

import base64
import binascii
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

_COMPRESSED = struct.Struct(">ii")  # cookie, bytes that follow
_HEADER = struct.Struct(">iiiiqqd")  # cookie, payload bytes, offset, digits, lowest, highest, ratio
_COMPRESSED_COOKIE, _COOKIE = 0x1C849314, 0x1C849313
_LEB128_BYTES_MAX = 8  # the format's ninth byte holds 8 bits; only counts past 2^55 need it


class Layout(NamedTuple):
    """What the buckets mean; only histograms of the same layout can be added."""

    lowest: int
    highest: int
    digits: int


class Histogram:
    """A distribution: `counts[i]` values fell into bucket `indices[i]` of `layout`."""

    def __init__(self, layout: Layout, indices: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        self.layout = layout
        self.indices = indices
        self.counts = counts

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read the base64 form. Raises ValueError where it isn't a V2 histogram."""
        try:
            packed = base64.b64decode(text, validate=True)
            cookie, size = _COMPRESSED.unpack_from(packed)
            content = zlib.decompress(packed[_COMPRESSED.size : _COMPRESSED.size + size])
            inner_cookie, payload_bytes, _, digits, lowest, highest, _ = _HEADER.unpack_from(content)
        except (binascii.Error, struct.error, zlib.error) as error:
            raise ValueError(f"not an HdrHistogram: {error}") from error
        payload = content[_HEADER.size : _HEADER.size + payload_bytes]
        if (cookie, inner_cookie) != (_COMPRESSED_COOKIE, _COOKIE) or len(payload) < payload_bytes:
            raise ValueError("not an HdrHistogram of format V2")
        return cls(Layout(lowest, highest, digits), *_counts(payload))

    @classmethod
    def add(cls, histograms: Iterable["Histogram"]) -> Self:
        """The distribution of all values. Raises ValueError where layouts differ, or nothing is given."""
        parts = list(histograms)
        layouts = {part.layout for part in parts}
        if len(layouts) != 1:
            raise ValueError(f"histograms of {len(layouts)} layouts can't be added")
        indices = np.concatenate([part.indices for part in parts])
        counts = np.concatenate([part.counts for part in parts])
        merged, positions = np.unique(indices, return_inverse=True)
        sums = np.zeros(merged.size, dtype=np.int64)
        np.add.at(sums, positions, counts)
        return cls(layouts.pop(), merged, sums)

    @property
    def count(self) -> int:
        """How many values there are."""
        return int(self.counts.sum())

    def percentiles(self, percents: Sequence[float]) -> list[int | None]:
        """The values that `percents` of all values don't exceed, to the layout's digits; None of nothing."""
        if not self.count:
            return [None] * len(percents)
        ranks = np.maximum(np.floor(np.asarray(percents) / 100 * self.count + 0.5), 1)
        positions = np.searchsorted(np.cumsum(self.counts), ranks)
        values = self._highest_values()[np.minimum(positions, self.indices.size - 1)]
        return [int(value) for value in values]

    def _highest_values(self) -> NDArray[np.int64]:
        """The largest value that each of the filled buckets stands for."""
        largest_single_unit = 2 * 10**self.layout.digits
        half_magnitude = (largest_single_unit - 1).bit_length() - 1
        unit_magnitude = self.layout.lowest.bit_length() - 1
        bucket = np.maximum((self.indices >> half_magnitude) - 1, 0)
        sub_bucket = self.indices - (bucket << half_magnitude)
        shift = bucket + unit_magnitude
        highest: NDArray[np.int64] = ((sub_bucket + 1) << shift) - 1
        return highest


def _counts(payload: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The filled buckets' indices and counts."""
    octets = np.frombuffer(payload, dtype=np.uint8).astype(np.int64)
    ends = np.flatnonzero(octets < 0x80)
    if not ends.size:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if ends[-1] + 1 != octets.size or lengths.max() > _LEB128_BYTES_MAX:
        raise ValueError("not an HdrHistogram of format V2: a count without end")
    places = np.arange(octets.size) - np.repeat(starts, lengths)
    zigzag = np.add.reduceat((octets & 0x7F) << (7 * places), starts)
    numbers = (zigzag >> 1) ^ -(zigzag & 1)
    buckets = np.where(numbers < 0, -numbers, 1)
    indices = np.cumsum(buckets) - buckets
    filled = numbers > 0
    return indices[filled], numbers[filled]
