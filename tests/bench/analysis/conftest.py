"""Tables as `bench.analysis.frames` makes them, of thousands of runs at once, whose truth is known."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from bench.analysis.frames import LOAD
from bench.records.schema import Load

SLICE_S, BASE_NS = 0.05, 1e6


class Tables(NamedTuple):
    """`cells` and `slices`; of other columns than those that comparisons need there are none."""

    cells: pd.DataFrame
    slices: pd.DataFrame


Simulate = Callable[..., Tables]


def _rows(
    shape: tuple[int, ...], contenders: Sequence[str], loads: Sequence[int], **load: float
) -> pd.DataFrame:
    """The owners of rows of runs, loads, repeats, contenders and, where `shape` has a fifth, rounds."""
    run, at_load, repeat, contender, *rounds = (one.ravel() for one in np.indices(shape))
    table = pd.DataFrame(
        {
            "run": np.array([str(number) for number in range(shape[0])], dtype=object)[run],
            "experiment": "connections",
            "block": "connections",
            "repeat": repeat + 1,
            "contender": np.array(list(contenders), dtype=object)[contender],
            "model": np.array([name.partition(":")[0] for name in contenders], dtype=object)[contender],
        }
    )
    default = Load(**load)  # type: ignore[arg-type]
    for name in LOAD:
        table[name] = getattr(default, name)
    table["connections"] = np.array(list(loads))[at_load]
    if rounds:
        table["round"] = rounds[0] + 1
    return table


@pytest.fixture(scope="session")
def simulate() -> Simulate:
    """`simulate({"a": 1, "b": 1.25}, runs=1000, …)`: how long each takes, relative to 1 ms at any load.

    Noise is normal on a logarithmic scale and of three kinds, by its standard deviation: `weather`, common to
    a round; `own`, of a contender's processes in a repeat; `noise`, of a slice. A slice stalls with the
    probability `stalls`: it completes a twentieth.
    """

    def make(
        takes: Mapping[str, float],
        *,
        runs: int = 1,
        loads: Sequence[int] = (100,),
        repeats: int = 5,
        rounds: int = 6,
        weather: float = 0.1,
        own: float = 0.007,
        noise: float = 0.02,
        stalls: Mapping[str, float] | None = None,
        newcomers_per_s: float = 0.0,
        seed: int = 1,
    ) -> Tables:
        rng = np.random.default_rng(seed)
        shape = (runs, len(loads), repeats, len(takes), rounds)
        truth = np.log(list(takes.values()))[:, None]
        common = rng.normal(0, weather, (runs, len(loads), repeats, 1, rounds))
        of_processes = rng.normal(0, own, (*shape[:4], 1))
        in_slices: NDArray[np.float64] = BASE_NS * np.exp(
            truth + common + of_processes + rng.normal(0, noise, shape)
        )
        share = np.array([(stalls or {}).get(name, 0.0) for name in takes])[:, None]
        rates = 1e9 / in_slices * np.where(rng.random(shape) < share, 0.05, 1.0)

        def of_repeats(level: float) -> NDArray[np.float64]:
            """Another figure of the repeat, whose weather is the mean of the rounds'."""
            mean = truth[:, 0] + common.mean(axis=-1) + rng.normal(0, own + noise, shape[:4])
            return (level * np.exp(mean)).ravel()

        cells = _rows(shape[:4], list(takes), loads, newcomers_per_s=newcomers_per_s).assign(
            status="measured",
            p50_ns=np.median(in_slices, axis=-1).ravel(),
            p99_ns=of_repeats(2 * BASE_NS),
            first_echo_p50_ns=of_repeats(3 * BASE_NS),
            server_cpu_ns_per_request=of_repeats(BASE_NS / 2),
        )
        requests = (SLICE_S * rates).ravel()
        cpu_ns = BASE_NS / 2 * np.exp(truth + of_processes + rng.normal(0, noise, shape)).ravel()
        slices = _rows(shape, list(takes), loads, newcomers_per_s=newcomers_per_s).assign(
            requests=requests,
            duration_s=SLICE_S,
            rate_per_s=rates.ravel(),
            p50_ns=in_slices.ravel(),
            requests_total=requests,
            server_cpu_s=requests * cpu_ns / 1e9,
        )
        return Tables(cells, slices)

    return make
