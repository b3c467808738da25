"""A server that is 3 % slower on purpose: is it found, and is one that isn't slower left alone?

    python benchmarks/regression.py                 # 20 runs of each: 45 minutes; nothing else may run
    python benchmarks/regression.py --runs 1        # to try it

The server is `examples/echo.c`, which can be told to work longer for each request. At 10, 100 and 1000
connections, all together, `iocpbench run --fail-if-slower 1%` compares it with

- the same server that has 3 % more work: *found* where the exit code is 4;
- the same server: a *false alarm* where it is.

Why 1 % where 3 % are to be found: exit code 4 wants the whole 95 % interval beyond the threshold. With 3 % a
server that is 3 % slower would be found once in 40 times. With 0 % one that isn't would be accused once in 40
times, so in 20 runs with a chance of 40 %. With 1 %, where 10 repeats give an interval of +- 0.7 % (a quiet
machine), more than 99 of 100 are found and fewer than one in 100 000 is accused; where they give +- 1.2 %, 91
of 100 are found and one in 8000 is accused, and more `--repeats` are needed. (Student's t with 9 degrees of
freedom, central and not.)

How much work 3 % are is measured first, by the same means: with so many steps more the server takes so much
longer, and work is linear in its steps. "Longer" is the median response time in a closed loop, where each
connection always has a request in flight: so much longer means so many fewer requests in a second.

The base works a little as well (`--base-steps`, 4 us or so a request): a bare echo in C is about as fast as
the generator, which then hides a part of what is slower in the server.

A line a run: pooled slowdown, its interval, exit code, seconds. What `--results` holds of the same server,
work and options isn't measured again, so it can be stopped and gone on with.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

SOURCE = Path(__file__).resolve().parents[1] / "examples" / "echo.c"
COMPILER = ("gcc", "-O2")
CALIBRATION_STEPS = (
    1000  # a fifth slower: many times an interval's width, and not too far from 3 % to be linear
)
SLOWER = 4  # the exit code
KINDS = ("slower", "same")


class Compared(NamedTuple):
    """What a run said of head against base: 1.03 is 3 % slower."""

    slowdown: float
    low: float
    high: float
    exit_code: int
    seconds: float

    def __str__(self) -> str:
        """`3.05 % (2.21 to 3.90), exit code 4, 101 s`."""
        slowdown, low, high = (f"{100 * (value - 1):.2f}" for value in self[:3])
        return f"{slowdown} % ({low} to {high}), exit code {self.exit_code}, {self.seconds:.0f} s"


class Experiment:
    """Runs of one server with more or less work, each kept in a file."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._options = arguments
        self._folder: Path = arguments.results
        self._folder.mkdir(parents=True, exist_ok=True)
        self._program = self._folder / "echo-c"
        subprocess.run([*COMPILER, "-o", self._program, SOURCE], check=True)
        self._file = self._folder / "runs.jsonl"
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        self._known = {one["key"]: Compared(*one["compared"]) for one in map(json.loads, lines)}

    def compare(self, steps: int, seed: int) -> Compared:
        """Base against one with `steps` more, measured unless it is known."""
        base = self._options.base_steps
        command = [sys.executable, "-P", "-m", "bench", "run", "quick", "--quiet", "--json"]
        for name, own_steps in (("base", base), ("head", base + steps)):
            server = f"'{self._program}' {{host}} {{port}} --work-steps {own_steps}"
            command += ["--contender", f"{name}={server}"]
        command += ["--contenders", "base,head", "--reference", "base"]
        command += ["--connections", self._options.connections, "--repeats", str(self._options.repeats)]
        command += ["--fail-if-slower", self._options.threshold, "--seed", str(seed)]
        command += ["--out", str(self._folder / "runs")]
        key = hashlib.sha256(json.dumps([SOURCE.read_text(), COMPILER, command]).encode()).hexdigest()
        if key not in self._known:
            self._known[key] = _measured(command)
            with self._file.open("a") as file:
                file.write(json.dumps({"key": key, "compared": self._known[key]}) + "\n")
        return self._known[key]

    def steps_for(self, slower: float) -> int:
        """How many steps more make it slower by the share `slower`."""
        found = self.compare(CALIBRATION_STEPS, seed=0)
        steps = round(CALIBRATION_STEPS * slower / (found.slowdown - 1))
        print(f"{CALIBRATION_STEPS} steps more: {found}; {100 * slower:g} % are {steps} steps", flush=True)
        if steps < 1:
            raise SystemExit("that much work makes no difference here: is the machine busy?")
        return steps


def _measured(command: list[str]) -> Compared:
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    if done.returncode not in (0, SLOWER):
        raise SystemExit(f"exit code {done.returncode}: {done.stderr or done.stdout}")
    compared: dict[str, Any]
    (compared,) = json.loads(done.stdout)["comparisons"]
    bounds = [compared[name] for name in ("slowdown", "low", "high")]
    if None in bounds:
        raise SystemExit(f"nothing could be compared, of {compared['loads']} loads: is the machine busy?")
    return Compared(*bounds, exit_code=done.returncode, seconds=seconds)


def main() -> None:
    """Measure, a line a run, then the totals."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20, help="of each: with more work, and with the same")
    parser.add_argument("--slower", type=float, default=3, help="by how many percent")
    parser.add_argument("--threshold", default="1%", help="for --fail-if-slower")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--connections", default="10,100,1000")
    parser.add_argument("--base-steps", type=int, default=2000, help="of work, also of the base")
    parser.add_argument("--results", type=Path, default=Path("results/regression"))
    arguments = parser.parse_args()
    experiment = Experiment(arguments)
    steps = {"slower": experiment.steps_for(arguments.slower / 100), "same": 0}
    alarms: Counter[str] = Counter()
    for number in range(1, arguments.runs + 1):
        for kind in KINDS:
            compared = experiment.compare(steps[kind], seed=2 * number + KINDS.index(kind))
            alarms[kind] += compared.exit_code == SLOWER
            print(f"{kind:6} {number:2}: {compared}", flush=True)
    print(
        f"found: {alarms['slower']} of {arguments.runs}; false alarms: {alarms['same']} of {arguments.runs}"
    )


if __name__ == "__main__":
    main()
