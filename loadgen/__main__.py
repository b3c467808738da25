"""python -m loadgen HOST:PORT: connect, put load on, print the result as one JSON line."""

import errno
import json
import os
import socket
import sys
from typing import Any, NoReturn

from loadgen import profile as profiles
from loadgen.engine import LIBRARY, Engine
from loadgen.profile import OWN_DESCRIPTORS, Profile
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


def _raise_descriptor_limit(connections: int) -> None:
    """As many descriptors as this process may have; where they can't suffice, say what would."""
    if sys.platform == "win32":  # handles are limited by memory alone
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and connections + OWN_DESCRIPTORS > hard:
        _fail(
            f"{connections} connections need as many descriptors; {hard - OWN_DESCRIPTORS} fit here. "
            f"Raise the limit: ulimit -Hn {connections + OWN_DESCRIPTORS} as root",
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


def _slices(engine: Engine, stop: Stop) -> None:
    while line := stop.read_line():
        try:
            wanted = json.loads(line)
            answer = engine.slice(
                int(wanted["round"]),
                float(wanted["slice_s"]),
                float(wanted["ramp_s"]),
                warmup=bool(wanted.get("warmup", False)),
                linger_s=None if wanted.get("linger_s") is None else float(wanted["linger_s"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            _fail(f"not a slice: {line.strip()[:80]} ({error!r})", 2)
        _say("slice", answer)


class _Progress:
    """Points of the series, put together to a line each second."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._requests = 0
        self._said_s = 0.0

    def __call__(self, point: dict[str, Any]) -> None:
        self._requests += point["requests"]
        if point["t_s"] - self._said_s < 0.999:
            return
        rate_per_s = self._requests / (point["t_s"] - self._said_s)
        try:
            _say("progress", {**point, "requests": self._requests, "rate_per_s": rate_per_s})
        except OSError:  # the core, which called this, can't pass it on; the result will meet it again
            self._stop.request()
        self._requests, self._said_s = 0, point["t_s"]


def _run_on(cpus: frozenset[int]) -> None:
    if sys.platform == "win32":
        win32.run_on(cpus)
    elif hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus)


def _measure(engine: Engine, profile: Profile, stop: Stop) -> None:
    connected = engine.connect()
    if not connected["connections_opened"] and not stop.requested:
        _fail(f"no connection to {profile.host}:{profile.port} could be opened: {connected['errors']}")
    if profile.slices:
        _say("ready", connected)
        _slices(engine, stop)
    else:
        engine.run(_Progress(stop) if profile.progress else None)
    _say("result", engine.result())


def main() -> None:
    """Measure one server as the command line says."""
    profile = profiles.parse()
    if not os.path.exists(LIBRARY):  # noqa: PTH110 - pathlib takes 3 ms to import
        _fail(f"{os.path.basename(LIBRARY)} is missing: python build_native.py builds it", 3)  # noqa: PTH119
    _raise_descriptor_limit(profile.connections)
    stop = Stop()
    try:
        if profile.cpus is not None:
            _run_on(profile.cpus)
        _check_echo(profile)
        with Engine(profile, stop.receiver) as engine:
            _measure(engine, profile, stop)
    except BrokenPipeError:  # who asked is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        _fail(str(error))


if __name__ == "__main__":
    main()
