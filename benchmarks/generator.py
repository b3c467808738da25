"""The load generator against others, on the same server: which puts on more load?

    python benchmarks/generator.py                           # against the peers that are installed
    python benchmarks/generator.py \\
        --server './cserv epoll_lt {port} 0' \\
        --peer 'probe=./cgen -p {port} -c {connections} -C 1 -d {seconds} -w {warmup}'

Peers that it looks for: `sockperf` (Debian's package of that name) and `echo_bench` (github.com/haraldh/
rust_echo_bench). Any other is named by a command that prints a JSON object with its request rate as `rps`.

sockperf's client drops the replies of a plain echo server, so it is compared on one that marks them as
its own server does (sockperf_echo.c, needs a C compiler). echo_bench divides what it counted until its last
thread had ended by the duration that it was asked for, with 1000 threads a tenth of the time that it took;
here it is divided by the time that its process ran.

Own and peer are run in short turns, in a random order within each pair, on one server process for each
connection count; the ratio of their request rates is taken within the pair. The table has the mean ratio, its
95 % interval (Student's t over the pairs), and the CPU time that the own one used for a request. A peer that
can't do a connection count says so.

Nothing else may run meanwhile. The machine's own speed wanders; the ratio within a pair hardly does.
"""

import argparse
import json
import random
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.analysis.intervals import t_interval

