"""Axes have round numbers, and enough of them."""

import pytest

from bench.report.charts.ticks import ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.95, 1.06, [0.96, 0.98, 1, 1.02, 1.04, 1.06]),
        (0.8, 1.3, [0.8, 0.9, 1, 1.1, 1.2, 1.3]),
        (0.9, 2.2, [1, 1.5, 2]),
        (20_000, 45_000, [20_000, 25_000, 30_000, 35_000, 40_000, 45_000]),
        (0.3, 8, [0.5, 1, 2, 5]),
        (0.9, 40, [1, 2, 5, 10, 20]),
        (50_000, 5e8, [1e5, 1e6, 1e7, 1e8]),
        (0.05, 5e6, [1, 100, 1e4, 1e6]),
    ],
)
def test_numbers_are_round_and_few(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high, 6) == expected


@pytest.mark.parametrize("low", [1e-9, 0.017, 1.0, 3.3, 999.0, 7e12])
@pytest.mark.parametrize("factor", [1.01, 1.4, 2.9, 3.1, 12.0, 1e4, 1e12])
def test_there_are_always_some_and_never_too_many(low: float, factor: float) -> None:
    found = ticks(low, low * factor, 6)
    assert 1 <= len(found) <= 6
    assert found == sorted(found)
    assert low * (1 - 1e-6) <= found[0]
    assert found[-1] <= low * factor * (1 + 1e-6)
