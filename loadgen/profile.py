"""What load to make: the options of the command line, checked; and how it is shared by parts.

A part is one engine: a thread of one of the generator's processes. Parts are alike but for how many of the
connections are theirs and which; the schedule of an open loop is one for all.
"""

import argparse
import functools
import ipaddress
import itertools
import os
import socket
import sys
from typing import NamedTuple

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
CONNECTIONS_MAX = 1_000_000
DEPTH_MAX = 1024
BACKLOG = 1024
PARTS_MAX = 64
RATE_MAX_PER_S = 10_000_000
BACKLOG_MAX = 1_000_000
SOURCES_MAX = 64
# Of 28 000 ports, on Windows of 16 384; past the half of them the search for a free one gets slow.
CONNECTIONS_PER_SOURCE = 8_000 if sys.platform == "win32" else 14_000
# With churn a port stays in TIME_WAIT, on loopback for a second before it may serve again: so many addresses
# carry 200 000 connections a second.
SOURCES_FOR_CHURN = 8
OWN_DESCRIPTORS = 32  # of the interpreter, its pipes and the poller; for each thread


class Profile(NamedTuple):
    """One load on one server. Times in seconds, as on the command line."""

    host: str
    port: int
    connections: int
    idle: int
    message_bytes: int
    depth: int
    rate_per_s: float | None
    poisson: bool
    backlog: int
    requests_per_connection: int | None
    close_by_reset: bool
    newcomers_per_s: float | None
    duration_s: float
    warmup_s: float
    spin: bool
    sources: tuple[str, ...]
    cpus: frozenset[int] | None
    response_timeout_s: float
    seed: int
    slices: bool
    progress: bool
    threads: int
    processes: int
    # Of a part: which of all. A whole load is its own only part.
    all_connections: int
    first_connection: int = 0  # among the active ones
    first_number: int = 0  # among all
    part: int = 0
    parts: int = 1
    is_worker: bool = False  # a process that another one started, which adds up

    def divided(self, index: int, count: int) -> "Profile":
        """Part `index` of `count`: its share of the connections, and source addresses of its own."""
        active, idle = _shares(self.connections, count), _shares(self.idle, count)
        before = list(itertools.accumulate((sum(pair) for pair in zip(active, idle, strict=True)), initial=0))
        return self._replace(
            connections=active[index],
            idle=idle[index],
            newcomers_per_s=self.newcomers_per_s if index == 0 else None,
            sources=self.sources[index::count] or self.sources,
            first_connection=self.first_connection + sum(active[:index]),
            first_number=self.first_number + before[index],
            part=self.part * count + index,
            parts=self.parts * count,
        )


