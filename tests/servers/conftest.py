"""Real server processes and real sockets for the tests of `servers`."""

import contextlib
import ctypes
import functools
import json
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from servers import arguments
from servers.ffi import win32
from servers.process import unavailable_reason
from servers.registry import MODELS

# What a hung server costs a test: far longer than anything here takes on a busy machine.
PATIENCE_S = 30
COMMAND = [sys.executable, "-P", "-m", "servers"]
WINDOWS = sys.platform == "win32"
WINE = win32.wine_version() is not None
# A contender takes half a minute there, so the other choices of these are left to Windows and Linux.
DEFAULTS_UNDER_WINE = {"twisted"}


class Contender(NamedTuple):
    """A model, an implementation, and the options with choices that aren't at their defaults."""

    model: str
    implementation: str
    options: dict[str, str]

    def arguments(self) -> list[str]:
        """What `python -m servers` wants to start it."""
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in self.options.items()]
        return [self.model, f"--implementation={self.implementation}", *flags]

    @property
    def is_own_default(self) -> bool:
        """Whether it stands on no library and is as it comes, or has all options of a completion port."""
        is_own = not MODELS[self.model].module.startswith("libraries.")
        return is_own and (not self.options or self.options.get("threads") == "8")

    def __str__(self) -> str:
        named = (
            f"{name}-{value}" if value.isdigit() else name if value == "True" else value
            for name, value in self.options.items()
        )
        return ":".join([self.model, self.implementation, *named])


class Server:
    """A server process that is ready, and what its last line said once it has stopped."""

    def __init__(self, process: subprocess.Popen[bytes], ready: dict[str, Any]) -> None:
        self.process = process
        self.ready = ready
        self.stopped: dict[str, Any] = {}

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return self.ready["host"], self.ready["port"]

    def connect(self) -> socket.socket:
        """A client's connection, whose calls give up after a while."""
        return socket.create_connection(self.address, timeout=PATIENCE_S)

    def stop(self) -> dict[str, Any]:
        """Close its stdin, as a parent that has ended does; return what it says."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.wait()

    def wait(self) -> dict[str, Any]:
        """Wait until it has ended, in order and without a complaint; return what it said. Once only."""
        self.process.stdin = None  # communicate would write to it
        stdout, stderr = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, stderr
        assert stderr == b""
        self.stopped = json.loads(stdout)
        assert self.stopped["event"] == "stopped"
        return self.stopped

    def cpu_time_s(self) -> float:
        """CPU time of all its threads: from the process's own clock, on Windows in ticks of 15.6 ms."""
        if WINDOWS:
            times = psutil.Process(self.ready["pid"]).cpu_times()
            return times.user + times.system
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def comes_to_rest(self, share: float) -> bool:
        """Whether there comes a half second with less than `share` of a CPU: a server that spins has none.

        Not the first one must be it, for on a busy machine it may still be at work on what was sent before.
        """
        for _ in range(10):
            used_s = self.cpu_time_s()
            time.sleep(0.5)
            if self.cpu_time_s() - used_s < 0.5 * share:
                return True
        return False

    def memory_bytes(self) -> int:
        """Memory that is resident."""
        return psutil.Process(self.ready["pid"]).memory_info().rss

    def descriptor_count(self) -> int:
        """How many descriptors are open, or handles."""
        if WINDOWS:
            return _handle_count(self.ready["pid"])
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())


def _handle_count(pid: int) -> int:
    """How many handles a process has, from the table of all: GetProcessHandleCount gives 0 under Wine."""
    of_all_processes, too_short = (
        64,
        0xC0000004,
    )  # SystemExtendedHandleInformation, STATUS_INFO_LENGTH_MISMATCH
    query = ctypes.WinDLL("ntdll").NtQuerySystemInformation
    size, needed = 1 << 20, ctypes.c_uint32()
    while True:
        table = ctypes.create_string_buffer(size)
        status = query(of_all_processes, table, size, ctypes.byref(needed)) & 0xFFFFFFFF
        if status != too_short:
            break
        size *= 2
    assert status == 0, hex(status)
    (count,) = struct.unpack_from("Q", table)
    return sum(struct.unpack_from("Q", table, 16 + 40 * i + 8) == (pid,) for i in range(count))


@contextlib.contextmanager
def _process(command: list[str]) -> Iterator[Server]:
    pipe = subprocess.PIPE
    # In a group of its own on Windows, so that Ctrl+Break can be sent to it alone.
    flags = subprocess.CREATE_NEW_PROCESS_GROUP if WINDOWS else 0
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, creationflags=flags)
    with process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            line = process.stdout.readline()
            assert line, process.stderr.read()
            ready = json.loads(line)
            assert ready["event"] == "ready", ready
            server = Server(process, ready)
            yield server
            if not server.stopped:
                server.stop()
        finally:
            process.kill()


@pytest.fixture(autouse=True, scope="session")
def many_descriptors() -> None:
    """Clients need as many descriptors as servers; a shell often allows 1024."""
    if WINDOWS:
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture
def process() -> Callable[..., AbstractContextManager[Server]]:
    """`with process(command) as running:` starts any program that speaks as a server does."""
    return _process


@pytest.fixture
def server() -> Callable[..., AbstractContextManager[Server]]:
    """`with server("epoll:c", buffer_bytes=1) as running:` or `server(contender)`; stops it in order.

    `descriptors` is how many it may have (Linux).
    """

    def start(
        which: str | Contender, *, descriptors: int | None = None, **options: object
    ) -> AbstractContextManager[Server]:
        if isinstance(which, str):
            model, _, implementation = which.partition(":")
            which = Contender(model, implementation or "python", {})
        every = {**which.options, **{name: str(value) for name, value in options.items()}}
        limited = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh"] if descriptors else []
        return _process([*limited, *COMMAND, *which._replace(options=every).arguments()])

    return start


