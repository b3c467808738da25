"""Several generator processes that share a load: more connections than one process may have descriptors.

Each is this program again, with `--part`: it is told on its stdin what to do, as JSON lines, and answers each
on its stdout; when its stdin ends it ends. All begin a load at the same moment of the machine's clock.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from loadgen.engine import Engines, OnPoint, now_ns
from loadgen.part import Part, Point, SlicePart, add, add_counts, add_points, add_slices
from loadgen.profile import Profile
from loadgen.stop import Stop

TOGETHER_NS = 20_000_000  # from asking all to the begin of their load
END_TIMEOUT_S = 10.0


class Processes:
    """The same calls as `Engines`, made by several processes."""

    def __init__(self, profile: Profile, arguments: list[str], stop: Stop) -> None:
        """Start them; `arguments` are this process's. Raises OSError where one can't be started."""
        own = [sys.executable, "-P", "-m", "loadgen", *arguments, "--processes", str(profile.processes)]
        self._workers: list[subprocess.Popen[str]] = []
        stop.on_request = self._interrupt
        try:
            for index in range(profile.processes):
                self._workers.append(
                    subprocess.Popen(
                        [*own, "--part", str(index)],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        text=True,
                    )
                )
        except OSError:
            self.close()
            raise

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """The processes that put load on."""
        return [os.getpid(), *(worker.pid for worker in self._workers)]

    def connect(self) -> tuple[int, dict[str, int]]:
        """As `Engines.connect`."""
        answers = [self._answer(worker) for worker in self._workers]
        errors = add_counts(one["errors"] for one in answers)
        return sum(one["connections_opened"] for one in answers), errors

    def slice(self, slice_ns: int, ramp_ns: int, *, warmup: bool, linger_ns: int | None) -> SlicePart:
        """As `Engines.slice`."""
        how = {"slice_ns": slice_ns, "ramp_ns": ramp_ns, "warmup": warmup, "linger_ns": linger_ns}
        self._ask({**how, "begin_ns": now_ns() + TOGETHER_NS})
        return add_slices([SlicePart.from_json(self._answer(worker)["slice"]) for worker in self._workers])

    def run(self, on_point: OnPoint | None) -> None:
        """As `Engines.run`; `on_point` gets the points of all added up, as far as all have one."""
        self._ask({"run": True, "begin_ns": now_ns() + TOGETHER_NS})
        running = list(self._workers)
        while running:
            said = {worker.pid: self._answer(worker) for worker in running}
            running = [worker for worker in running if "point" in said[worker.pid]]
            if running and on_point is not None:
                on_point(add_points([Point(*said[worker.pid]["point"]) for worker in running]))

    def part(self) -> Part:
        """As `Engines.part`."""
        for worker in self._workers:
            assert worker.stdin is not None
            worker.stdin.close()
        return add([Part.from_json(self._answer(worker)["part"]) for worker in self._workers])

    def close(self) -> None:
        """Have all of them end, by force where it takes too long."""
        for worker in self._workers:
            for pipe in (worker.stdin, worker.stdout):
                # It may have ended, and what it was told last is still in the buffer.
                with contextlib.suppress(OSError):
                    if pipe is not None:
                        pipe.close()
        for worker in self._workers:
            try:
                worker.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()

    def _interrupt(self) -> None:
        """Windows tells the whole group by itself, and nobody can send one process Ctrl+C."""
        if sys.platform == "win32":
            return
        for worker in self._workers:
            if worker.returncode is None:
                os.kill(worker.pid, signal.SIGINT)

    def _ask(self, command: dict[str, Any]) -> None:
        for worker in self._workers:
            assert worker.stdin is not None
            try:
                print(json.dumps(command), file=worker.stdin, flush=True)
            except OSError:
                self._has_ended(worker)

    def _answer(self, worker: subprocess.Popen[str]) -> dict[str, Any]:
        assert worker.stdout is not None
        line = worker.stdout.readline()
        if not line:
            self._has_ended(worker)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _has_ended(self, worker: subprocess.Popen[str]) -> NoReturn:
        """It has said why on stderr, which is ours."""
        raise OSError(f"a generator process ended with exit code {worker.wait(END_TIMEOUT_S)}")


def work(engines: Engines, stop: Stop, *, progress: bool) -> None:
    """Be one of those processes: connect, then do what is asked until stdin ends."""

    def say(**content: Any) -> None:
        print(json.dumps(content), flush=True)

    def say_point(point: Point) -> None:
        try:
            say(point=point)
        except OSError:  # the core, which called this, can't pass it on
            stop.request()

    opened, errors = engines.connect()
    say(connections_opened=opened, errors=errors)
    for command in _commands(stop):
        if command.pop("run", False):
            stop.watch_stdin()
            engines.run(say_point if progress else None, command["begin_ns"])
            say(ran=True)
            break
        say(slice=engines.slice(**command).to_json())
    say(part=engines.part().to_json())


def _commands(stop: Stop) -> Iterator[dict[str, Any]]:
    while line := stop.read_line():
        yield json.loads(line)