def _shares(whole: int, count: int) -> list[int]:
    return [whole // count + (i < whole % count) for i in range(count)]


def parse(arguments: list[str] | None = None) -> Profile:
    """Read the command line; where it is wrong, say so on stderr and exit with 2."""
    parser = _parser()
    options = parser.parse_args(arguments)
    host, port = _target(parser, options.target)
    if not options.allow_remote and not ipaddress.ip_address(host).is_loopback:
        parser.error(f"{host} is not on this machine: --allow-remote says that you may put load on it")
    _check_together(parser, options)
    processes = options.processes or _processes_needed(parser, options)
    if processes * options.threads > min(options.connections, PARTS_MAX):
        parser.error(
            f"--processes {processes} and --threads {options.threads} make "
            f"{processes * options.threads} parts: at most {PARTS_MAX}, and a connection for each"
        )
    profile = Profile(
        host=host,
        port=port,
        connections=options.connections,
        idle=options.idle,
        message_bytes=options.message_bytes,
        depth=options.depth,
        rate_per_s=options.rate,
        poisson=options.arrivals == "poisson",
        backlog=options.backlog,
        requests_per_connection=options.requests_per_connection,
        close_by_reset=options.close == "reset",
        newcomers_per_s=options.newcomers_per_s,
        duration_s=options.duration_s,
        warmup_s=options.warmup_s,
        spin=options.wait == "spin",
        sources=_sources(parser, options, host, processes * options.threads),
        cpus=_cpus(parser, options.cpus),
        response_timeout_s=options.response_timeout_s,
        seed=options.seed,
        slices=options.slices,
        progress=options.progress,
        threads=options.threads,
        processes=processes,
        all_connections=options.connections,
    )
    if options.part is None:
        return profile
    return profile.divided(options.part, processes)._replace(processes=1, is_worker=True)


def _check_together(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """What each option for itself allows and two of them don't."""
    if options.rate is None:
        for name in ("arrivals", "backlog"):
            if getattr(options, name) is not None:
                parser.error(f"--{name} belongs to an open loop: give its --rate, too")
    elif options.depth > 1:
        parser.error("--depth has no meaning with --rate: there the schedule says when a request starts")
    if options.close is not None and options.requests_per_connection is None:
        parser.error("--close belongs to churn: give --requests-per-connection, too")
    if options.requests_per_connection is not None and options.depth > options.requests_per_connection:
        parser.error(
            f"--depth {options.depth} can't be in flight on a connection "
            f"that has --requests-per-connection {options.requests_per_connection}"
        )
    options.arrivals = options.arrivals or "constant"
    options.backlog = options.backlog or BACKLOG


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadgen",
        description="Put load on an echo server; verify every echo, record every delay. Without --rate the "
        "loop is closed: the echo of a request starts the next one.",
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
        "--idle",
        type=_whole(0, CONNECTIONS_MAX),
        default=0,
        metavar="N",
        help="more of them, each with one echo at the begin and one at the end and silent in between",
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
    add("--rate", type=_rate, metavar="R", help="open loop: requests a second, whatever the server does")
    add(
        "--arrivals",
        choices=("constant", "poisson"),
        help="open loop: times between requests all the same, or exponential (default: constant)",
    )
    add(
        "--backlog",
        type=_whole(1, BACKLOG_MAX),
        metavar="N",
        help="open loop: so many may wait on a connection; past that the oldest is given up and counted as "
        f"an error (default: {BACKLOG})",
    )
    add(
        "--requests-per-connection",
        type=_whole(1, 1_000_000),
        metavar="K",
        help="churn: after so many close the connection and open it again",
    )
    add(
        "--close",
        choices=("fin", "reset"),
        help="churn: end the stream in order, or drop it (default: fin)",
    )
    add(
        "--newcomers-per-s",
        type=_rate,
        metavar="R",
        help="beside the load, at random moments: connect, one echo, close; connect and first-echo times are "
        "theirs",
    )
    add(
        "--threads",
        type=_whole(1, PARTS_MAX),
        default=1,
        metavar="N",
        help="of each process, which share the connections",
    )
    add(
        "--processes",
        type=_whole(1, PARTS_MAX),
        metavar="N",
        help="that share the connections, each with source addresses of its own; otherwise as many as one "
        "process's descriptors make necessary",
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
    add("--part", type=_whole(0, PARTS_MAX - 1), help=argparse.SUPPRESS)  # of a worker, which is this program
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


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 < rate <= RATE_MAX_PER_S:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and up to {RATE_MAX_PER_S}")
    return rate


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


def descriptors_max() -> int | None:
    """How many sockets one process may have; None where memory alone is the limit."""
    if sys.platform == "win32":
        return None
    import resource

    hard: int = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return None if hard == resource.RLIM_INFINITY else hard


def _processes_needed(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """One, unless a process may not have as many descriptors as there are connections; or an error."""
    limit = descriptors_max()
    if limit is None:
        return 1
    own = OWN_DESCRIPTORS * options.threads
    connections = options.connections + options.idle
    needed: int = -(-connections // max(1, limit - own))
    most = max(1, min(options.connections, PARTS_MAX // options.threads))
    if needed > most:
        parser.error(
            f"{connections} connections need as many descriptors; {most} process{'es' if most > 1 else ''} "
            f"may have {most * (limit - own)}. Raise the limit: "
            f"ulimit -Hn {-(-connections // most) + own} as root"
        )
    return needed


def ports() -> int:
    """How many local ports an address has for connections: what the system's settings say."""
    if sys.platform == "win32":
        return 16_384
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range") as file:  # noqa: PTH123 - as above
            low, high = file.read().split()
            return int(high) - int(low) + 1
    except (OSError, ValueError):
        return 28_232


def _sources(
    parser: argparse.ArgumentParser, options: argparse.Namespace, host: str, parts: int
) -> tuple[str, ...]:
    """The source addresses: those that were asked for, else enough for all connections; or an error.

    Loopback has 16 million addresses, elsewhere there is the one that the system chooses.
    """
    connections = options.connections + options.idle
    count = max(1, parts, -(-connections // CONNECTIONS_PER_SOURCE))
    if options.requests_per_connection is not None:
        count = max(count, SOURCES_FOR_CHURN)
    is_local = ipaddress.ip_address(host).is_loopback
    if options.sources:
        sources = tuple(options.sources.split(","))
        if len(sources) > SOURCES_MAX:
            parser.error(f"--sources: {len(sources)} addresses are more than {SOURCES_MAX}")
    elif count == 1 or not is_local:
        sources = ()
    else:
        sources = tuple(str(ipaddress.IPv4Address("127.0.0.1") + i) for i in range(min(count, SOURCES_MAX)))
    for source in sources:
        _check_source(parser, source)
    room = max(1, len(sources)) * ports()
    if connections > room:
        parser.error(
            f"{connections} connections need as many local ports; {len(sources) or 1} source "
            f"address{'es have' if len(sources) > 1 else ' has'} {room}: "
            "name more of this machine's with --sources"
        )
    return sources


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