@pytest.fixture
def run() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`run("epoll", "--port", "x")` runs `python -m servers` to its end, with nothing on stdin."""

    def run(*arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        settings = {"stdin": subprocess.DEVNULL, "timeout": PATIENCE_S, **settings}
        return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, **settings)

    return run


@functools.cache
def contenders() -> list[Contender]:
    """Each model, implementation and choice that can run here."""
    listed = subprocess.run(
        [*COMMAND, "--list"], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    found = []
    for model in map(json.loads, listed.stdout.splitlines()):
        for implementation in model["implementations"]:
            found.append(Contender(model["name"], implementation, {}))
            for option in () if WINE and model["name"] in DEFAULTS_UNDER_WINE else model["options"]:
                if option["name"] == "listeners":  # a choice of those that are several
                    continue
                others = [choice for choice in option["choices"] or () if choice != option["default"]]
                found += [
                    Contender(model["name"], implementation, {option["name"]: str(other)}) for other in others
                ]
                if option["name"] == "threads" and option["default"] == 1:
                    found.append(Contender(model["name"], implementation, {"threads": "3"}))
                if option["name"] == "batch":
                    found.append(Contender(model["name"], implementation, {"batch": "16"}))
    everything = {"accept": "acceptex", "batch": "16", "skip_on_success": "True", "zero_byte_receive": "True"}
    together = {"threads": "3", "listeners": "shared", "exclusive": "True"}
    found += [
        Contender("epoll", implementation, {**together, "trigger": trigger})
        for implementation in ("python", "c")
        for trigger in ("level", "edge")
    ]
    found += [
        Contender("iocp", implementation, {**everything, "threads": threads})
        for implementation in ("python", "c")
        for threads in ("1", "8")
    ]
    return [contender for contender in found if _can_run(contender)]


def _can_run(contender: Contender) -> bool:
    # What a server process would say, without starting one: under Wine each of fifty takes a second or two.
    options = arguments.parse(contender.arguments())
    return options is not None and unavailable_reason(MODELS[contender.model], options) is None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `contender` runs over all of them.

    Under Wine each call on a socket is a round trip to wineserver, and all of them take half an hour: there
    the slow tests run over the project's own servers as they come, and the completion port with everything.
    """
    if "contender" in metafunc.fixturenames:
        is_slow = metafunc.definition.get_closest_marker("slow") is not None
        chosen = [one for one in contenders() if not (WINE and is_slow) or one.is_own_default]
        metafunc.parametrize("contender", chosen, ids=str)


def _wait(
    connection: socket.socket, timeout_s: float, *, to_read: bool = True, to_write: bool
) -> tuple[bool, bool]:
    """Whether it can be read, or has failed, and written; neither after `timeout_s`."""
    if WINDOWS:
        readable, writable, failed = select.select(
            [connection] if to_read else [], [connection] if to_write else [], [connection], timeout_s
        )
        return bool(readable or failed), bool(writable)
    poll = select.poll()  # a descriptor may be too large for select
    poll.register(connection, (select.POLLIN if to_read else 0) | (select.POLLOUT if to_write else 0))
    ready = next((ready for _, ready in poll.poll(timeout_s * 1000)), 0)
    return bool(ready & ~select.POLLOUT), bool(ready & select.POLLOUT)


class Client:
    """What clients do, well and badly."""

    @staticmethod
    def exchange(connection: socket.socket, message: bytes) -> bytes:
        """Send `message` and read while sending, until as much has come back or the stream ends."""
        received, unsent = bytearray(), memoryview(message)
        connection.setblocking(False)
        while len(received) < len(message):
            readable, writable = _wait(connection, PATIENCE_S, to_write=bool(unsent))
            assert readable or writable, f"nothing for {PATIENCE_S} s after {len(received)} bytes"
            if writable:
                with contextlib.suppress(BlockingIOError):  # Winsock takes all of a piece or nothing
                    unsent = unsent[connection.send(unsent[: 1 << 16]) :]
            if readable:
                piece = connection.recv(1 << 18)
                if not piece:
                    break
                received += piece
        connection.settimeout(PATIENCE_S)
        return bytes(received)

    @staticmethod
    def receive(connection: socket.socket, count: int) -> bytes:
        """The next `count` bytes, or fewer where the stream ends before."""
        received = b""
        while len(received) < count and (piece := connection.recv(count - len(received))):
            received += piece
        return received

    @staticmethod
    def reset(connection: socket.socket) -> None:
        """Close so that the peer gets a reset."""
        linger = struct.pack("HH" if WINDOWS else "ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.close()

    @staticmethod
    def fill(connection: socket.socket) -> int:
        """Send without reading until the server has stopped taking; return how many bytes it took."""
        connection.setblocking(False)
        piece, sent = bytes(1 << 16), 0
        # A server that is only slow to be scheduled takes more within this time.
        while _wait(connection, 0.5, to_read=False, to_write=True)[1]:
            with contextlib.suppress(BlockingIOError):
                sent += connection.send(piece)
            assert sent < 64 << 20, "it takes whatever it is sent"
        connection.settimeout(PATIENCE_S)
        return sent


@pytest.fixture
def client() -> type[Client]:
    """What clients do, well and badly."""
    return Client


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """`eventually(lambda: …)` waits until it holds, and fails where it doesn't within a long while."""

    def wait(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, "it never came to hold"
            time.sleep(0.01)

    return wait
