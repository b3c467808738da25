"""A whole run: repeats of blocks, each on the disk before the next begins, so that nothing finished is lost.

A run can be ended at any moment and resumed: seed and suite are in its folder, so what is missing is known.
"""

import itertools
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from bench.errors import Exit, UserError
from bench.host import limits
from bench.host.environment import environment, system, versions, yardstick_sha256
from bench.host.placement import Placement, allowed_cpus, cores, place
from bench.host.priority import Priority, best, raised
from bench.host.programs import check_program
from bench.measure.block import Measured, Sizes, measure
from bench.measure.estimate import expected_s, nominal_s, offers_s, searches_s
from bench.measure.interpreter import Interpreter, describe, foreign_calls, list_models
from bench.measure.marks import WAITING_SHARE
from bench.measure.precision import Goal, Look
from bench.measure.search import expected_trials, judge, next_value, searched_value
from bench.measure.setup import Conditions
from bench.plan.cells import Block, blocks, offered, schedule, set_apart, shuffled, trial
from bench.plan.contender import YARDSTICK_MODELS, Contender, Model
from bench.plan.suite import Experiment, Search, Suite, from_run, loads
from bench.records.schema import SCHEMA, Load, Precision, Record, Run, ServerPython
from bench.records.store import RunFolder

START_SHARE = 0.5  # of a closed loop's rate: where a search for an open one's limit begins
FIRST_GUESS = 1.2  # of a block's time over its time in slices, until one was measured


class Progress(NamedTuple):
    """Where a run stands. While repeats are added, `total` counts this one's and `left_s` is the budget's."""

    block: Block
    repeat: int
    number: int  # of this block among all, from 1
    total: int
    left_s: float
    goal: Goal | None = None  # where repeats are being added


class Observer(Protocol):
    """Who is told what happens. Called between slices only, where drawing disturbs nothing."""

    def block_begins(self, progress: Progress) -> None:
        """Its processes are about to start."""

    def round_begins(self, number: int) -> None:
        """Round 0 is the warm-up."""

    def block_ended(self, progress: Progress, records: list[Record]) -> None:
        """What was measured is on the disk."""

    def note(self, text: str) -> None:
        """Something that the reader of the results should know."""


class Servers(NamedTuple):
    """What can be measured: models under the Python that servers run under, the yardstick under ours."""

    interpreter: Interpreter
    models: list[Model]
    yardstick: Contender

    @property
    def system(self) -> str:
        """What the models run on, in the words of their `systems`."""
        python = self.interpreter.python
        return (python.system if python else system()).removesuffix("-wine")


def servers(interpreter: Interpreter) -> Servers:
    """Ask what there is. Raises UserError where that fails."""
    models = list_models(interpreter)
    own_models = models if interpreter.python is None else list_models()
    return Servers(interpreter, models, yardstick(own_models))


def yardstick(models: list[Model]) -> Contender:
    """The contender that joins every block here."""
    base = YARDSTICK_MODELS.get(sys.platform)
    if base is None:
        raise UserError("servers are measured on Linux and Windows; here `report` works", Exit.UNAVAILABLE)
    model = next((one for one in models if one.name == base and "c" in one.implementations), None)
    if model is None:
        reason: str | None = f"{base} has no implementation in C here"
    else:
        reason = None if model.available else model.reason
    return Contender(name=f"{base}:c", model=base, implementation="c", unavailable=reason)


def create(
    suite: Suite,
    *,
    seed: int,
    placement: Placement,
    priority: Priority = Priority.NORMAL,
    results: Path,
    interpreter: Interpreter,
    precision: Precision | None = None,
    command: Sequence[str] = (),
) -> RunFolder:
    """Make the folder of a new run; `check` comes before it. Raises UserError where it can't be written.

    What a call costs from `interpreter`, that of the servers, is measured here, before anything else runs.
    `command` are the arguments that the program was given.
    """
    run = Run(
        schema=SCHEMA,
        name=suite.name,
        status="running",
        started_at=_now(),
        seed=seed,
        suite=msgspec.to_builtins(suite),
        environment={**environment(), "placement": placement.value, "priority": priority.value},
        versions=versions(),
        yardstick_sha256=yardstick_sha256(),
        server_python=interpreter.python,
        foreign_calls=foreign_calls(interpreter),
        precision=precision,
        command=list(command),
    )
    return RunFolder.create(results, run)


