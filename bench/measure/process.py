"""Child processes: started in a group of their own, spoken to in lines, stopped without a trace.

A thread a pipe blocks in `read` and puts each line into the block's inbox. It costs nothing while a child is
silent, which is all of a slice, and works where a pipe can't be waited for with others (Windows). What a
child says on stderr goes to a log, as far as `LOG_BYTES_MAX`: a complaint must never fill a disk.

A child's standard input is its lifeline: servers and generators stop when it closes, also because this
process was killed. A command that somebody else wrote doesn't know that, so on Linux the kernel kills it
with us. On Windows every child, and what it starts, is in a Job Object that ends with this process, and so is
this process itself: one that was killed between starting a child and putting it into a job left the child.

CPU times come exact from Linux, also of a Windows program under Wine: it is a process like others, and what
wineserver does for it isn't in them. Windows counts in clock interrupts of 15.6 ms, so that a difference over
one slice says nothing; a program under Wine that asks for another's CPU time gets its own.
"""

import contextlib
import functools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from bench.host.environment import system

if sys.platform == "win32":
    from bench.host import win32

LOG_BYTES_MAX = 64 * 1024
STOP_TIMEOUT_S = 10.0  # a server with a thousand threads to join took 0.4 s on a busy machine
# Ctrl+C doesn't end a wait for a queue on Windows: wait again and again, but not in the middle of a slice.
WAIT_S = 0.25 if sys.platform == "win32" else float("inf")
_EXIT_STATUS_MIN = 0xC0000000  # Windows' own codes for a process that crashed: an NTSTATUS of an error

# Replaces itself by the command, which then gets SIGKILL when this process ends, however that happens.
_DIES_WITH_PARENT = """
import ctypes, errno, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if sys.argv[2]:
    os.sched_setaffinity(0, map(int, sys.argv[2].split(",")))
if os.getppid() == int(sys.argv[1]):
    try:
        os.execvp(sys.argv[3], sys.argv[3:])
    except OSError as error:
        cure = ": give it a #! line, or name what runs it" if error.errno == errno.ENOEXEC else ""
        sys.exit(f"{sys.argv[3]}: {error.strerror}{cure}")
"""


class ChildError(Exception):
    """A child didn't do what it is there for; the text goes into its record."""


class Message(NamedTuple):
    """A line that a child printed; None where it printed its last one and closed stdout."""

    child: "Child"
    line: bytes | None

    def event(self) -> dict[str, Any]:
        """Decode the line. Raises ChildError where it isn't a JSON object with an `event`."""
        try:
            decoded = msgspec.json.decode(self.line or b"", type=dict[str, Any])
            decoded["event"]
        except (msgspec.DecodeError, KeyError) as error:
            text = (self.line or b"").decode(errors="replace").strip()[:80]
            raise ChildError(f"said {text!r}, which is no event") from error
        return decoded


Inbox = queue.SimpleQueue[Message]


def cpu_tick_ns() -> int | None:
    """How coarse CPU times of other processes are: 0 where exact, None where the system doesn't tell them."""
    return {"windows": 15_625_000, "windows-wine": None}.get(system(), 0)


