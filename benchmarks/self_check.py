"""A contender against itself, many times: do 95 % intervals hold 1, and how wide are they?

    python benchmarks/self_check.py --runs 17

Every run is the suite `self-check`: four servers of the same kind, so each ratio should be 1. It is measured
in two ways, in turns: in interleaved slices as the suite says, and one after the other, where each server has
the same time under load as one long slice. The table has the share of the intervals that hold 1, and the
median of their half-widths. 17 runs give 204 intervals a quantity, and take about 35 minutes; nothing else
may run meanwhile. Runs that `--results` holds already are counted too, so it can be stopped and gone on with.
"""

import argparse
import subprocess
from pathlib import Path

import pandas as pd

import bench

SUITE_ROUNDS, SUITE_SLICE_MS = 6, 50
WAYS = {
    "in slices": ["--rounds", str(SUITE_ROUNDS)],
    "one after the other": ["--rounds", "1", "--slice", f"{SUITE_ROUNDS * SUITE_SLICE_MS}ms"],
}
QUANTITIES = {"rate_per_s": "request rate", "p50_ns": "median response time"}


def intervals(results: Path) -> pd.DataFrame:
    """A row for each interval of every finished run in `results`."""
    parts = []
    for folder in bench.runs(str(results)):
        if folder.run.status != "finished":
            continue
        table = bench.ratios(folder)
        found = table[table["quantity"].isin(QUANTITIES) & ~table["contender"].isin(["epoll", "epoll:c"])]
        parts.append(found)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def show(way: str, table: pd.DataFrame) -> None:
    """Print one way's lines."""
    if table.empty:
        return
    table = table.assign(
        holds=(table["low"] <= 1) & (table["high"] >= 1),
        half_width=((table["high"] / table["low"]) ** 0.5 - 1) * 100,
    )
    for quantity, name in QUANTITIES.items():
        own = table[table["quantity"] == quantity]
        widths = own.groupby("connections")["half_width"].median()
        at = ", ".join(f"{width:.1f} % at {connections}" for connections, width in widths.items())
        print(
            f"{way:20} {name:22} {own['holds'].mean():7.1%} of {len(own)} hold 1; half-widths {at}",
            flush=True,
        )


def main() -> None:
    """Measure, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=17, help="of each way")
    parser.add_argument("--results", type=Path, default=Path("results/self-check"))
    arguments = parser.parse_args()
    folders = {way: arguments.results / way.replace(" ", "-") for way in WAYS}
    for _ in range(arguments.runs):
        for way, options in WAYS.items():
            if len(bench.runs(str(folders[way]))) < arguments.runs:
                command = ["iocpbench", "run", "self-check", "--quiet", *options, "--out", str(folders[way])]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for way, folder in folders.items():
        show(way, intervals(folder))


if __name__ == "__main__":
    main()
