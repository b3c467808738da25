"""Servers to generate load on, the generator as a process, and its core built with sanitizers."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[2]
FAULTY_SERVER = ROOT / "tests" / "faulty" / "server.py"


@pytest.fixture
def faulty() -> Iterator[Callable[..., int]]:
    """A call that starts a server with a fault and returns its port; all are ended after the test."""
    with contextlib.ExitStack() as stack:

        def start(fault: str, *options: str) -> int:
            process = subprocess.Popen(
                [sys.executable, str(FAULTY_SERVER), fault, *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(process.wait, 10)
            stack.callback(process.stdin.close)
            stack.callback(process.stdout.close)
            return int(process.stdout.readline())

        yield start


class CountingServer:
    """An echo server that counts what its connections did, in the order in which they came."""

    def __init__(self, closes_after_s: Mapping[int, float]) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self.listener.getsockname()[1]
        self.reads: list[int] = []  # of each connection; one that has one request in flight: its messages
        self.ended = self.reset = self.received = self.sent = 0
        self._closes_after_s = closes_after_s
        self._lock = threading.Lock()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def accepted(self) -> int:
        """How many connections came."""
        return len(self.reads)

    def wait_for_the_end(self) -> None:
        """Wait until all connections have ended."""
        deadline = time.monotonic() + 10
        while self.ended + self.reset < self.accepted and time.monotonic() < deadline:
            time.sleep(0.02)

    def close(self) -> None:
        """Accept no more."""
        if sys.platform != "win32":  # where closing it doesn't end the accept
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection = self.listener.accept()[0]
            except OSError:
                return
            self.reads.append(0)
            number = len(self.reads) - 1
            threading.Thread(target=self._echo, args=(number, connection), daemon=True).start()

    def _echo(self, number: int, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            connection.settimeout(self._closes_after_s.get(number))
            try:
                while data := connection.recv(65536):
                    self.reads[number] += 1
                    with self._lock:
                        self.received += len(data)
                    connection.sendall(data)
                    with self._lock:
                        self.sent += len(data)
            except ConnectionError:
                with self._lock:
                    self.reset += 1
            except OSError:  # it was silent for too long
                pass
            else:
                with self._lock:
                    self.ended += 1


@pytest.fixture
def counting_server() -> Iterator[Callable[..., CountingServer]]:
    """A call that starts one; `closes_after_s`: silences after which it closes those connections."""
    with contextlib.ExitStack() as stack:

        def start(closes_after_s: Mapping[int, float] | None = None) -> CountingServer:
            server = CountingServer(closes_after_s or {})
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def result_after_death() -> Callable[..., tuple[dict[str, Any], float]]:
    """A call that kills the server a second into a load: the result, and how long it took after that."""

    def run(*options: str) -> tuple[dict[str, Any], float]:
        server = subprocess.Popen(
            [sys.executable, "-P", "-m", "servers", "threads"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert server.stdout is not None
        port = json.loads(server.stdout.readline())["port"]
        generator = subprocess.Popen(
            [sys.executable, "-P", "-m", "loadgen", f"127.0.0.1:{port}", "--progress", *options],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert generator.stdout is not None
        generator.stdout.readline()
        server.kill()
        server.communicate()
        died = time.monotonic()
        out = generator.communicate(timeout=30)[0]
        return json.loads(out.splitlines()[-1]), time.monotonic() - died

    return run


@pytest.fixture
def loadgen() -> Callable[..., subprocess.CompletedProcess[str]]:
    """A call that runs the generator to its end."""

    def run(port: int, *options: str, **keywords: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "loadgen", f"127.0.0.1:{port}", *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **keywords)

    return run


@pytest.fixture
def result(loadgen: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., dict[str, Any]]:
    """A call that runs the generator and returns its result line."""

    def run(port: int, *options: str) -> dict[str, Any]:
        done = loadgen(port, *options)
        assert done.returncode == 0, done.stderr
        last = json.loads(done.stdout.splitlines()[-1])
        assert last["event"] == "result"
        return last

    return run


class Slices:
    """A generator that waits for slices."""

    def __init__(self, port: int, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "loadgen", f"127.0.0.1:{port}", "--slices", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ready = self._read("ready")

    @property
    def interpreter(self) -> psutil.Process:
        """The process that runs it; on Windows a virtual environment's python.exe starts it as a child."""
        started = psutil.Process(self.process.pid)
        return (started.children() or [started])[0]

    def _read(self, event: str) -> dict[str, Any]:
        answer = json.loads(self.process.stdout.readline())
        assert answer["event"] == event
        return answer

    def slice(
        self, round_number: int, slice_s: float = 0.05, ramp_s: float = 0.02, **more: Any
    ) -> dict[str, Any]:
        """One slice of load, and the answer."""
        wanted = {"round": round_number, "slice_s": slice_s, "ramp_s": ramp_s, **more}
        self.process.stdin.write(json.dumps(wanted) + "\n")
        self.process.stdin.flush()
        return self._read("slice")

    def end(self) -> dict[str, Any]:
        """Close its stdin; its result."""
        self.process.stdin.close()
        answer = self._read("result")
        assert self.process.wait(10) == 0
        self.process.stdout.close()
        return answer


@pytest.fixture
def slices() -> Iterator[Callable[..., Slices]]:
    """A call that starts a generator with --slices; all are ended after the test."""
    with contextlib.ExitStack() as stack:

        def start(port: int, *options: str) -> Slices:
            generator = Slices(port, *options)
            stack.callback(generator.process.wait, 10)
            stack.callback(generator.process.kill)
            return generator

        yield start


@pytest.fixture(scope="session")
def core_test(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A call that runs core_test.c, built with address and undefined-behaviour sanitizers; its output."""
    return _core_test(request, tmp_path_factory.mktemp("address"), "address,undefined")


@pytest.fixture(scope="session")
def core_test_of_threads(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., str]:
    """The same, built with the thread sanitizer."""
    return _core_test(request, tmp_path_factory.mktemp("thread"), "thread")


def _core_test(request: pytest.FixtureRequest, folder: Path, sanitizers: str) -> Callable[..., str]:
    compiler = shutil.which("gcc") or shutil.which("clang")
    program = folder / "core_test"
    core = ROOT / "loadgen" / "core"
    command = [
        *(str(compiler), "-std=c11", "-O1", "-g", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"),
        *(f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", "-pthread", "-I", str(core)),
        *map(str, sorted(core.glob("*.c"))),
        *(str(Path(__file__).with_name("core_test.c")), "-lm", "-o", str(program)),
    ]
    built = compiler is not None and subprocess.run(command, capture_output=True, text=True, check=False)
    if not built or any(word in built.stderr for word in ("sanitize", "asan", "tsan")):
        message = "a C compiler with sanitizers is missing: install gcc"
        (pytest.fail if request.config.getoption("--require-all") else pytest.skip)(message)
    assert built.returncode == 0, built.stderr

    def run(*arguments: str, text: str = "") -> str:
        done = subprocess.run(
            [str(program), *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "ASAN_OPTIONS": "detect_leaks=1", "TSAN_OPTIONS": "halt_on_error=1"},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
