"""A server of several processes: the same model in each, connections dealt by the system.

On Linux each has a listener of its own at the same port (SO_REUSEPORT) and the kernel deals connections by a
hash of their addresses, unless the option `listeners` says that they share one. On Windows, which hasn't
that, all accept from one listener. Each is this program again, with a listener that it was given; it ends
when its stdin does, so it ends with its parent.

Source: socket(7); socket.share and WSADuplicateSocket, which say how a socket gets into another process.
"""

import base64
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from servers import listener
from servers.contract import Options
from servers.stop import STDIN, Stop

SHARED = "shared"  # its description comes on stdin


class WorkerEndedError(Exception):
    """A process has ended that shouldn't have; its exit code. What was wrong it has said on stderr."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def listeners(options: Options) -> list[socket.socket]:
    """What the processes accept from: one for each, or one for all. Raises OSError."""
    if options.listeners == "shared":
        return [listener.create(options.host, options.port, options.backlog)]
    return listener.create_several(options.host, options.port, options.backlog, options.processes)


class Workers:
    """The processes, from their start to their last words."""

    def __init__(self, arguments: Sequence[str], made: list[socket.socket], count: int) -> None:
        """Start `count` of them with this process's `arguments`. Raises OSError."""
        self._workers: list[subprocess.Popen[str]] = []
        try:
            for index in range(count):
                self._workers.append(self._start(arguments, made[index % len(made)]))
        except BaseException:
            self.end()
            raise

    def ready(self) -> list[dict[str, Any]]:
        """What each says once it serves. Raises WorkerEndedError."""
        return [self._read(worker) for worker in self._workers]

    def stop(self) -> dict[str, Any]:
        """Have all of them stop; what they say, added up. Raises WorkerEndedError."""
        self._close_stdin()
        stopped = [self._read(worker) for worker in self._workers]
        errors: Counter[str] = Counter()
        for one in stopped:
            errors.update(one["errors"])
        return {
            "connections_accepted": sum(one["connections_accepted"] for one in stopped),
            "connections_open_max": sum(one["connections_open_max"] for one in stopped),
            "errors": dict(errors),
        }

    def end(self) -> None:
        """Wait until all have ended, which they do without stdin."""
        self._close_stdin()
        for worker in self._workers:
            worker.wait()
            if worker.stdout is not None:
                worker.stdout.close()

    @staticmethod
    def _start(arguments: Sequence[str], its_listener: socket.socket) -> "subprocess.Popen[str]":
        fd = its_listener.fileno()
        how = SHARED if sys.platform == "win32" else str(fd)
        worker = subprocess.Popen(
            [sys.executable, "-P", "-m", "servers", *arguments, "--processes", "1", "--listener", how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=() if sys.platform == "win32" else (fd,),
        )
        if sys.platform == "win32":
            assert worker.stdin is not None
            worker.stdin.write(base64.b64encode(its_listener.share(worker.pid)).decode() + "\n")
            worker.stdin.flush()
        return worker

    def _close_stdin(self) -> None:
        for worker in self._workers:
            if worker.stdin is not None:
                with contextlib.suppress(OSError):  # it has ended
                    worker.stdin.close()

    def _read(self, worker: "subprocess.Popen[str]") -> dict[str, Any]:
        assert worker.stdout is not None
        line = worker.stdout.readline()
        if not line:
            raise WorkerEndedError(worker.wait())
        said: dict[str, Any] = json.loads(line)
        return said


def given(how: str) -> socket.socket:
    """The listener that the parent has given. Raises OSError, or ValueError where there is none."""
    if how != SHARED:
        return socket.socket(fileno=int(how))
    description = b""
    while not description.endswith(b"\n"):  # byte by byte: what comes after it is the end of stdin
        part = os.read(STDIN, 1)
        if not part:
            raise ValueError("no listener came on stdin")
        description += part
    if sys.platform != "win32":
        raise ValueError("sockets are handed on by number here")
    return socket.fromshare(base64.b64decode(description))


def serve(workers: Workers, stop: Stop) -> dict[str, Any]:
    """Wait for the stop; what the processes say then. Raises WorkerEndedError."""
    listener.wait(stop)
    return workers.stop()
