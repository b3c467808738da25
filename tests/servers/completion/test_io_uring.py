"""io_uring: why it can't run where it can't, and what its ways have that other models haven't."""

import ctypes
import errno
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, closing

import pytest

from servers.completion import io_uring
from servers.completion.ring import COUNTER, SQE_BYTES, Ring
from servers.contract import Options
from servers.ffi import linux

pytestmark = pytest.mark.linux("io_uring")

# A seccomp filter (BPF) by which system call 425, io_uring_setup, fails with an error number: what the
# profiles of containers do.
FORBIDDING = """
import ctypes, os, struct, sys
def instruction(code, jt, jf, k):
    return struct.pack("HBBI", code, jt, jf, k)
program = b"".join([
    instruction(0x20, 0, 0, 0),                                  # load the call's number
    instruction(0x15, 0, 1, 425),                                # is it io_uring_setup?
    instruction(0x06, 0, 0, 0x00050000 | int(sys.argv[1])),      # fail with that number
    instruction(0x06, 0, 0, 0x7FFF0000),                         # allow
])
filters = ctypes.create_string_buffer(program)
class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filters", ctypes.c_void_p))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0                           # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, ctypes.byref(Program(4, ctypes.addressof(filters))), 0, 0) == 0  # PR_SET_SECCOMP
os.execv(sys.executable, [sys.executable, "-P", "-m", "servers", *sys.argv[2:]])
"""


def servers(code, *arguments):
    """`python -m servers` where io_uring_setup fails with `code`."""
    command = [sys.executable, "-P", "-c", FORBIDDING, str(code), *arguments]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=30
    )


@pytest.mark.parametrize("implementation", ["python", "c"])
@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.ENOSYS, ["no io_uring", "seccomp"]),
        (errno.EPERM, ["forbidden here", "seccomp"]),
        (errno.ENOMEM, ["locked memory", "ulimit -l"]),
        (errno.EINVAL, ["Linux 6.1", "--setup plain"]),
        (errno.EMFILE, ["can't be made"]),
    ],
)
def test_where_it_is_forbidden_it_says_why_and_what_helps(code, says, implementation):
    done = servers(code, "io_uring", f"--implementation={implementation}")
    assert done.returncode == 3
    assert done.stderr == ""
    said = json.loads(done.stdout)
    assert said["event"] == "unavailable"
    for part in says:
        assert part in said["reason"]


def test_the_list_says_it_too():
    done = servers(errno.EPERM, "--list")
    listed = {model["name"]: model for model in map(json.loads, done.stdout.splitlines())}
    assert not listed["io_uring"]["available"]
    assert "forbidden" in listed["io_uring"]["reason"]
    assert listed["epoll"]["available"]


def test_a_sysctl_that_disables_it_is_named(monkeypatch):
    def refused(*_arguments, **_settings):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(io_uring, "Ring", refused)
    monkeypatch.setattr(io_uring, "_sysctl", lambda _: "2")
    reason = io_uring.unavailable_reason(Options(setup="plain", multishot=False))
    assert reason == "io_uring is disabled: sudo sysctl kernel.io_uring_disabled=0"


@pytest.mark.parametrize(("release", "has"), [("5.19.0-1-amd64", False), ("6.0.12", True), ("6.18.1", True)])
def test_multishot_needs_a_kernel(monkeypatch, release, has):
    class Uname:
        pass

    Uname.release = release
    monkeypatch.setattr(io_uring.os, "uname", lambda: Uname)
    monkeypatch.setattr(io_uring, "Ring", lambda *_, **__: closing_nothing)
    reason = io_uring.unavailable_reason(Options(setup="plain", multishot=True))
    assert (reason is None) is has
    assert has or "Linux 6.0" in reason


class closing_nothing:  # noqa: N801 - stands for a ring
    @staticmethod
    def close():
        pass


def can_run(setup, multishot, needs):
    reason = io_uring.unavailable_reason(Options(setup=setup, multishot=multishot))
    needs("io_uring", reason is None, reason)


@pytest.mark.parametrize("implementation", ["python", "c"])
def test_more_connections_than_shared_buffers(implementation, server, client, needs):
    """With 32 buffers 200 messages at once find none: whoever was left without is served later."""
    can_run("defer_taskrun", True, needs)
    message = bytes(range(256)) * 64
    with (
        server(f"io_uring:{implementation}", multishot=True, buffer_bytes=1 << 20) as running,
        ExitStack() as stack,
    ):
        connections = [stack.enter_context(closing(running.connect())) for _ in range(200)]
        for connection in connections:
            connection.sendall(message)
        for connection in connections:
            assert client.receive(connection, len(message)) == message
        assert running.stop()["errors"] == {}


