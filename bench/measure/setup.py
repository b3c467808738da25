"""One contender in a block: its server, the generator that is connected to it, and what they have said."""

import contextlib
import socket
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bench.host.environment import system
from bench.measure import kernel_memory
from bench.measure.interpreter import Interpreter, own
from bench.measure.process import Child, ChildError, Inbox, Message, cpu_tick_ns, dying_with_us, listening
from bench.measure.sampler import ProcessSample, sample_processes
from bench.plan.contender import Contender
from bench.records.schema import Cpus, Load, LoadResult, Ready, Server, Slice, Status, Stopped

HOST = "127.0.0.1"
LISTEN_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 0.25  # the kernel answers at once where somebody listens; Windows takes 2 s to refuse
TICKS_MIN = 3
BY_HAND = "start it by hand to see why"
ECHO = "it must send back every byte as it came, and nothing else"


class Conditions(NamedTuple):
    """What is the same for all blocks of a run."""

    cpus: Cpus
    cpu_count: int
    seed: int
    logs: Path
    interpreter: Interpreter = own()  # of the servers, but for the yardstick


class Setup:
    """A state machine that messages move on: listening, connected, then over with a result or a reason."""

    def __init__(self, contender: Contender, load: Load, conditions: Conditions, log_prefix: str) -> None:
        self.contender = contender
        self.load = load
        self.status: Status = "measured"
        self.reason: str | None = None
        self.server: Child | None = None
        self.generator: Child | None = None
        self.ready: Ready | None = None
        self.stopped: Stopped | None = None
        self.is_connected = False
        self.has_server_ended = False
        self.slice: Slice | None = None  # the answer to the slice that was last asked for
        self.result: LoadResult | None = None
        self.sample = ProcessSample()
        self.sample_before = ProcessSample()  # when it listened
        self.server_cpu_s: dict[int, float] = {}  # by round
        self.waiting = Waiting(cpu_tick_ns())
        self._conditions = conditions
        self._log_prefix = f"{log_prefix}-{contender.name.replace(':', '.')}"
        self._port = 0
        self._kernel_memory: kernel_memory.Group | None = None
        self._inbox: Inbox | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be expected of it."""
        return self.status != "measured" or self.result is not None

    @property
    def is_settled(self) -> bool:
        """Whether it is ready for load, or never will be."""
        return self.is_connected or self.is_over

    @property
    def children(self) -> list[Child]:
        """Its processes, as far as they were started; the generator first, as they are to be ended."""
        return [child for child in (self.generator, self.server) if child is not None]

    @property
    def systems(self) -> set[str]:
        """What it ran on: the harness's system, and the server's as far as it told."""
        theirs = self.ready.system if self.ready else None
        if theirs is None and self.contender.model is not None and self._interpreter.python is not None:
            theirs = self._interpreter.python.system
        return {system(), *filter(None, [theirs])}

    @property
    def _interpreter(self) -> Interpreter:
        return own() if self.contender.is_yardstick else self._conditions.interpreter

    def start(self, inbox: Inbox) -> None:
        """Start the server; the generator follows when it listens."""
        self._inbox = inbox
        if self.contender.unavailable is not None:
            self.give_up("unavailable", self.contender.unavailable)
            return
        try:
            self.server = self._start_server()
            if self.load.idle:  # what connections cost that do nothing is asked
                self._charge(self.server.pid)
        except OSError as error:  # nothing more can be started: processes, descriptors, memory
            self.give_up("failed", f"the server could not be started: {error.strerror}")

    def wait_until_listening(self) -> None:
        """A command says nothing when it is ready: try to connect until it listens, or ended."""
        if self.contender.command is None or self.server is None:
            return
        deadline = time.monotonic() + LISTEN_TIMEOUT_S
        while self.server.is_running and time.monotonic() < deadline:
            if _listens(self._port):
                self._start_generator()
                return
            time.sleep(0.01)
        if self.server.is_running:
            where = ", ".join(listening(self.server))
            cure = f"it does on {where}: pass on {{host}} and {{port}}" if where else BY_HAND
            self.give_up("failed", f"the server didn't listen within {LISTEN_TIMEOUT_S:g} s: {cure}")
        else:
            self._command_ended()

    def handle(self, message: Message) -> None:
        """Take what one of its processes said."""
        try:
            if message.child is self.server and self.contender.command is not None:
                self._command_said(message)
            elif message.child is self.server:
                self._server_said(message)
            else:
                self._generator_said(message)
        except (ChildError, msgspec.ValidationError) as error:
            side = "server" if message.child is self.server else "generator"
            self.give_up("failed", f"the {side}: {error}")

    def sample_server(self) -> None:
        """Read what the server holds, with all connections open: then a command has started what it needs."""
        if self.server is not None:
            if self.contender.command is not None:
                self.server.adopt_descendants()
            self.sample = self._sample(self.server)

    def close(self) -> None:
        """After its processes have ended."""
        if self._kernel_memory is not None:
            self._kernel_memory.remove()

    def give_up(self, status: Status, reason: str) -> None:
        """It won't be measured; the first reason is the one that counts."""
        if not self.is_over:
            self.status, self.reason = status, reason

    def server_record(self) -> Server | None:
        """What the server said, for the record."""
        return Server(ready=self.ready, stopped=self.stopped) if self.ready else None

    def _server_said(self, message: Message) -> None:
        assert self.server is not None
        if message.line is None:
            self.has_server_ended = True
            if self.stopped is None:
                self.give_up("failed", f"the server {self.server.ending()}")
            return
        event = message.event()
        if event["event"] == "ready":
            self.ready = msgspec.convert(event, Ready)
            self.server.adopt(self.ready.pids or [self.ready.pid])
            limit = self.ready.connections_max
            if limit is not None and limit < self.load.held:
                self.give_up("refused", f"{self.ready.model} can hold {limit} connections at once")
                return
            self._port = self.ready.port
            self._start_generator()
        elif event["event"] == "unavailable":
            self.give_up("unavailable", str(event.get("reason")))
        elif event["event"] == "stopped":
            self.stopped = msgspec.convert(event, Stopped)

    def _command_said(self, message: Message) -> None:
        """Its output is its own business, and it may close it; its end isn't."""
        assert self.server is not None
        if message.line is None and self.server.wait(0.1) is not None:
            self._command_ended()

    def _command_ended(self) -> None:
        assert self.server is not None
        cure = "" if self.server.last_complaint else f": {BY_HAND}"
        self.give_up("failed", f"the server {self.server.ending()}{cure}")

    def _generator_said(self, message: Message) -> None:
        assert self.generator is not None
        if message.line is None:
            self.give_up("failed", self._generator_ending())
            return
        event = message.event()
        if event["event"] == "ready":
            self.generator.adopt(event.get("pids", []))
            self.is_connected = True
        elif event["event"] == "slice":
            self.slice = msgspec.convert(event, Slice)
        elif event["event"] == "result":
            self._take(msgspec.convert(event, LoadResult))

    def _take(self, result: LoadResult) -> None:
        """A result, unless it is of something that wasn't an echo server, or a foreign one that gave up."""
        if result.errors.get("mismatch"):
            self.give_up("failed", f"the server sent other bytes than it was sent; {ECHO}")
        elif self.contender.command is not None and result.errors and not result.requests:
            self.give_up(
                "failed", f"the server answered nothing under load: {', '.join(sorted(result.errors))}"
            )
        else:
            self.result = result

    def _charge(self, pid: int) -> None:
        """Have the kernel tell what it holds for the server, where it can."""
        with contextlib.suppress(OSError):
            self._kernel_memory = kernel_memory.Group()
            self._kernel_memory.add(pid)

    def _sample(self, server: Child) -> ProcessSample:
        sample = sample_processes(server.pids)
        if self._kernel_memory is None:
            return sample
        return sample._replace(kernel_bytes=self._kernel_memory.memory_bytes())

    def _generator_ending(self) -> str:
        """What it complained about; the port is another each time, so one fault would look like many."""
        assert self.generator is not None
        ending = self.generator.ending()
        _, is_no_echo, what = ending.partition(f"{HOST}:{self._port} does not echo: ")
        if not is_no_echo:
            return f"the generator {ending}"
        return f"the server does not echo: {what}; {ECHO}"

    def _start_generator(self) -> None:
        assert self.server is not None
        self.sample_before = self._sample(self.server)
        load = self.load
        target = f"{HOST}:{self._port}"
        python = own()
        command = [*python.command, "-P", "-m", "loadgen", target, "--slices", *load_arguments(load)]
        command += ["--seed", str(self._conditions.seed)]
        command += _cpus(self._conditions.cpus.generator)
        try:
            self.generator = self._child(command, "generator", environment=python.environment)
        except OSError as error:
            self.give_up("failed", f"the generator could not be started: {error.strerror}")

    def _start_server(self) -> Child:
        cpus = self._conditions.cpus.server
        if self.contender.command is not None:
            self._port = _free_port()
            places = {"{host}": HOST, "{port}": str(self._port)}
            command = [_filled(part, places) for part in self.contender.command]
            return self._child(dying_with_us(command, cpus), "server", cpus=cpus)
        assert self.contender.model is not None
        python = self._interpreter
        options = {"implementation": self.contender.implementation, "host": HOST, **self.contender.options}
        command = [*python.command, "-P", "-m", "servers", self.contender.model, *_arguments(options)]
        return self._child(command + _cpus(cpus), "server", environment=python.environment)

    def _child(self, command: list[str], side: str, **options: Any) -> Child:
        assert self._inbox is not None
        log = self._conditions.logs / f"{self._log_prefix}-{side}.log"
        return Child(command, self._inbox, log, **options)


