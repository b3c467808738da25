"""What load to make: the options of the command line, checked."""

import argparse
import functools
import ipaddress
import os
import socket
import sys
from typing import NamedTuple

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
CONNECTIONS_MAX = 1_000_000
DEPTH_MAX = 1024
SOURCES_MAX = 64
# Of 28 000 ports, on Windows of 16 384; past the half of them the search for a free one gets slow.
CONNECTIONS_PER_SOURCE = 8_000 if sys.platform == "win32" else 14_000
OWN_DESCRIPTORS = 32  # of the interpreter, its pipes and the poller


class Profile(NamedTuple):
    """One load on one server. Times in seconds, as on the command line."""

    host: str
    port: int
    connections: int
    message_bytes: int
    depth: int
    duration_s: float
    warmup_s: float
    spin: bool
    sources: tuple[str, ...]
    cpus: frozenset[int] | None
    response_timeout_s: float
    seed: int
    slices: bool
    progress: bool


def parse(arguments: list[str] | None = None) -> Profile:
    """Read the command line; where it is wrong, say so on stderr and exit with 2."""
    parser = _parser()
    options = parser.parse_args(arguments)
    host, port = _target(parser, options.target)
    if not options.allow_remote and not ipaddress.ip_address(host).is_loopback:
        parser.error(f"{host} is not on this machine: --allow-remote says that you may put load on it")
    sources = (
        tuple(options.sources.split(",")) if options.sources else _default_sources(host, options.connections)
    )
    for source in sources:
        _check_source(parser, source)
    return Profile(
        host=host,
        port=port,
        connections=options.connections,
        message_bytes=options.message_bytes,
        depth=options.depth,
        duration_s=options.duration_s,
        warmup_s=options.warmup_s,
        spin=options.wait == "spin",
        sources=sources,
        cpus=_cpus(parser, options.cpus),
        response_timeout_s=options.response_timeout_s,
        seed=options.seed,
        slices=options.slices,
        progress=options.progress,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadgen",
        description="Put load on an echo server in a closed loop; verify every echo, record every delay.",
        epilog="example: python -m loadgen 127.0.0.1:9000 --connections 100 --duration-s 3",
        # Without a width it would ask for the terminal's, in shutil, which takes 4 ms to import.
        formatter_class=functools.partial(argparse.ArgumentDefaultsHelpFormatter, width=100),
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("target", metavar="HOST:PORT")
    add(
        "--connections",
        type=_whole(1, CONNECTIONS_MAX),
        default=1,
        metavar="N",
        help="connections, all at once",
    )
    add(
        "--message-bytes",
        type=_whole(1, MESSAGE_BYTES_MAX),
        default=64,
        metavar="N",
        help="bytes of a message",
    )
    add(
        "--depth",
        type=_whole(1, DEPTH_MAX),
        default=1,
        metavar="N",
        help="requests in flight on a connection",
    )
    add("--duration-s", type=_seconds, default=3.0, metavar="S", help="the time that is measured")
    add("--warmup-s", type=_seconds_or_none, default=0.5, metavar="S", help="load before that")
    add(
        "--wait",
        choices=("sleep", "spin"),
        default="sleep",
        help="between echoes: sleep, or poll without a pause",
    )
    add(
        "--sources",
        metavar="A,B",
        help=f"source addresses; otherwise one for each {CONNECTIONS_PER_SOURCE} connections",
    )
    add("--cpus", metavar="0,1", help="run on these CPUs alone")
    add("--response-timeout-s", type=_seconds, default=5.0, metavar="S", help="to connect, and for an echo")
    add("--seed", type=_whole(0, 2**63), default=1, metavar="N", help="of the random bytes that are sent")
    add("--allow-remote", action="store_true", help="the server may be another machine")
    add("--slices", action="store_true", help="one JSON line on stdin for each slice of load")
    add("--progress", action="store_true", help="a JSON line each second")
    return parser


class _whole:  # noqa: N801 - a type for argparse, which shows its name in errors
    """A whole number within limits."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def __call__(self, text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not self.low <= number <= self.high:
            raise argparse.ArgumentTypeError(f"{number} is not within {self.low} to {self.high}")
        return number


def _seconds_or_none(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not 0 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not within 0 and a day")
    return seconds


def _seconds(text: str) -> float:
    seconds = _seconds_or_none(text)
    if seconds < 0.001:
        raise argparse.ArgumentTypeError(f"{text} is less than a millisecond")
    return seconds


def _target(parser: argparse.ArgumentParser, text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not 1 <= int(port) <= 65535:
        parser.error(f"{text!r} is not HOST:PORT with a port from 1 to 65535")
    try:
        return socket.gethostbyname(host), int(port)
    except (OSError, UnicodeError):
        return parser.error(f"{host!r} is no IPv4 address and no name of one")


def _default_sources(host: str, connections: int) -> tuple[str, ...]:
    """Enough source addresses for `connections`: loopback has 16 million, elsewhere there is one."""
    count = -(-connections // CONNECTIONS_PER_SOURCE)
    if count == 1 or not ipaddress.ip_address(host).is_loopback:
        return ()
    return tuple(str(ipaddress.IPv4Address("127.0.0.1") + i) for i in range(min(count, SOURCES_MAX)))


def _check_source(parser: argparse.ArgumentParser, source: str) -> None:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((source, 0))
    except (OSError, UnicodeError) as error:
        parser.error(f"--sources: {source!r} is no address of this machine ({error})")


def _cpus(parser: argparse.ArgumentParser, text: str | None) -> frozenset[int] | None:
    if text is None:
        return None
    try:
        cpus = frozenset(int(part) for part in text.split(","))
    except ValueError:
        return parser.error(f"--cpus: {text!r} is not a list of numbers")
    allowed = _cpus_allowed()
    if not cpus <= allowed:
        parser.error(
            f"--cpus: {text} is not within the CPUs that may be used: {','.join(map(str, sorted(allowed)))}"
        )
    return cpus


def _cpus_allowed() -> frozenset[int]:
    if sys.platform == "win32":
        from loadgen import win32

        return win32.cpus_allowed()
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))