def check(suite: Suite) -> None:
    """Raise UserError where `suite` can't be measured here, before anything is started."""
    limits.check_connections(connections_of_a_server(suite), limits.raise_descriptor_limit())
    limits.check_ports(connections_max(suite))
    contenders = [one for experiment in suite.experiment for one in experiment.contenders]
    if all(one.unavailable is not None for one in contenders):
        raise UserError(
            f"nothing to measure: {contenders[0].name}: {contenders[0].unavailable}", Exit.UNAVAILABLE
        )
    for one in contenders:
        if one.command is not None:
            check_program(one.name, one.command[0])


def resume(path: Path, server_python: ServerPython | None = None) -> tuple[RunFolder, Suite]:
    """Open a run to go on with it. Raises UserError where that would mix what can't be compared."""
    before = RunFolder.open(path).run
    suite = from_run(before.suite)
    _check_server_python(path.name, before.server_python, server_python)
    now = environment()
    for key in ("system", "kernel", "machine", "cpu", "python"):
        if before.environment.get(key) != now[key]:
            raise UserError(
                f"{path.name} was measured with another {key}: what is added now could not be compared\n"
                "start a new run; `iocpbench report` shows several beside each other",
                Exit.UNAVAILABLE,
            )
    if before.yardstick_sha256 != yardstick_sha256():
        raise UserError(
            f"the C servers were built anew since {path.name} began: start a new run", Exit.UNAVAILABLE
        )
    if _priority(before) is Priority.HIGH and best() is not Priority.HIGH:
        raise UserError(
            f"{path.name} was measured with high priority, which isn't permitted now: go on as who began it",
            Exit.UNAVAILABLE,
        )
    check(suite)
    return RunFolder.open(path, append=True), suite


def _priority(run: Run) -> Priority:
    return Priority(str(run.environment.get("priority", Priority.NORMAL)))


def _check_server_python(run: str, before: ServerPython | None, now: ServerPython | None) -> None:
    if before == now:
        return
    fact = f"the servers of {run} ran under {describe(before)}"
    if now is None:
        raise UserError(f"{fact}: name that with --server-python PATH, too", Exit.USAGE)
    cure = "name that one" if before else "leave --server-python out"
    raise UserError(f"{fact}, and --server-python is {describe(now)}: {cure}", Exit.UNAVAILABLE)


def connections_max(suite: Suite) -> int:
    """The most connections that one contender of `suite` is to hold."""
    return max(load.held for experiment in suite.experiment for load in loads(experiment.load))


