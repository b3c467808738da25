"""The encoding against the HdrHistogram package."""

from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from loadgen import histogram
from loadgen.engine import COUNTS


@given(st.dictionaries(st.integers(0, COUNTS - 2048), st.integers(1, 2**40), max_size=50))
def test_decoded_by_hdrhistogram_gives_the_same_counts(recorded: dict[int, int]) -> None:
    counts = [0] * COUNTS
    for index, count in recorded.items():
        counts[index] = count
    decoded = HdrHistogram.decode(histogram.encode(counts))
    assert decoded.significant_figures == histogram.SIGNIFICANT_DIGITS
    assert decoded.highest_trackable_value == histogram.HIGHEST
    length = decoded.counts_len
    assert [decoded.counts[i] for i in range(length)] == counts[:length]
    assert not any(counts[length:])
