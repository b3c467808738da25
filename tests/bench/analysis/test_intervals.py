"""Intervals against tables and against simulated truth."""

import numpy as np
import pandas as pd
import pytest

from bench.analysis.intervals import half_widths, mean_of_means, over_repeats, t_interval


@pytest.mark.parametrize(
    ("count", "quantile"), [(2, 12.706), (3, 4.303), (5, 2.776), (8, 2.365), (31, 2.042)]
)
def test_quantiles_are_those_of_every_table(count: int, quantile: float) -> None:
    assert half_widths(np.sqrt(count), count) == pytest.approx(quantile, abs=5e-4)


def test_one_value_has_no_interval() -> None:
    mean, low, high, repeats = t_interval([2.5])
    assert (mean, repeats) == (2.5, 1)
    assert np.isnan([low, high]).all()


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_intervals_hold_the_truth_as_often_as_they_say(level: float) -> None:
    rng = np.random.default_rng(20)
    truth, samples = 3.0, 4000
    table = pd.DataFrame(
        {"sample": np.repeat(np.arange(samples), 5), "value": rng.normal(truth, 2, 5 * samples)}
    )
    found = over_repeats(table, ["sample"], "value", level)
    held = ((found["low"] <= truth) & (truth <= found["high"])).mean()
    assert held == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / samples))
    one = t_interval(table["value"][:5], level)
    assert found.loc[0, ["mean", "low", "high"]].tolist() == pytest.approx([one.mean, one.low, one.high])


def test_a_family_is_wrong_no_oftener_than_one_interval() -> None:
    rng = np.random.default_rng(21)
    families, members = 1500, 6
    table = pd.DataFrame(
        {
            "family": np.repeat(np.arange(families), 5 * members),
            "member": np.tile(np.repeat(np.arange(members), 5), families),
            "value": rng.normal(0, 1, 5 * members * families),
        }
    )
    table.loc[table["member"] == 0, "value"] = 0.0  # the one that the others are compared with
    found = over_repeats(table, ["family", "member"], "value", 0.95, family=["family"])
    wrong = ((found["low"] > 0) | (found["high"] < 0)).groupby(found["family"]).any().mean()
    assert 0.02 < wrong < 0.065


def test_a_mean_of_means_weighs_samples_alike_whatever_their_sizes() -> None:
    rng = np.random.default_rng(22)
    held, runs = 0, 3000
    for _ in range(runs):
        found = mean_of_means([rng.normal(1, 3, 5), rng.normal(5, 1, 12), rng.normal(3, 2, 8)])
        held += found.low <= 3 <= found.high
    assert held / runs == pytest.approx(0.95, abs=0.015)
    assert found.repeats == 5
    even = [[1.0, 2.0, 6.0], [2.0, 4.0, 3.0]]
    assert mean_of_means(even).mean == pytest.approx(3)
    assert np.isnan([*mean_of_means([[1.0], [2.0, 3.0]])][1:3]).all()
