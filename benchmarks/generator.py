"""The load generator against another one, on the same server: which puts on more load?

    python benchmarks/generator.py \\
        --server './cserv epoll_lt {port} 0' \\
        --peer './cgen -p {port} -c {connections} -C 1 -d {seconds} -w {warmup}'

Both are run in short turns, in a random order within each pair, on one server process for each connection
count; the ratio of their request rates is taken within the pair. The peer prints a JSON object with its
request rate (`--peer-key`). The table has the mean ratio, its 95 % interval (Student's t over the pairs), and
the CPU time that the own one used for a request.

Nothing else may run meanwhile. The machine's own speed wanders; the ratio within a pair hardly does.
"""

import argparse
import json
import random
import shlex
import socket
import subprocess
import sys
import time
from typing import Any

import numpy as np

from bench.analysis.intervals import t_interval


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_server(template: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start the server and wait until it accepts."""
    port = free_port()
    process = subprocess.Popen(shlex.split(template.format(port=port)), stdout=subprocess.DEVNULL)
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process, port
        time.sleep(0.05)
    process.kill()
    raise SystemExit(f"the server doesn't listen on {port}: {template}")


def run(command: list[str]) -> dict[str, Any]:
    """Run a generator; the last line it printed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)} failed:\n{done.stderr or done.stdout}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def compare(arguments: argparse.Namespace, connections: int) -> list[str]:
    """One row of the table."""
    server, port = start_server(arguments.server)
    own_command = [
        *(sys.executable, "-P", "-m", "loadgen", f"127.0.0.1:{port}", "--connections", str(connections)),
        *(
            "--duration-s",
            str(arguments.seconds),
            "--warmup-s",
            str(arguments.warmup),
            "--cpus",
            str(arguments.cpu),
        ),
        *("--wait", arguments.wait),
    ]
    values = {"port": port, "connections": connections, "cpu": arguments.cpu}
    values |= {"seconds": arguments.seconds, "warmup": arguments.warmup}
    peer_command = shlex.split(arguments.peer.format(**values))
    log_ratios, own_rates, peer_rates, own_cpu_us = [], [], [], []
    try:
        for _ in range(arguments.pairs):
            results = {}
            for who in random.sample(("own", "peer"), 2):
                results[who] = run(own_command if who == "own" else peer_command)
            own, peer = results["own"]["rate_per_s"], float(results["peer"][arguments.peer_key])
            if results["own"]["errors"]:
                raise SystemExit(f"errors at {connections} connections: {results['own']['errors']}")
            log_ratios.append(np.log(own / peer))
            own_rates.append(own)
            peer_rates.append(peer)
            own_cpu_us.append(results["own"]["client"]["cpu_ns_per_request"] / 1000)
    finally:
        server.kill()
        server.wait()
    mean, low, high = np.exp(t_interval(log_ratios)[:3])
    rates = f"{np.median(own_rates):,.0f}", f"{np.median(peer_rates):,.0f}"
    return [
        str(connections),
        *rates,
        f"{mean:.3f}",
        f"{low:.3f} - {high:.3f}",
        f"{np.median(own_cpu_us):.2f} us",
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", required=True, help="command; {port} is filled in")
    parser.add_argument(
        "--peer", required=True, help="command; {port} {connections} {seconds} {warmup} {cpu} are filled in"
    )
    parser.add_argument("--peer-key", default="rps", help="of the peer's request rate in its JSON")
    parser.add_argument("--connections", default="1,10,100,1000,10000")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=0.4, help="of load in each turn")
    # Three response times of 10 000 connections: before that a generator that starts all at once is in step.
    parser.add_argument("--warmup", type=float, default=0.3, help="seconds of load before that")
    parser.add_argument("--cpu", type=int, default=1, help="that the generator runs on")
    parser.add_argument("--wait", choices=("sleep", "spin"), default="sleep")
    arguments = parser.parse_args()
    header = ["connections", "own/s", "peer/s", "ratio", "95 % interval", "own CPU/request"]
    print("".join(f"{title:>17}" for title in header))
    for connections in map(int, arguments.connections.split(",")):
        print("".join(f"{cell:>17}" for cell in compare(arguments, connections)), flush=True)


if __name__ == "__main__":
    main()
