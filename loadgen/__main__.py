"""python -m loadgen HOST:PORT: connect, put load on, print the result as one JSON line."""

import errno
import json
import os
import socket
import sys
from typing import Any, NoReturn

from loadgen import profile as profiles
from loadgen.engine import LIBRARY, Engines
from loadgen.part import Point
from loadgen.processes import Processes, work
from loadgen.profile import OWN_DESCRIPTORS, Profile
from loadgen.result import result, slice_answer
from loadgen.stop import Stop

if sys.platform == "win32":
    from loadgen import win32

PROBE_BYTES_MAX = 4096  # sent before anything is read, so it must fit every socket buffer on the way


def _fail(message: str, code: int = 1) -> NoReturn:
    print(f"loadgen: {message}", file=sys.stderr)
    raise SystemExit(code)


def _say(event: str, content: dict[str, Any]) -> None:
    """Raises BrokenPipeError where nobody reads any more."""
    try:
        print(json.dumps({"event": event, **content}), flush=True)
    except OSError as error:
        if sys.platform == "win32" and error.errno == errno.EINVAL:  # what a closed pipe is called there
            raise BrokenPipeError from error
        raise


def _raise_descriptor_limit(profile: Profile) -> None:
    """As many descriptors as this process may have; where they can't suffice, say what would."""
    limit = profiles.descriptors_max()
    if sys.platform == "win32" or limit is None:
        return
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    connections = -(-(profile.connections + profile.idle) // profile.processes)
    own = OWN_DESCRIPTORS * profile.threads
    if connections + own > limit:
        _fail(
            f"{connections} connections in a process need as many descriptors; {limit - own} fit here. "
            f"More --processes, or raise the limit: ulimit -Hn {connections + own} as root",
            2,
        )


def _check_echo(profile: Profile) -> None:
    """One message to the target, so that no load is put on something that isn't an echo server."""
    target = f"{profile.host}:{profile.port}"
    sent, received = os.urandom(min(profile.message_bytes, PROBE_BYTES_MAX)), b""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
            connection.settimeout(profile.response_timeout_s)
            if sys.platform == "win32":
                win32.refuse_at_once(connection)
            connection.connect((profile.host, profile.port))
            connection.sendall(sent)
            while len(received) < len(sent) and (part := connection.recv(len(sent) - len(received))):
                received += part
    except ConnectionRefusedError:
        model = "iocp" if sys.platform == "win32" else "epoll"
        _fail(
            f"nothing listens on {target}: start a server first "
            f"(iocpbench serve {model} --port {profile.port})"
        )
    except TimeoutError:
        _fail(f"{target} does not echo: no answer within {profile.response_timeout_s:g} s")
    except OSError as error:
        _fail(f"{target} does not echo: {error}")
    if received != sent:
        what = "other bytes came back" if received else "it closed the connection"
        _fail(f"{target} does not echo: {what}")


Generator = Engines | Processes


def _slices(generator: Generator, stop: Stop) -> list[dict[str, Any]]:
    """Do what each line of stdin asks for; the answers that count."""
    answers = []
    while line := stop.read_line():
        try:
            wanted = json.loads(line)
            round_number, warmup = int(wanted["round"]), bool(wanted.get("warmup", False))
            slice_ns, ramp_ns = _ns(wanted["slice_s"]), _ns(wanted["ramp_s"])
            linger_ns = None if wanted.get("linger_s") is None else _ns(wanted["linger_s"])
        except (ValueError, KeyError, TypeError) as error:
            _fail(f"not a slice: {line.strip()[:80]} ({error!r})", 2)
        part = generator.slice(slice_ns, ramp_ns, warmup=warmup, linger_ns=linger_ns)
        answer = slice_answer(round_number, part, warmup=warmup)
        _say("slice", answer)
        if not warmup:
            answers.append(answer)
    return answers


def _ns(seconds: Any) -> int:
    return round(float(seconds) * 1e9)


class _Progress:
    """Points of the series, put together to a line each second."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._requests = 0
        self._said_s = 0.0

    def __call__(self, point: Point) -> None:
        self._requests += point.requests
        figures = point.figures()
        if figures["t_s"] - self._said_s < 0.999:
            return
        rate_per_s = self._requests / (figures["t_s"] - self._said_s)
        try:
            _say("progress", {**figures, "requests": self._requests, "rate_per_s": rate_per_s})
        except OSError:  # the core, which called this, can't pass it on; the result will meet it again
            self._stop.request()
        self._requests, self._said_s = 0, figures["t_s"]


def _run_on(cpus: frozenset[int]) -> None:
    if sys.platform == "win32":
        win32.run_on(cpus)
    elif hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus)


def _measure(generator: Generator, profile: Profile, stop: Stop) -> None:
    opened, errors = generator.connect()
    if not opened and not stop.requested:
        _fail(f"no connection to {profile.host}:{profile.port} could be opened: {errors}")
    answers: list[dict[str, Any]] = []
    if profile.slices:
        _say("ready", {"connections_opened": opened, "errors": errors, "pids": generator.pids})
        answers = _slices(generator, stop)
    else:
        generator.run(_Progress(stop) if profile.progress else None)
    _say("result", result(profile, generator.part(), answers))


def main() -> None:
    """Measure one server as the command line says."""
    profile = profiles.parse()
    if not os.path.exists(LIBRARY):  # noqa: PTH110 - pathlib takes 3 ms to import
        _fail(f"{os.path.basename(LIBRARY)} is missing: python build_native.py builds it", 3)  # noqa: PTH119
    _raise_descriptor_limit(profile)
    stop = Stop()
    try:
        if profile.cpus is not None:
            _run_on(profile.cpus)
        if profile.is_worker:
            with Engines(profile, stop.receivers(profile.threads)) as engines:
                work(engines, stop, progress=profile.progress)
            return
        _check_echo(profile)
        if profile.processes > 1:
            with Processes(profile, sys.argv[1:], stop) as processes:
                _measure(processes, profile, stop)
        else:
            with Engines(profile, stop.receivers(profile.threads)) as engines:
                _measure(engines, profile, stop)
    except BrokenPipeError:  # who asked is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        _fail(str(error))


if __name__ == "__main__":
    main()