def connections_of_a_server(suite: Suite) -> int:
    """The most that one process of a contender is to hold."""
    return max(
        -(-load.held // contender.processes)
        for experiment in suite.experiment
        for load in loads(experiment.load)
        for contender in experiment.contenders
    )


def plan(suite: Suite, found: Servers) -> list[Block]:
    """The blocks of `suite` on this machine."""
    of_a_process = limits.connections_of_a_process(limits.raise_descriptor_limit())
    return blocks(suite, found.yardstick, limits.connections_at_once(), of_a_process)


class Measurement:
    """Measures what is missing in a run's folder, in the order that its seed gives."""

    def __init__(
        self,
        folder: RunFolder,
        suite: Suite,
        found: Servers,
        observer: Observer,
        look: Look | None = None,  # what a run needs that is to be precise
    ) -> None:
        run = folder.run
        assert run.precision is None or look is not None, "what is to be precise has to be looked at"
        self._look = look
        self._suite = suite
        self._planned = plan(suite, found)
        cpus = allowed_cpus()
        placement = Placement(str(run.environment["placement"]))
        self._folder = folder
        self._observer = observer
        self._conditions = Conditions(
            cpus=place(placement, cores(cpus)),
            cpu_count=os.cpu_count() or 1,
            seed=run.seed,
            logs=folder.logs,
            interpreter=found.interpreter,
        )
        records = folder.records()
        # By experiment: who looks through 10 000 idle connections once more after each slice disturbs none
        # where there are ten.
        self._restless: defaultdict[str, set[str]] = defaultdict(set)
        for one in records:
            if (one.samples.server_waiting_cpu_share or 0.0) > WAITING_SHARE:
                self._restless[one.cell.experiment].add(one.cell.contender)
        self._done = {_key_of(one) for one in records}
        self._missing: list[tuple[int, Block]] = []
        self._total = self._number = 0
        self._sizes: dict[str, Sizes] = {}
        self._seconds_a_nominal_second = FIRST_GUESS
        self._afterwards_s = 0.0  # what is found while measuring, and comes after the blocks planned

    def run(self) -> int:
        """Measure all that is missing; the number of cells that failed.

        On any exception, Ctrl+C included, what was finished is kept and the run's status says so.
        """
        self._elapsed_before_s = self._folder.run.elapsed_s or 0.0
        self._slices_s = self._folder.run.slices_s or 0.0
        self._began = time.monotonic()
        self._folder.update(status="running")
        with raised(_priority(self._folder.run)):
            return self._run()

    def _run(self) -> int:
        searched_s = sum(map(searches_s, self._suite.experiment))
        try:
            self._afterwards_s = searched_s + offers_s(self._suite, self._planned)
            failed = self._blocks(self._planned)
            self._afterwards_s = searched_s
            open_loops = self._offered()
            failed += self._blocks(open_loops)
            failed += self._until_precise([*self._planned, *open_loops])
            failed += sum(
                self._search(experiment, experiment.search, load, contender)
                for experiment in self._suite.experiment
                if experiment.search is not None
                for load in loads(experiment.load)
                for contender in experiment.contenders
            )
        except KeyboardInterrupt:
            self._update("interrupted")
            raise
        except UserError:  # no room on the disk: what is there already is kept
            raise
        except BaseException:
            self._update("failed")
            raise
        self._update("finished")
        return failed

    def _blocks(self, planned: list[Block]) -> int:
        """Measure what is missing of `planned`; the number of cells that failed."""
        order = list(schedule(planned, self._folder.run.seed))
        self._missing = [item for item in order if not _is_done(*item, self._done)]
        self._total += len(order)
        self._number += len(order) - len(self._missing)
        failed = 0
        while self._missing:
            failed += self._block(*self._missing[0])
            del self._missing[0]
        return failed

    def _until_precise(self, planned: list[Block]) -> int:
        """Repeat what isn't precise until all is or the budget is spent; the number of cells that failed.

        A repeat is the outer loop here, too: who has fewest of them comes first.
        """
        asked = self._folder.run.precision
        if asked is None or self._look is None:
            return 0
        goal = Goal(asked, self._suite.experiment, self._look)
        goal.add(self._folder.records())
        failed = 0
        while wide := [one for one in planned if not goal.is_reached(one)]:
            repeat = 1 + min(map(self._repeats_done, wide))
            order = shuffled(planned, repeat, self._folder.run.seed)
            now = [one for one in order if one in wide and not _is_done(repeat, one, self._done)]
            self._total = self._number + len(now)
            for block in now:
                if self._elapsed_s() >= asked.budget_s:
                    return failed
                failed += self._block(repeat, block, goal)
        return failed

    def _repeats_done(self, block: Block) -> int:
        return next(number for number in itertools.count() if not _is_done(number + 1, block, self._done))

    def _offered(self) -> list[Block]:
        """The open loops whose rates are shares of what the reference did in the closed one."""
        records = self._folder.records()
        found = []
        for experiment in self._suite.experiment:
            for block in self._planned if experiment.offered_shares else ():
                rates = [
                    one.load.rate_per_s
                    for one in records
                    if one.load
                    and one.block == block.name
                    and one.cell.contender == experiment.reference
                    and one.repeat <= block.repeats  # a repeat that is added later must not change the rates
                ]
                if block.experiment != experiment.name or not rates:
                    continue
                capacity = statistics.median(rates)
                offered_per_s = [float(f"{share * capacity:.3g}") for share in experiment.offered_shares]
                found += offered(block, offered_per_s, experiment.load.arrivals[0])
        return found

    def _search(self, experiment: Experiment, search: Search, load: Load, contender: Contender) -> int:
        """Try load after load on one contender; the number of trials that failed to be one."""
        failed = 0
        block_s = expected_s(trial(experiment, contender, load))
        self._afterwards_s = max(0.0, self._afterwards_s - expected_trials(search) * block_s)
        while (value := self._next_value(experiment, search, load, contender)) is not None:
            tried = self._trials(experiment, search, load, contender).get(value, [])
            block = trial(experiment, contender, _at(load, search, value))
            repeat = len(tried) + 1
            self._total = max(self._total, self._number + 1)
            failed += self._block(repeat, block)
        return failed

    def _next_value(
        self, experiment: Experiment, search: Search, load: Load, contender: Contender
    ) -> float | None:
        trials = self._trials(experiment, search, load, contender)
        if any(one.status == "unavailable" for records in trials.values() for one in records):
            return None
        closed = trials.pop(0.0, [])
        levels = {value: judge(value, records, search) for value, records in trials.items()}
        if search.maximise == "connections":
            return next_value(levels, search, load.connections)
        if not closed:  # what a closed loop does: an open one's limit lies below that
            return 0.0
        if closed[0].load is None:
            return None
        return next_value(levels, search, START_SHARE * closed[0].load.rate_per_s)

    def _trials(
        self, experiment: Experiment, search: Search, load: Load, contender: Contender
    ) -> dict[float, list[Record]]:
        """The records of a search so far, by the value that it varies."""
        found: dict[float, list[Record]] = {}
        for one in self._folder.records():
            cell, value = one.cell, searched_value(one.cell.load, search)
            of_it = (cell.experiment, cell.contender) == (experiment.name, contender.name)
            if of_it and cell.load == _at(load, search, value):
                found.setdefault(value, []).append(one)
        return found

    def _block(self, repeat: int, block: Block, goal: Goal | None = None) -> int:
        self._number += 1
        left_s = self._left_s() if goal is None else goal.asked.budget_s - self._elapsed_s()
        progress = Progress(block, repeat, self._number, self._total, left_s, goal)
        self._observer.block_begins(progress)
        began, slices_before_s = time.monotonic(), self._slices_s
        parts = set_apart(block, self._restless[block.experiment])
        records = [record for part in parts for record in self._part(part, repeat)]
        self._folder.append(records)
        self._done |= {_key_of(one) for one in records}
        if goal is not None:
            goal.add(records)
        if self._slices_s > slices_before_s:
            self._seconds_a_nominal_second = (time.monotonic() - began) / (self._slices_s - slices_before_s)
        self._update("running")
        self._observer.block_ended(progress, records)
        return sum(record.status == "failed" for record in records)

    def _part(self, block: Block, repeat: int) -> list[Record]:
        """Measure `block`, and again with whoever disturbed the others set apart."""
        measured = self._measured(block, repeat)
        known = self._restless[block.experiment]
        newly = measured.restless - known
        if not newly or set_apart(block, newly) == [block]:
            return measured.records
        known |= newly
        names = " and ".join(sorted(newly))
        self._observer.note(
            f"{names} used over {WAITING_SHARE:.0%} of a CPU while others had the load: "
            "measured apart, beside the yardstick alone"
        )
        parts = set_apart(block, known)
        return [record for part in parts for record in self._measured(part, repeat).records]

    def _measured(self, block: Block, repeat: int) -> Measured:
        measured = measure(block, repeat, self._conditions, self._observer.round_begins)
        self._sizes[block.name] = measured.sizes
        self._slices_s += measured.slices_s
        return measured

    def _left_s(self) -> float:
        nominal = sum(nominal_s(block, self._sizes.get(block.name)) for _, block in self._missing)
        return nominal * self._seconds_a_nominal_second + self._afterwards_s

    def _elapsed_s(self) -> float:
        """Of measuring, in all sittings."""
        return self._elapsed_before_s + time.monotonic() - self._began

    def _update(self, status: str) -> None:
        self._folder.update(
            status=status,
            finished_at=None if status == "running" else _now(),
            elapsed_s=self._elapsed_s(),
            slices_s=self._slices_s,
        )


_Key = tuple[object, ...]


def _key(*parts: object) -> _Key:
    return parts


def _key_of(record: Record) -> _Key:
    cell = record.cell
    return _key(record.repeat, cell.experiment, cell.contender, cell.load)


def _at(load: Load, search: Search, value: float) -> Load:
    """`load` with what the search varies set to `value`."""
    if search.maximise == "connections":
        return msgspec.structs.replace(load, connections=int(value))
    if not value:
        return msgspec.structs.replace(load, offered_per_s=0.0, arrivals="constant")
    return msgspec.structs.replace(load, offered_per_s=value)


def _is_done(repeat: int, block: Block, done: set[_Key]) -> bool:
    return all(_key(repeat, block.experiment, one.name, block.load) in done for one in block.contenders)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
