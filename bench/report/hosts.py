"""In what the hosts of several runs differ."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.records.schema import Run

# What no yardstick makes up for: it and the others may be touched by these to different degrees.
MUST_AGREE = {
    "system": "system",
    "cpu.model": "CPU",
    "cpu.allowed": "CPUs allowed",
    "placement": "placement",
}
# What one may want to compare; it is named beside the table.
MAY_DIFFER = {
    "kernel": "kernel",
    "power_plan": "power plan",
    "virtual": "virtual machine",
    "priority": "priority",
}


def differing(runs: Sequence[Run], facts: Mapping[str, str]) -> Iterator[str]:
    """`CPU: AMD EPYC and Intel Xeon` for each fact in which they differ."""
    for key, label in facts.items():
        values = dict.fromkeys(str(_fact(run.environment, key)) for run in runs)
        if len(values) > 1:
            yield f"{label}: {' and '.join(values)}"


def _fact(environment: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        environment = environment.get(part, {}) if isinstance(environment, dict) else {}
    return environment or None
