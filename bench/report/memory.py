"""Memory for each connection, in words and rows."""

from collections.abc import Sequence

from bench.analysis.memory import Memory
from bench.report import units

TITLE = "Memory for each idle connection"
HEADERS = ("contender", "in the process", "in the kernel", "process without any")
READ = (
    "What there was with all connections open, less what there was before the first, over their number. "
    "In the kernel: what it charges to the server; what an interrupt allocates may be charged to nobody."
)


def cells(one: Memory) -> list[str]:
    """Under HEADERS."""
    sizes = (one.process_bytes, one.kernel_bytes, one.without_bytes)
    return [one.contender, *(units.NOTHING if size is None else units.size(round(size)) for size in sizes)]


def sentence(found: Sequence[Memory]) -> str:
    """The least and the most, in words."""
    least, most = found[0], found[-1]
    if least is most:
        return f"An idle connection takes {_words(least)}."
    extremes = ", ".join(f"{_words(one)} with {one.contender}" for one in (least, most))
    return f"An idle connection takes {extremes}."


def _words(one: Memory) -> str:
    parts = [(one.process_bytes, "in the process"), (one.kernel_bytes, "in the kernel")]
    return " and ".join(f"{units.size(round(size))} {where}" for size, where in parts if size is not None)


def titles(found: Sequence[Memory], labels: dict[str, str]) -> dict[str, list[Memory]]:
    """Rows under what a section of a table is called: `8010 open connections`."""
    sections: dict[str, list[Memory]] = {}
    for one in found:
        label = f"{labels[one.run]}, " if len(labels) > 1 else ""
        sections.setdefault(f"{label}{one.connections} open connections", []).append(one)
    return sections
