"""A load in words. Imports nothing that takes time: progress shows it as well as the page."""

from collections.abc import Sequence

from bench.records.schema import Load
from bench.report import units

ALWAYS = ("connections", "message_bytes")


def describe(load: Load, fields: Sequence[str] | None = None) -> str:
    """`100 connections, 16 KiB messages`: those `fields`, or all that aren't at their default."""
    if fields is None:
        default = Load()
        fields = [
            name
            for name in Load.__struct_fields__
            if name in ALWAYS or getattr(load, name) != getattr(default, name)
        ]
    words = _words(load)
    return ", ".join(words[name] for name in fields)


def _words(load: Load) -> dict[str, str]:
    offered, life, newcomers = load.offered_per_s, load.requests_per_connection, load.newcomers_per_s
    processes = load.generator_processes
    return {
        "connections": _several(load.connections, "connection"),
        "idle": f"{load.idle} idle beside them" if load.idle else "none idle",
        "message_bytes": f"{units.size(load.message_bytes)} messages",
        "depth": f"{load.depth} in flight each",
        "offered_per_s": f"{units.rate(offered)} requests a second" if offered else "as fast as answered",
        "arrivals": "at random moments" if load.arrivals == "poisson" else "at even intervals",
        "requests_per_connection": f"{_several(life, 'request')} a connection" if life else "that stay",
        "close": "closed by reset" if load.close == "reset" else "closed in order",
        "newcomers_per_s": f"{units.rate(newcomers)} newcomers a second" if newcomers else "no newcomers",
        "wait": f"a generator that {load.wait}s",
        "generator_threads": _several(load.generator_threads, "generator thread"),
        "generator_processes": _several(processes, "generator process", "es") if processes else "as needed",
    }


def _several(count: int, noun: str, plural: str = "s") -> str:
    return f"{count} {noun}{plural if count != 1 else ''}"
