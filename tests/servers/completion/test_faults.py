"""Failing system calls and exceptions: counted, one connection closed, others served, a stop that ends."""

import json
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

pytestmark = pytest.mark.windows
FAULTY = Path(__file__).with_name("faulty.py")
MODELS = {
    "iocp": [],
    "iocp-batch": ["--batch=16"],
    "iocp-acceptex": ["--accept=acceptex"],
    "iocp-alternating": ["--accept=alternating", "--accept-poll-ms=10"],
    "iocp-skip": ["--skip-on-success", "--zero-byte-receive"],
    "overlapped": ["--accept-poll-ms=10"],
    "overlapped-thread": ["--accept=thread"],
}
# What fails, every so many calls, and what it is counted under.
FAULTS = [
    ("WSASend=10055", 7, "WSAENOBUFS"),
    ("WSARecv=10055", 7, "WSAENOBUFS"),
    ("exception=_receive", 7, "ZeroDivisionError"),
    ("exception=_send_and_receive", 7, "ZeroDivisionError"),
    ("exception=receive", 7, "ZeroDivisionError"),
    ("exception=send", 7, "ZeroDivisionError"),
    ("exception=go_on", 25, "ZeroDivisionError"),
    ("CreateIoCompletionPort=1450", 5, "ERROR_NO_SYSTEM_RESOURCES"),
    ("SetFileCompletionNotificationModes=87", 3, "ERROR_INVALID_PARAMETER"),
    ("GetQueuedCompletionStatus=1450", 10, "ERROR_NO_SYSTEM_RESOURCES"),
    ("GetQueuedCompletionStatusEx=1450", 10, "ERROR_NO_SYSTEM_RESOURCES"),
    ("setsockopt=10055", 3, "WSAENOBUFS"),
    ("AcceptEx=10055", 10, "WSAENOBUFS"),
    ("QueueUserAPC=1450", 3, "ERROR_NO_SYSTEM_RESOURCES"),
]


def _applies(model: str, fault: str) -> bool:
    name, _, step = fault.partition("=")
    if name == "exception":
        own = (
            {"receive", "send", "go_on"}
            if model.startswith("overlapped")
            else {"_receive", "_send_and_receive"}
        )
        return step in own
    return {
        "WSASend": True,
        "WSARecv": True,
        "CreateIoCompletionPort": model in ("iocp", "iocp-batch", "iocp-alternating"),
        "SetFileCompletionNotificationModes": model == "iocp-skip",
        "GetQueuedCompletionStatus": model == "iocp",
        "GetQueuedCompletionStatusEx": model == "iocp-batch",
        "setsockopt": model == "iocp-acceptex",
        "AcceptEx": model == "iocp-acceptex",
        "QueueUserAPC": model == "overlapped-thread",
    }[name]


def _cases() -> list[tuple[str, str, tuple[str, int, str]]]:
    """Each fault of each model; in C there are no exceptions."""
    applying = [(model, fault) for model in MODELS for fault in FAULTS if _applies(model, fault[0])]
    in_c = [("c", *case) for case in applying if not case[1][0].startswith("exception")]
    return [("python", *case) for case in applying] + in_c


@pytest.mark.parametrize(("implementation", "model", "fault"), _cases())
def test_a_fault_costs_its_own_connection_alone(process, client, implementation, model, fault):
    """Of 60 connections with 5 requests each some are closed; whoever isn't gets all its bytes."""
    fault, every, name = fault
    served = closed = 0
    arguments = [model.partition("-")[0], f"--implementation={implementation}", *MODELS[model]]
    command = [sys.executable, "-P", str(FAULTY), fault, str(every), *arguments]
    with process(command) as running, ExitStack() as stack:
        for number in range(60):
            connection = stack.enter_context(closing(running.connect()))
            try:
                for request in range(5):
                    message = b"%d/%d" % (number, request)
                    echo = client.exchange(connection, message)
                    if not echo:
                        break
                    assert echo == message
            except ConnectionError:
                echo = b""
            served += bool(echo)
            closed += not echo
        stopped = running.stop()
    assert served > 0
    assert stopped["errors"].get(name, 0) > 0
    if not fault.startswith(
        ("GetQueued", "QueueUserAPC", "AcceptEx")
    ):  # these cost a moment, and nobody a connection
        assert closed > 0
    else:
        assert closed == 0


@pytest.mark.parametrize("implementation", ["python", "c"])
def test_a_server_that_gets_no_port_says_why(implementation):
    arguments = ["CreateIoCompletionPort=1450", "1", "iocp", f"--implementation={implementation}"]
    done = subprocess.run(
        [sys.executable, "-P", str(FAULTY), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["event"] == "ready"
    [line] = done.stderr.splitlines()
    assert line.startswith("servers: iocp: ERROR_NO_SYSTEM_RESOURCES: ")