class Child:
    """A process that this one started. `log` is made when it says something on stderr.

    `environment` is its own where it differs from ours; `cpus` are enforced on Windows alone, on the others
    the command does it (`dying_with_us`). Raises OSError where it can't be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        inbox: Inbox,
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        cpus: Sequence[int] | None = None,
    ) -> None:
        self.name = log.stem
        self.last_complaint = ""
        self._log = log
        self._inbox = inbox
        if sys.platform == "win32":
            _own_job()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            **_own_group(),
        )
        if sys.platform == "win32":
            self._job = _in_a_job(self._process, cpus)
        self.pid = self._process.pid
        self.pids = [self.pid]  # whose CPU time and memory are its own
        self._cpu_ns: dict[int, int] = {}  # by process, when it was last asked for: one that ended keeps it
        self._readers = [
            threading.Thread(target=read, args=(pipe,), daemon=True)
            for read, pipe in (
                (self._read_lines, self._process.stdout),
                (self._keep_log, self._process.stderr),
            )
        ]
        for reader in self._readers:
            reader.start()

    @property
    def is_running(self) -> bool:
        """Whether it hasn't ended yet."""
        return self._process.poll() is None

    def adopt(self, pids: Sequence[int]) -> None:
        """Take the CPU time and memory of processes `pids` for its own, as far as it started them.

        It does where it works with several, and where it is a launcher, as python.exe of a virtual
        environment is on Windows. A number that isn't a descendant's is of another counting: Wine's, or a
        container's.
        """
        known = {self.pid} | _descendants(self.pid)
        of_it = [pid for pid in pids if pid in known]
        self.pids = of_it or self.pids

    def adopt_descendants(self) -> None:
        """Take the CPU time and memory of all that it has started by now for its own."""
        self.pids = [self.pid, *sorted(_descendants(self.pid))]

    def send(self, message: dict[str, Any]) -> None:
        """Write one line to its stdin; a child that is gone shows in the inbox, not here."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # a broken pipe; Windows says EINVAL as well
            self._process.stdin.write(msgspec.json.encode(message) + b"\n")
            self._process.stdin.flush()

    def close_stdin(self) -> None:
        """Ask it to end."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def cpu_ns(self) -> int:
        """CPU time of all its threads so far, `cpu_tick_ns` exact; 0 where the system doesn't tell."""
        for pid in self.pids:
            self._cpu_ns[pid] = max(self._cpu_ns.get(pid, 0), cpu_ns(pid))
        return sum(self._cpu_ns[pid] for pid in self.pids)

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code once it ended and all that it said was read; None where it is still running."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        for reader in self._readers:
            reader.join(timeout_s)  # a grandchild that kept the pipe open would keep it for ever
        return code

    def interrupt(self) -> None:
        """Ask it to end with what it has: SIGTERM, on Windows Ctrl+Break."""
        if sys.platform == "win32":
            try:
                win32.press_ctrl_break(self._process.pid)
            except OSError:  # no console, so no such keys
                self.close_stdin()
        else:
            self._signal(signal.SIGTERM)

    def terminate(self) -> None:
        """End it and what it started, now."""
        if sys.platform == "win32":
            with contextlib.suppress(OSError):
                self._job.terminate()
        else:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
            self._signal(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)

    def end(self, timeout_s: float = STOP_TIMEOUT_S) -> int | None:
        """Let it end in order, or by force after `timeout_s`; its exit code, None where force was needed."""
        self.close_stdin()
        code = self.wait(timeout_s)
        if code is None:
            self.terminate()
            self.wait(1.0)
        if sys.platform == "win32":
            self._job.close()
        return code

    def ending(self) -> str:
        """How it ended, for a record's reason: its last complaint, or its exit code."""
        code = self.wait(1.0)
        if self.last_complaint:
            return f"ended: {self.last_complaint}"
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        if code is not None and code >= _EXIT_STATUS_MIN:
            return f"crashed with status {code:#010x}"
        return f"ended with exit code {code}" if code is not None else "closed its output"

    if sys.platform != "win32":

        def _signal(self, number: int) -> None:
            """Send a signal to it and what it started."""
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _read_lines(self, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                self._inbox.put(Message(self, line))
        self._inbox.put(Message(self, None))

    def _keep_log(self, pipe: IO[bytes]) -> None:
        room = LOG_BYTES_MAX
        with pipe:
            for line in pipe:
                self.last_complaint = line.decode(errors="replace").strip()[:300] or self.last_complaint
                if room > 0:
                    with (
                        contextlib.suppress(OSError),
                        self._log.open("ab") as log,
                    ):  # a full disk shows elsewhere
                        log.write(line[:room])
                room -= len(line)


def dying_with_us(command: Sequence[str], cpus: Sequence[int] | None) -> list[str]:
    """`command` on `cpus`, so that it is killed when this process ends by whatever cause."""
    if sys.platform != "linux":
        return list(command)
    allowed = ",".join(map(str, cpus or ()))
    return [sys.executable, "-I", "-S", "-c", _DIES_WITH_PARENT, str(os.getpid()), allowed, *command]


def may_outlive_us() -> None:
    """What is started from now on may go on when this process ends: a browser. Children have ended."""
    if sys.platform == "win32" and (job := _own_job()):
        with contextlib.suppress(OSError):
            job.spare()


def next_message(inbox: Inbox, deadline: float) -> Message | None:
    """The next message before `deadline` (of time.monotonic); None where there was none."""
    while True:
        left_s = max(0.0, deadline - time.monotonic())
        try:
            return inbox.get(timeout=min(left_s, WAIT_S))
        except queue.Empty:
            if left_s <= WAIT_S:
                return None


def any_message(inbox: Inbox) -> Message:
    """The next message, however long it takes. Ctrl+C raises KeyboardInterrupt meanwhile."""
    while True:
        if message := next_message(inbox, time.monotonic() + 3600):
            return message


def cpu_ns(pid: int) -> int:
    """CPU time of a process, exact and in one system call on Linux; 0 where it has ended, or isn't told.

    Source: GetProcessTimes in the Win32 API reference.
    """
    if sys.platform == "linux":
        try:
            return time.clock_gettime_ns(((~pid) << 3) | 2)  # its CPU clock: see clock_getcpuclockid(3)
        except OSError:
            return 0
    if sys.platform == "win32":
        return _cpu_ns_windows(pid)
    return 0


def _own_group() -> dict[str, Any]:
    """Out of the terminal's group: Ctrl+C is for this process, which then ends its children in order."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | win32.CREATE_SUSPENDED}
    return {"process_group": 0}


def listening(child: Child) -> list[str]:
    """Where `child` and what it started listen, as HOST:PORT; empty where that can't be told."""
    import psutil

    found = set()
    for pid in {child.pid} | _descendants(child.pid):
        with contextlib.suppress(psutil.Error, OSError):
            for one in psutil.Process(pid).net_connections(kind="tcp"):
                if one.status == psutil.CONN_LISTEN:
                    found.add(f"{one.laddr.ip}:{one.laddr.port}")
    return sorted(found)


def _descendants(pid: int) -> set[int]:
    import psutil

    # Not `parents()` of each: that takes the lowest number there is for the system's first process, which
    # has no parent, and under Wine any process may have the lowest.
    try:
        return {child.pid for child in psutil.Process(pid).children(recursive=True)}
    except (psutil.Error, OSError):
        return set()


if sys.platform == "win32":

    def _cpu_ns_windows(pid: int) -> int:
        if cpu_tick_ns() is None:
            return 0
        try:
            with win32.Process(pid) as process:
                return process.cpu_ns()
        except OSError:
            return 0

    @functools.cache
    def _own_job() -> win32.Job | None:
        """A job with this process, and with what it starts; None where the system has it in one already."""
        job = win32.Job()
        try:
            job.add_this_process()
        except OSError:
            job.close()
            return None
        return job

    def _in_a_job(process: "subprocess.Popen[bytes]", cpus: Sequence[int] | None) -> win32.Job:
        """Let a process that was created suspended run: in a job, so that nothing it starts is outside."""
        handle = int(process._handle)  # type: ignore[attr-defined]  # what Popen has of it
        try:
            job = win32.Job()
            job.add(handle)
            if cpus:
                win32.set_affinity(handle, cpus)
            win32.resume(handle)
        except OSError:
            process.kill()
            raise
        return job
