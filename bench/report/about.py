"""What a run's figures rest on: the machine, the settings, how much was measured, and how to do it again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench.analysis.findings import Findings
from bench.plan.suite import Experiment
from bench.records.store import RunFolder
from bench.report import reproduce, units

_LABELS = {
    "cpu.model": "CPU",
    "cpu.allowed": "CPUs allowed",
    "cpu.cores": "physical cores",
    "memory_bytes": "memory",
    "kernel": "kernel",
    "distribution": "distribution",
    "virtual": "virtual machine",
    "power_plan": "power plan",
    "priority": "priority",
    "python": "Python",
}


class About(NamedTuple):
    """A run as the page tells of it, figures aside."""

    name: str
    main: dict[str, str]
    rest: dict[str, str]
    amounts: list[str]  # how much was measured
    command: str
    notes: list[str]  # on the command
    cells_file: str
    is_beside: bool  # its files are in the page's folder


def of(folder: RunFolder, findings: Findings, target: Path) -> About:
    """Everything about a run of `findings`, on a page that goes to `target`."""
    run = folder.run
    flat = dict(_flat(run.environment))
    main = {label: _readable(key, flat.pop(key)) for key, label in _LABELS.items() if flat.get(key)}
    main["placement"] = _placement(findings, folder.path.name)
    if run.server_python is not None:
        python = run.server_python
        gil = "" if python.gil else ", without the GIL"
        main["servers' Python"] = f"{python.interpreter} on {python.system}{gil}"
    main["seed"] = str(run.seed)
    main["measured"] = f"{run.started_at} ({run.status})"
    rest = {key: _readable(key, value) for key, value in flat.items() if value is not None}
    return About(
        name=folder.path.name,
        main=main,
        rest=rest | run.versions,
        amounts=_amounts(findings.suites[folder.path.name].experiment),
        command=reproduce.command(run),
        notes=list(reproduce.notes(run)),
        cells_file=folder.cells_file.name,
        is_beside=target.resolve() == folder.path.resolve(),
    )


def _placement(findings: Findings, run: str) -> str:
    cells = findings.cells[findings.cells["run"] == run]
    pairs = cells[["server_cpus", "generator_cpus"]].drop_duplicates().itertuples(index=False, name=None)
    return "; ".join(f"server on CPU {server}, generator on {client}" for server, client in pairs)


def _amounts(experiments: list[Experiment]) -> list[str]:
    """A line for all experiments where they are alike, otherwise one for those that are."""
    groups: dict[str, list[str]] = {}
    for one in experiments:
        groups.setdefault(_amount(one), []).append(one.name)
    if len(groups) == 1:
        return list(groups)
    return [f"{', '.join(names)}: {amount}" for amount, names in groups.items()]


def _amount(experiment: Experiment) -> str:
    rounds, slice_ = experiment.rounds, units.tick(experiment.slice_s * 1e9, units.TIMES)
    each = f"{rounds} round{'s' if rounds != 1 else ''} in slices of at least {slice_}"
    if experiment.search is not None:
        return f"trials, each with fresh processes and {each}"
    return f"{experiment.repeats} repeat{'s' if experiment.repeats != 1 else ''} of {each}"


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _readable(key: str, value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and key.endswith("_ns"):
        return units.time(float(value))
    if is_number and key.endswith("_bytes"):
        return units.size(int(value))
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
