"""Child processes: started in a group of their own, spoken to in lines, stopped without a trace.

A thread a pipe blocks in `read` and puts each line into the block's inbox. It costs nothing while a child is
silent, which is all of a slice, and works where a pipe can't be waited for with others (Windows). What a
child says on stderr goes to a log, as far as `LOG_BYTES_MAX`: a complaint must never fill a disk.

A child's standard input is its lifeline: servers and generators stop when it closes, also because this
process was killed. A command that somebody else wrote doesn't know that, so on Linux the kernel kills it
with us.
"""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

LOG_BYTES_MAX = 64 * 1024
STOP_TIMEOUT_S = 10.0  # a server with a thousand threads to join took 0.4 s on a busy machine

# Replaces itself by the command, which then gets SIGKILL when this process ends, however that happens.
_DIES_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if sys.argv[2]:
    os.sched_setaffinity(0, map(int, sys.argv[2].split(",")))
if os.getppid() == int(sys.argv[1]):
    try:
        os.execvp(sys.argv[3], sys.argv[3:])
    except OSError as error:
        sys.exit(f"{sys.argv[3]}: {error.strerror}")
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


class Child:
    """A process that this one started. `log` is made when it says something on stderr."""

    def __init__(self, command: Sequence[str], inbox: Inbox, log: Path) -> None:
        self.name = log.stem
        self.last_complaint = ""
        self._log = log
        self._inbox = inbox
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **_own_group(),
        )
        self.pid = self._process.pid
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

    def send(self, message: dict[str, Any]) -> None:
        """Write one line to its stdin; a child that is gone shows in the inbox, not here."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(msgspec.json.encode(message) + b"\n")
            self._process.stdin.flush()

    def close_stdin(self) -> None:
        """Ask it to end."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def cpu_ns(self) -> int:
        """CPU time of all its threads so far; 0 where it has ended."""
        return cpu_ns(self.pid)

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code once it ended and all that it said was read; None where it is still running."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        for reader in self._readers:
            reader.join(timeout_s)  # a grandchild that kept the pipe open would keep it for ever
        return code

    def signal(self, number: int) -> None:
        """Send a signal to it and what it started; on Windows each of them ends it."""
        with contextlib.suppress(ProcessLookupError):
            if sys.platform == "win32":
                self._process.terminate()
            else:
                os.killpg(self.pid, number)

    def terminate(self) -> None:
        """End it and what it started, now."""
        for number in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
            self.signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)

    def end(self, timeout_s: float = STOP_TIMEOUT_S) -> int | None:
        """Let it end in order, or by force after `timeout_s`; its exit code, None where force was needed."""
        self.close_stdin()
        code = self.wait(timeout_s)
        if code is None:
            self.terminate()
            self.wait(1.0)
        return code

    def ending(self) -> str:
        """How it ended, for a record's reason: its last complaint, or its exit code."""
        code = self.wait(1.0)
        if self.last_complaint:
            return f"ended: {self.last_complaint}"
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}" if code is not None else "closed its output"

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


def next_message(inbox: Inbox, deadline: float) -> Message | None:
    """The next message before `deadline` (of time.monotonic); None where there was none."""
    try:
        return inbox.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        return None


def cpu_ns(pid: int) -> int:
    """CPU time of a process, exact and in one system call on Linux; 0 where it has ended."""
    if sys.platform == "linux":
        try:
            return time.clock_gettime_ns(((~pid) << 3) | 2)  # its CPU clock: see clock_getcpuclockid(3)
        except OSError:
            return 0
    import psutil

    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0
    return int((times.user + times.system) * 1e9)


def _own_group() -> dict[str, Any]:
    """Out of the terminal's group: Ctrl+C is for this process, which then ends its children in order."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"process_group": 0}