def load_arguments(load: Load) -> list[str]:
    """What the generator's command line has for `load`: all that isn't the generator's default."""
    default = Load()
    names = {"offered_per_s": "rate", "generator_threads": "threads", "generator_processes": "processes"}
    options = {
        names.get(name, name): f"{value:.10g}" if isinstance(value, float) else value
        for name in Load.__struct_fields__
        if (value := getattr(load, name)) != getattr(default, name)
    }
    return _arguments(options)


class Waiting:
    """CPU time that a setup's processes use while others have the load: an idle process should use none.

    Where CPU times come in ticks, less than `TICKS_MIN` of them are nothing: a process that wakes up for a
    moment is charged a whole one if the clock ticks in it.
    """

    def __init__(self, tick_ns: int | None = 0) -> None:
        self._tick_ns = tick_ns
        self.duration_ns = 0
        self.server_ns = 0
        self.generator_ns = 0
        self._since: tuple[int, int, int] | None = None

    def slice_begins(self, now_ns: int, server_ns: int, generator_ns: int) -> None:
        """Take the processes' CPU times at the beginning of their own slice."""
        if self._since is not None:
            then_ns, server_then_ns, generator_then_ns = self._since
            self.duration_ns += now_ns - then_ns
            self.server_ns += server_ns - server_then_ns
            self.generator_ns += generator_ns - generator_then_ns

    def slice_ended(self, now_ns: int, server_ns: int, generator_ns: int) -> None:
        """Take them at the end of it."""
        self._since = now_ns, server_ns, generator_ns

    @property
    def server_share(self) -> float | None:
        """Of the time in which others had the load; None where nobody else had any, or it isn't told."""
        if not self.duration_ns or self._tick_ns is None:
            return None
        return self._beyond_ticks(self.server_ns) / self.duration_ns

    @property
    def share(self) -> float:
        """As `server_share`, of the one of both processes that used more."""
        used_ns = self._beyond_ticks(max(self.server_ns, self.generator_ns))
        return used_ns / self.duration_ns if self.duration_ns else 0.0

    def _beyond_ticks(self, used_ns: int) -> int:
        return used_ns if used_ns >= TICKS_MIN * (self._tick_ns or 0) else 0


def _arguments(options: dict[str, Any]) -> list[str]:
    return [part for key, value in options.items() for part in (f"--{key.replace('_', '-')}", str(value))]


def _cpus(cpus: list[int] | None) -> list[str]:
    return [] if cpus is None else ["--cpus", ",".join(map(str, cpus))]


def _filled(part: str, places: dict[str, str]) -> str:
    for place, value in places.items():
        part = part.replace(place, value)
    return part


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False
