"""python -m loadgen HOST:PORT: connect, put load on, print the result as one JSON line."""

import json
import os
import signal
import socket
import sys
from typing import Any, NoReturn

from loadgen import profile as profiles
from loadgen.engine import LIBRARY, Engine
from loadgen.profile import OWN_DESCRIPTORS, Profile

PROBE_BYTES_MAX = 4096  # sent before anything is read, so it must fit every socket buffer on the way


class _Interrupted(BaseException):
    """A signal came while waiting for the next slice."""


class _Stop:
    """SIGINT and SIGTERM: end early, with the result of what was measured until then."""

    def __init__(self) -> None:
        self.receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self._waiting = False
        self.requested = False
        # The core runs in C, where no handler of Python's is called: a byte on this socket wakes it.
        signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, *_: object) -> None:
        self.requested = True
        if self._waiting:
            raise _Interrupted

    def read_line(self) -> str:
        """The next line of stdin, empty at its end or after a signal."""
        if self.requested:
            return ""
        self._waiting = True
        try:
            return sys.stdin.readline()
        except _Interrupted:
            return ""
        finally:
            self._waiting = False


def _fail(message: str, code: int = 1) -> NoReturn:
    print(f"loadgen: {message}", file=sys.stderr)
    raise SystemExit(code)


def _say(event: str, content: dict[str, Any]) -> None:
    print(json.dumps({"event": event, **content}), flush=True)


def _raise_descriptor_limit(connections: int) -> None:
    """As many descriptors as this process may have; where they can't suffice, say what would."""
    try:
        import resource
    except ImportError:  # Windows: handles are limited by memory alone
        return
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
        with socket.create_connection((profile.host, profile.port), profile.response_timeout_s) as connection:
            connection.sendall(sent)
            while len(received) < len(sent) and (part := connection.recv(len(sent) - len(received))):
                received += part
    except ConnectionRefusedError:
        _fail(
            f"nothing listens on {target}: start a server first (iocpbench serve epoll --port {profile.port})"
        )
    except TimeoutError:
        _fail(f"{target} does not echo: no answer within {profile.response_timeout_s:g} s")
    except OSError as error:
        _fail(f"{target} does not echo: {error}")
    if received != sent:
        what = "other bytes came back" if received else "it closed the connection"
        _fail(f"{target} does not echo: {what}")


def _slices(engine: Engine, stop: _Stop) -> None:
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

    def __init__(self) -> None:
        self._requests = 0
        self._said_s = 0.0

    def __call__(self, point: dict[str, Any]) -> None:
        self._requests += point["requests"]
        if point["t_s"] - self._said_s < 0.999:
            return
        rate_per_s = self._requests / (point["t_s"] - self._said_s)
        _say("progress", {**point, "requests": self._requests, "rate_per_s": rate_per_s})
        self._requests, self._said_s = 0, point["t_s"]


def main() -> None:
    """Measure one server as the command line says."""
    profile = profiles.parse()
    if not os.path.exists(LIBRARY):  # noqa: PTH110 - pathlib takes 3 ms to import
        _fail(f"{os.path.basename(LIBRARY)} is missing: python build_native.py builds it", 3)  # noqa: PTH119
    if profile.cpus is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, profile.cpus)
    _raise_descriptor_limit(profile.connections)
    stop = _Stop()
    _check_echo(profile)
    engine = Engine(profile, stop.receiver)
    try:
        connected = engine.connect()
        if not connected["connections_opened"] and not stop.requested:
            _fail(f"no connection to {profile.host}:{profile.port} could be opened: {connected['errors']}")
        if profile.slices:
            _say("ready", connected)
            _slices(engine, stop)
        else:
            engine.run(_Progress() if profile.progress else None)
        _say("result", engine.result())
    except BrokenPipeError:  # who asked is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        _fail(str(error))
    finally:
        engine.close()


if __name__ == "__main__":
    main()