def test_all_that_is_ready_is_completed_together(needs):
    """Linux completes 20 requests by a call that waits for one, since the end of 2024."""
    can_run("defer_taskrun", False, needs)
    count = 100
    buffer = ctypes.create_string_buffer(1)
    with ExitStack() as stack:
        pairs = [[stack.enter_context(one) for one in socket.socketpair()] for _ in range(count)]
        ring = stack.enter_context(closing(Ring(128, 512, io_uring.SETUPS["defer_taskrun"])))
        for place, (_, reader) in enumerate(pairs):
            entry = (linux.Op.RECV, 0, 0, reader.fileno(), 0, ctypes.addressof(buffer), 1, 0, place)
            linux.SQE.pack_into(ring.sqes, place * SQE_BYTES, *entry)
        assert ring.submit(count, count) == 0
        for writer, _ in pairs:
            writer.sendall(b"x")
        assert ring.enter(linux.SYS_IO_URING_ENTER, ring.fd, 0, 1, ring.enter_flags, None, 0) == 0
        end = ring.complete_deferred(ring.cq_tail[0])
        assert (end - ring.cq_head[0]) & COUNTER == count
        found = [
            linux.CQE.unpack_from(chunk, at)
            for chunk in ring.completions(0, end)
            for at in range(0, len(chunk), linux.CQE.size)
        ]
        assert sorted(place for place, *_ in found) == list(range(count))
        assert {result for _, result, _ in found} == {1}


@pytest.mark.parametrize("multishot", [False, True])
@pytest.mark.parametrize("implementation", ["python", "c"])
def test_nobody_goes_round_while_others_wait(implementation, multishot, server, needs):
    """Of many requests that are there at once each is answered before a connection comes again and again."""
    can_run("defer_taskrun", multishot, needs)
    with server(f"io_uring:{implementation}", multishot=multishot) as running, ExitStack() as stack:
        connections = [stack.enter_context(closing(running.connect())) for _ in range(800)]
        answered = dict.fromkeys(connections, 0)
        selector = stack.enter_context(selectors.DefaultSelector())
        os.kill(running.process.pid, signal.SIGSTOP)
        for connection in connections:
            connection.sendall(b"x")
            selector.register(connection, selectors.EVENT_READ)
        os.kill(running.process.pid, signal.SIGCONT)
        left = len(connections)
        while left:
            for key, _ in selector.select(10):
                connection = key.fileobj
                connection.recv(1)
                left -= answered[connection] == 0
                answered[connection] += 1
                connection.sendall(b"x")
        assert max(answered.values()) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("implementation", ["python", "c"])
def test_those_that_never_read_keep_nobody_waiting(implementation, server, client, eventually, needs):
    """Writers that never read hold all 32 buffers: the others are served, and nothing spins."""
    can_run("defer_taskrun", True, needs)
    message = bytes(range(256)) * 64
    with (
        server(f"io_uring:{implementation}", multishot=True, buffer_bytes=1 << 20) as running,
        ExitStack() as stack,
    ):
        stuck = [stack.enter_context(closing(running.connect())) for _ in range(40)]
        taken = [client.fill(connection) for connection in stuck]
        assert running.comes_to_rest(0.2)
        for _ in range(20):
            with closing(running.connect()) as connection:
                for _ in range(5):
                    assert client.exchange(connection, message) == message
        assert running.comes_to_rest(0.2)
        for connection, count in zip(stuck[:3], taken, strict=False):  # who reads at last gets every byte
            assert len(client.receive(connection, count)) == count
            assert client.exchange(connection, message) == message
        assert running.stop()["connections_accepted"] == 60


@pytest.mark.slow
@pytest.mark.parametrize("implementation", ["python", "c"])
def test_more_messages_than_the_rings_hold(implementation, server, client, needs):
    """3000 connections with something each: over 4096 requests in one pass, tails that wrap the rings."""
    can_run("defer_taskrun", False, needs)
    with server(f"io_uring:{implementation}") as running, ExitStack() as stack:
        connections = [stack.enter_context(closing(running.connect())) for _ in range(3000)]
        for number in range(8):
            for connection in connections:
                connection.sendall(b"%08d" % number)
            for connection in connections:
                assert client.receive(connection, 8) == b"%08d" % number
        assert running.stop()["errors"] == {}


@pytest.mark.parametrize("implementation", ["python", "c"])
def test_a_polling_thread_sleeps_when_there_is_nothing_to_do(implementation, server, client, needs):
    can_run("sqpoll", False, needs)
    sqpoll = server(f"io_uring:{implementation}", setup="sqpoll")
    with sqpoll as running, closing(running.connect()) as connection:
        assert client.exchange(connection, b"x") == b"x"
        assert running.comes_to_rest(0.05)
        assert client.exchange(connection, b"y") == b"y"
