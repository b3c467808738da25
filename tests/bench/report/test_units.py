"""Figures as people read them."""

import pytest

from bench.report import units


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0 ns"),
        (412, "412 ns"),
        (9_876, "9.88 µs"),
        (57_300, "57.3 µs"),
        (3_860_000, "3.86 ms"),
        (2.5e9, "2.50 s"),
    ],
)
def test_times_have_three_digits_and_a_unit(nanoseconds: float, text: str) -> None:
    assert units.time(nanoseconds) == text


def test_what_was_not_measured_is_a_dash() -> None:
    assert units.time(None) == units.rate(float("nan")) == units.ratio(None) == "-"


def test_rates_sizes_and_ticks() -> None:
    assert [units.rate(value) for value in (12, 9870, 259_000, 1.5e6)] == ["12", "9.87k", "259k", "1.50M"]
    assert [units.size(value) for value in (64, 4096, 16 << 20)] == ["64 B", "4 KiB", "16 MiB"]
    assert [units.tick(value, units.TIMES) for value in (50_000, 1e6, 2e7)] == ["50 µs", "1 ms", "20 ms"]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ((2.673, 2.64, 2.706), "2.67 (2.64-2.71)"),
        ((0.9871, 0.9852, 0.9889), "0.987 (0.985-0.989)"),
        ((2.5, 1.2, 5.4), "2.5 (1.2-5.4)"),
        ((31.2, 20.0, 48.0), "31 (20-48)"),
        ((1.5, None, None), "1.50"),
    ],
)
def test_a_ratio_shows_no_more_decimals_than_its_interval_allows(
    found: tuple[float, float | None, float | None], text: str
) -> None:
    assert units.ratio(*found) == text
