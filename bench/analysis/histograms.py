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
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_COMPRESSED = struct.Struct(">ii")  # cookie, bytes that follow
_HEADER = struct.Struct(">iiiiqqd")  # cookie, payload bytes, offset, digits, lowest, highest, ratio
_COMPRESSED_COOKIE, _COOKIE = 0x1C849314, 0x1C849313
_LEB128_BYTES_MAX = 8  # the format's ninth byte holds 8 bits; only counts past 2^55 need it
_DIGITS_MAX = 5
_BUCKETS_MAX = 1 << 22  # of all layouts but the widest with five digits
_EXACT_MAX = 1 << 40  # sums of counts below it are exact as floats, too


class Layout(NamedTuple):
    """What the buckets mean; only histograms of the same layout can be added."""

    lowest: int
    highest: int
    digits: int


_NO_LAYOUT = Layout(1, 2, 3)  # of nothing


class Histogram:
    """A distribution: `counts[i]` values fell into bucket `indices[i]` of `layout`."""

    def __init__(self, layout: Layout, indices: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        self.layout = layout
        self.indices = indices
        self.counts = counts

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read the base64 form. Raises ValueError where it isn't a V2 histogram."""
        layout, payload = _unpacked(text)
        return cls(layout, *_counts([payload]))

    @classmethod
    def sum_of(cls, texts: Sequence[str]) -> tuple[Self, list[int]]:
        """The distribution of all values in encoded histograms, and the places of those that can't be read.

        Of several layouts those are read that are like the first. All are decoded in one go: one by one it
        takes ten times as long.
        """
        read: list[tuple[int, bytes]] = []
        unread = []
        layout = _NO_LAYOUT
        for place, text in enumerate(texts):
            try:
                own, payload = _unpacked(text)
            except ValueError:
                unread.append(place)
                continue
            layout = layout if read else own
            if own == layout:
                read.append((place, payload))
            else:
                unread.append(place)
        try:
            indices, counts = _counts([payload for _, payload in read])
        except ValueError:
            whole = [(place, payload) for place, payload in read if _is_whole(payload)]
            unread = sorted({*range(len(texts))} - {place for place, _ in whole})
            indices, counts = _counts([payload for _, payload in whole])
        return cls(layout, *_added(indices, counts)), unread

    @classmethod
    def add(cls, histograms: Iterable["Histogram"]) -> Self:
        """The distribution of all values. Raises ValueError where layouts differ, or nothing is given."""
        parts = list(histograms)
        layouts = {part.layout for part in parts}
        if len(layouts) != 1:
            raise ValueError(f"histograms of {len(layouts)} layouts can't be added")
        indices = np.concatenate([part.indices for part in parts])
        counts = np.concatenate([part.counts for part in parts])
        return cls(layouts.pop(), *_added(indices, counts))

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

    def steps(self, ticks_per_half_distance: int = 5) -> Iterator[tuple[int, float, int]]:
        """The distribution in ever smaller steps towards 100 %: value, percent, values up to that.

        Each half of what is left has so many steps, as HdrHistogram's percentile iterator makes them.
        """
        level, total = 0.0, self.count
        for value, below in zip(self._highest_values(), np.cumsum(self.counts), strict=True):
            while 100 * below / total >= level:
                yield int(value), level, int(below)
                level += (100 - level) / (2 * ticks_per_half_distance) if level < 100 else 100.0
                if below == total:  # of the last value one more step is taken: to all of it
                    break
        if total:
            yield int(self._highest_values()[-1]), 100.0, total

    def buckets(self) -> pd.DataFrame:
        """The filled buckets: `value_ns`, the largest value of each, and `count`."""
        return pd.DataFrame({"value_ns": self._highest_values(), "count": self.counts})

    def mean_and_deviation(self) -> tuple[float, float]:
        """Of the middles of the buckets; 0 of nothing."""
        if not self.count:
            return 0.0, 0.0
        lowest, highest = self._lowest_values(), self._highest_values()
        middles = lowest + ((highest - lowest + 1) >> 1)
        mean = float(np.average(middles, weights=self.counts))
        return mean, float(np.sqrt(np.average((middles - mean) ** 2, weights=self.counts)))

    def _lowest_values(self) -> NDArray[np.int64]:
        sub_bucket, shift = self._places()
        lowest: NDArray[np.int64] = sub_bucket << shift
        return lowest

    def _highest_values(self) -> NDArray[np.int64]:
        """The largest value that each of the filled buckets stands for."""
        sub_bucket, shift = self._places()
        highest: NDArray[np.int64] = ((sub_bucket + 1) << shift) - 1
        return highest

    def _places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each filled bucket the number of its values' common part, and how many bits they differ in."""
        largest_single_unit = 2 * 10**self.layout.digits
        half_magnitude = (largest_single_unit - 1).bit_length() - 1
        unit_magnitude = self.layout.lowest.bit_length() - 1
        bucket = np.maximum((self.indices >> half_magnitude) - 1, 0)
        sub_bucket = self.indices - (bucket << half_magnitude)
        return sub_bucket, bucket + unit_magnitude


def _unpacked(text: str) -> tuple[Layout, bytes]:
    """Layout and encoded counts. Raises ValueError where it isn't a V2 histogram."""
    try:
        packed = base64.b64decode(text, validate=True)
        cookie, size = _COMPRESSED.unpack_from(packed)
        content = zlib.decompress(packed[_COMPRESSED.size : _COMPRESSED.size + size])
        inner_cookie, payload_bytes, _, digits, lowest, highest, _ = _HEADER.unpack_from(content)
    except (TypeError, binascii.Error, struct.error, zlib.error) as error:
        raise ValueError(f"not an HdrHistogram: {error}") from error
    payload = content[_HEADER.size : _HEADER.size + max(payload_bytes, 0)]
    is_v2 = (cookie, inner_cookie) == (_COMPRESSED_COOKIE, _COOKIE) and len(payload) == payload_bytes
    if not is_v2 or not 1 <= digits <= _DIGITS_MAX or not 1 <= lowest <= highest:
        raise ValueError("not an HdrHistogram of format V2")
    return Layout(lowest, highest, digits), payload


def _is_whole(payload: bytes) -> bool:
    try:
        _counts([payload])
    except ValueError:
        return False
    return True


def _counts(payloads: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The filled buckets' indices and counts, one payload's behind the other's.

    Raises ValueError where one ends within a number.
    """
    octets = np.frombuffer(b"".join(payloads), dtype=np.uint8)
    if not octets.size:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    is_end = octets < 0x80
    ends = np.flatnonzero(is_end)
    sizes = np.array([len(payload) for payload in payloads if payload], dtype=np.int64)
    limits = np.cumsum(sizes)
    if not is_end[limits - 1].all():
        raise ValueError("not an HdrHistogram of format V2: a count without end")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > _LEB128_BYTES_MAX:
        raise ValueError("not an HdrHistogram of format V2: a count without end")
    zigzag = octets[starts].astype(np.int64) & 0x7F
    longer = np.arange(starts.size)
    for place in range(1, int(lengths.max())):  # most numbers have one octet or two
        longer = longer[lengths[longer] > place]
        zigzag[longer] |= (octets[starts[longer] + place].astype(np.int64) & 0x7F) << (7 * place)
    numbers = (zigzag >> 1) ^ -(zigzag & 1)
    buckets = np.where(numbers < 0, -numbers, 1)
    after = np.cumsum(buckets)
    first_numbers = np.concatenate([[0], np.searchsorted(ends, limits[:-1])])  # of each payload
    before = after[first_numbers] - buckets[first_numbers]
    indices = after - buckets - np.repeat(before, np.diff([*first_numbers, numbers.size]))
    filled = numbers > 0
    return indices[filled], numbers[filled]


def _added(
    indices: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each index once, ascending, and the sum of its counts."""
    if not indices.size or indices.max() >= _BUCKETS_MAX or counts.max() >= _EXACT_MAX:
        merged, positions = np.unique(indices, return_inverse=True)
        sums = np.zeros(merged.size, dtype=np.int64)
        np.add.at(sums, positions, counts)
        return merged, sums
    by_index = np.bincount(indices, weights=counts)  # without sorting, which takes most of the time
    filled = np.flatnonzero(by_index)
    return filled, by_index[filled].astype(np.int64)
