"""Contrast as WCAG defines it, and colours that have enough of it."""

import itertools

import pytest

from bench.report import colours
from bench.report.charts.style import _MODELS, _OTHER_COLOURS, INK


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("#000000", "#ffffff", 21.0),
        ("#777777", "#ffffff", 4.48),
        ("#ff0000", "#ffffff", 4.0),
        (INK, INK, 1.0),
    ],
)
def test_contrast_is_that_of_the_definition(one: str, other: str, expected: float) -> None:
    assert colours.contrast(one, other) == pytest.approx(expected, abs=0.005)
    assert colours.contrast(other, one) == colours.contrast(one, other)


def test_every_colour_of_a_chart_can_be_read_on_both_grounds() -> None:
    drawn = [*(colour for colour, _ in _MODELS.values()), *_OTHER_COLOURS]
    for colour, ground in itertools.product(drawn, colours.GROUNDS.values()):
        found = colours.readable(colour, ground, colours.CONTRAST)
        assert colours.contrast(found, ground) >= colours.CONTRAST


def test_a_colour_with_enough_contrast_stays() -> None:
    assert colours.readable("#0072b2", "#ffffff", 4.5) == "#0072b2"
    assert colours.readable("#e69f00", "#1d232a", 4.5) == "#e69f00"


def test_variables_are_declared_for_what_is_used_and_nothing_else() -> None:
    line, word = (colours.variable("#e69f00", is_text=is_text) for is_text in (False, True))
    assert colours.variable("#ffffff", is_text=False) == "var(--card)"
    light = colours.definitions([f"fill: {line}", f"fill: {word}; stroke: {line}"], "light")
    assert light.startswith("--ce69f00: #e69f00; --we69f00: #")
    assert "--we69f00: #e69f00" not in light
    assert light.count(":") == 2
    assert colours.definitions([], "dark") == ""
