"""Histograms against the hdrhistogram package, which the format's authors keep."""

import base64
import zlib

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.analysis.histograms import Histogram

HIGHEST_NS = 3_600_000_000_000
PERCENTS = [1, 50, 90, 99, 99.9, 100]

values = st.dictionaries(
    st.integers(1, 50_000) | st.integers(1, HIGHEST_NS), st.integers(1, 10**9), min_size=1, max_size=30
)


def peer(counts: dict[int, int]) -> HdrHistogram:
    histogram = HdrHistogram(1, HIGHEST_NS, 3)
    for value, count in counts.items():
        histogram.record_value(value, count)
    return histogram


@settings(max_examples=40, deadline=None)
@given(values)
def test_percentiles_are_the_packages(counts: dict[int, int]) -> None:
    expected = peer(counts)
    histogram = Histogram.decode(expected.encode().decode())
    assert histogram.count == sum(counts.values())
    assert histogram.percentiles(PERCENTS) == [
        expected.get_value_at_percentile(percent) for percent in PERCENTS
    ]


@settings(max_examples=20, deadline=None)
@given(st.lists(values, min_size=1, max_size=4))
def test_added_histograms_hold_all_values(parts: list[dict[int, int]]) -> None:
    whole = HdrHistogram(1, HIGHEST_NS, 3)
    for part in parts:
        whole.add(peer(part))
    added = Histogram.add(Histogram.decode(peer(part).encode().decode()) for part in parts)
    assert added.count == whole.get_total_count()
    assert added.percentiles(PERCENTS) == [whole.get_value_at_percentile(percent) for percent in PERCENTS]


def test_nothing_recorded_has_no_percentile() -> None:
    empty = Histogram.decode(HdrHistogram(1, HIGHEST_NS, 3).encode().decode())
    assert empty.count == 0
    assert empty.percentiles([50, 99]) == [None, None]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not base64!",
        base64.b64encode(b"short").decode(),
        base64.b64encode(b"\x1c\x84\x93\x14\x00\x00\x00\x04abcd").decode(),
        base64.b64encode(b"\x1c\x84\x93\x14\x00\x00\x00\xff" + zlib.compress(b"\x00" * 60)).decode(),
    ],
)
def test_what_is_no_histogram_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an HdrHistogram"):
        Histogram.decode(text)


def test_other_layouts_are_not_added() -> None:
    coarse = HdrHistogram(1, HIGHEST_NS, 2)
    parts = [Histogram.decode(part.encode().decode()) for part in (coarse, peer({5: 1}))]
    with pytest.raises(ValueError, match="2 layouts"):
        Histogram.add(parts)
