"""The same measured twice: does `compare` find a change where there is none, also beside a busy process?

    python benchmarks/repeatability.py                 # 5 pairs of `quick`, 20 minutes; nothing else may run
    python benchmarks/repeatability.py --apart-min 60  # the two runs of a pair an hour apart
    python benchmarks/repeatability.py --busy 0        # both runs of a pair alone on the machine
    python benchmarks/repeatability.py --pairs 1 --repeats 2 --contenders epoll,select --connections 10,100

The first run of a pair is alone; beside the second `--busy` processes (1) compute without a pause, each of
which wants a CPU. Nothing that is measured differs, so no interval may lie wholly outside 1 +- 3 %.

Two lines a pair. The first is what `compare` says, whose intervals are wider where too few repeats of a load
weren't disturbed. The second has them as they would be without: it shows what the yardstick makes up for by
itself, and what it can't. A busy process takes most from whoever keeps its CPU busiest, with one contender
the server and with another the generator; and it gets a share that depends on how many threads it has to
share with. With high priority (`iocpbench run` as the superuser) it gets what they leave.

Runs that `--results` holds are not measured again, so it can be stopped and gone on with.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import UserError
from bench.records.store import RunFolder, list_runs
from bench.report.changes import Change, changes
from bench.report.load_words import describe

BUSY = "while True: pass"
HOW = {True: "compare    ", False: "not widened"}


class Count:
    """What was compared, of all pairs."""

    def __init__(self) -> None:
        self.pairs = self.compared = self.outside = 0

    def add(self, found: list[Change], outside: list[Change]) -> None:
        """Those of a pair."""
        self.pairs += bool(found)
        self.compared += len(found)
        self.outside += len(outside)

    def __str__(self) -> str:
        """`118 intervals of 5 pairs, 0 wholly outside`."""
        return f"{self.compared} intervals of {self.pairs} pairs, {self.outside} wholly outside"


def measured(folder: Path, options: argparse.Namespace, busy: int) -> RunFolder:
    """The finished run in `folder`, measured now where there is none."""
    while not (finished := [one for one in list_runs(folder) if one.run.status == "finished"]):
        command = [sys.executable, "-P", "-m", "bench", "run", options.suite, "--quiet"]
        command += ["--out", str(folder)]
        for name in ("repeats", "contenders", "connections"):
            if (value := getattr(options, name)) is not None:
                command += [f"--{name}", str(value)]
        with beside(busy):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return finished[0]


@contextmanager
def beside(count: int) -> Iterator[None]:
    """So many processes that want a CPU each."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def show(
    runs: tuple[RunFolder, RunFolder], margin: float, *, widened: bool
) -> tuple[list[Change], list[Change]]:
    """Print what is said of a pair: changes that have an interval, and those wholly outside the margin."""
    how = HOW[widened]
    try:
        found = changes(*runs)
    except UserError as error:
        print(f"  {how}: {error}", flush=True)
        return [], []
    told = [one for one in found.changes if one.low is not None and one.high is not None]
    bounds = [bounds_of(one, widened=widened) for one in told]
    outside = [
        one for one, (low, high) in zip(told, bounds, strict=True) if low > 1 + margin or high < 1 - margin
    ]
    widths = sorted((high / low) ** 0.5 - 1 for low, high in bounds)
    median = f", half-widths {100 * widths[len(widths) // 2]:.1f} % in the middle" if widths else ""
    print(
        f"  {how}: {len(told)} intervals{median}, {len(outside)} wholly outside 1 +- {100 * margin:g} %; "
        f"{len(found.left_out)} left out",
        flush=True,
    )
    for one in outside:
        print(f"    {one.contender}, {describe(one.load, ['connections'])}: {one.shown}", flush=True)
    return told, outside


def bounds_of(one: Change, *, widened: bool) -> tuple[float, float]:
    """Of an interval, as `compare` gives it or without what it is wider by."""
    assert one.low is not None
    assert one.high is not None
    allowance = 1.0 if widened else one.allowance
    return one.low * allowance, one.high / allowance


def main() -> None:
    """Measure pairs, two lines each, then the totals."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--busy", type=int, default=1, help="processes beside the second run of a pair")
    parser.add_argument("--apart-min", type=float, default=0, help="minutes between the two")
    parser.add_argument("--margin", type=float, default=3, help="in percent")
    parser.add_argument("--suite", default="quick")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--contenders")
    parser.add_argument("--connections")
    parser.add_argument("--results", type=Path, default=Path("results/repeatability"))
    options = parser.parse_args()
    totals = {widened: Count() for widened in HOW}
    for number in range(1, options.pairs + 1):
        folder = options.results / f"{options.suite}-busy-{options.busy}" / str(number)
        first = measured(folder / "alone", options, 0)
        if not list_runs(folder / "beside"):
            time.sleep(60 * options.apart_min)
        second = measured(folder / "beside", options, options.busy)
        print(f"pair {number}: {first.path.name}, {second.path.name} beside {options.busy}", flush=True)
        for widened, total in totals.items():
            total.add(*show((first, second), options.margin / 100, widened=widened))
    for widened, total in totals.items():
        print(f"{HOW[widened]}: {total} 1 +- {options.margin:g} %")


if __name__ == "__main__":
    main()