PATIENCE_S = 60


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_server(template: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start the server and wait until it accepts."""
    port = free_port()
    command = shlex.split(template.format(port=port))
    # Our own servers stop when their stdin ends.
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process, port
        time.sleep(0.05)
    process.kill()
    raise SystemExit(f"the server doesn't listen on {port}: {template}")


class CanNotError(Exception):
    """The peer can't make this load; why."""


class Peer(NamedTuple):
    """Another generator: its command, with {port} {connections} {seconds} {warmup} {cpu}, and its rate."""

    name: str
    command: str
    rate_per_s: Callable[["Printed", float], float]  # of what it printed, and the seconds it was asked for
    connections_max: int | None = None
    server: str | None = None  # its own, where it can't do with any echo server


class Printed(NamedTuple):
    """What a generator printed, and how long its process ran."""

    text: str
    elapsed_s: float


def _of_json(printed: Printed, _seconds: float) -> float:
    return float(json.loads(printed.text.splitlines()[-1])["rps"])


def _of_sockperf(printed: Printed, _seconds: float) -> float:
    """Of the messages that came back in the time that it calls valid."""
    found = re.search(
        r"\[Valid Duration\] RunTime=([\d.]+) sec; SentMessages=\d+; ReceivedMessages=(\d+)", printed.text
    )
    if found is None:
        raise CanNotError("it counted no message")
    return int(found[2]) / float(found[1])


def _of_echo_bench(printed: Printed, seconds: float) -> float:
    found = re.search(r"(\d+) response/sec", printed.text)
    if found is None:
        raise CanNotError("it printed no rate")
    return float(found[1]) * seconds / printed.elapsed_s


KNOWN = (
    # In ping-pong it has one request in flight on one connection.
    Peer(
        "sockperf",
        "taskset -c {cpu} sockperf ping-pong --tcp -i 127.0.0.1 -p {port} -m 64 -t {whole_seconds}",
        _of_sockperf,
        connections_max=1,
        server="{sockperf_echo} {port} 0",
    ),
    # A thread for each connection, and whole seconds.
    Peer(
        "echo_bench",
        "taskset -c {cpu} echo_bench --address 127.0.0.1:{port} --number {connections} --length 64 "
        "--duration {whole_seconds}",
        _of_echo_bench,
        connections_max=1000,
    ),
)


def run(command: list[str]) -> Printed:
    """Run a generator. Raises CanNotError."""
    begun = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise CanNotError(f"not ended after {PATIENCE_S} s") from None
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise CanNotError(f"exit code {done.returncode}: {' '.join(last)}")
    return Printed(done.stdout, time.monotonic() - begun)


def build_sockperf_echo(folder: str) -> str:
    """Where it was built. Raises CanNotError without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise CanNotError("no C compiler")
    built = Path(folder) / "sockperf_echo"
    subprocess.run(
        [compiler, "-O2", "-o", built, Path(__file__).parent / "sockperf_echo.c"],
        check=True,
        timeout=PATIENCE_S,
    )
    return str(built)


def compare(arguments: argparse.Namespace, peer: Peer, connections: int) -> list[str]:
    """One row of the table. Raises CanNotError."""
    if peer.connections_max is not None and connections > peer.connections_max:
        raise CanNotError(f"at most {peer.connections_max} connections")
    with tempfile.TemporaryDirectory() as folder:
        template = peer.server or arguments.server
        if peer.server:
            template = template.replace("{sockperf_echo}", build_sockperf_echo(folder))
        server, port = start_server(template)
    seconds = max(1, round(arguments.seconds)) if "{whole_seconds}" in peer.command else arguments.seconds
    own_command = [
        *(sys.executable, "-P", "-m", "loadgen", f"127.0.0.1:{port}", "--connections", str(connections)),
        *("--duration-s", str(seconds), "--warmup-s", str(arguments.warmup)),
        *("--cpus", str(arguments.cpu), "--wait", arguments.wait),
    ]
    values = {"port": port, "connections": connections, "cpu": arguments.cpu, "warmup": arguments.warmup}
    values |= {"seconds": seconds, "whole_seconds": seconds}
    peer_command = shlex.split(peer.command.format(**values))
    log_ratios, own_rates, peer_rates, own_cpu_us = [], [], [], []
    try:
        for _ in range(arguments.pairs):
            printed = {}
            for who in random.sample(("own", "peer"), 2):
                printed[who] = run(own_command if who == "own" else peer_command)
            own: dict[str, Any] = json.loads(printed["own"].text.splitlines()[-1])
            if own["errors"]:
                raise SystemExit(f"errors at {connections} connections: {own['errors']}")
            own_rates.append(own["rate_per_s"])
            peer_rates.append(peer.rate_per_s(printed["peer"], seconds))
            log_ratios.append(np.log(own_rates[-1] / peer_rates[-1]))
            own_cpu_us.append(own["client"]["cpu_ns_per_request"] / 1000)
    finally:
        server.kill()
        server.wait()
    mean, low, high = np.exp(t_interval(log_ratios)[:3])
    return [
        *(peer.name, str(connections), f"{np.median(own_rates):,.0f}", f"{np.median(peer_rates):,.0f}"),
        *(f"{mean:.3f}", f"{low:.3f} - {high:.3f}", f"{np.median(own_cpu_us):.2f} us"),
    ]


def peers(named: list[str]) -> list[Peer]:
    """Those that were named, or those that are installed. Raises SystemExit where there are none."""
    found = []
    for text in named:
        name, equals, command = text.partition("=")
        found.append(Peer(name, command, _of_json) if equals else Peer("peer", text, _of_json))
    found = found or [peer for peer in KNOWN if shutil.which(peer.name)]
    if not found:
        raise SystemExit(
            "no peer is installed: apt-get install sockperf; or put rust_echo_bench's echo_bench on the "
            "PATH; or name a command with --peer"
        )
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    own_server = f"{sys.executable} -P -m servers epoll --implementation c --cpus 0 --port {{port}}"
    parser.add_argument("--server", default=own_server, help="command; {port} is filled in")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="another generator; {port} {connections} {seconds} {warmup} {cpu} are filled in",
    )
    parser.add_argument("--connections", default="1,10,100,1000,10000")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=0.4, help="of load in each turn")
    # Three response times of 10 000 connections: before that a generator that starts all at once is in step.
    parser.add_argument("--warmup", type=float, default=0.3, help="seconds of load before that")
    parser.add_argument("--cpu", type=int, default=1, help="that the generator runs on")
    parser.add_argument("--wait", choices=("sleep", "spin"), default="sleep")
    arguments = parser.parse_args()
    header = ["peer", "connections", "own/s", "peer/s", "ratio", "95 % interval", "own CPU/request"]
    print("".join(f"{title:>17}" for title in header))
    for peer in peers(arguments.peer):
        for connections in map(int, arguments.connections.split(",")):
            try:
                row = compare(arguments, peer, connections)
            except CanNotError as reason:
                row = [peer.name, str(connections), f"  {reason}"]
            print("".join(f"{cell:>17}" for cell in row), flush=True)


if __name__ == "__main__":
    main()
