"""Child processes: what they say arrives, they end when asked, and none outlives this process."""

import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bench.measure.process import LOG_BYTES_MAX, Child, ChildError, Inbox, cpu_ns, next_message

ECHO = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"
linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part of it is Linux's")


@pytest.fixture
def inbox() -> Inbox:
    """Where children's messages arrive."""
    return queue.SimpleQueue()


@pytest.fixture
def start(tmp_path: Path, inbox: Inbox) -> Iterator[object]:
    """A call that starts Python code as a child; ended after the test."""
    children: list[Child] = []

    def start(code: str) -> Child:
        child = Child([sys.executable, "-c", code], inbox, tmp_path / f"{len(children)}.log")
        children.append(child)
        return child

    yield start
    for child in children:
        child.end(timeout_s=2.0)


def _exists(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def _wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while _exists(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not _exists(pid)


def test_a_line_sent_comes_back_as_an_event(start, inbox: Inbox) -> None:
    child = start(ECHO)
    child.send({"event": "hello", "number": 3})
    message = next_message(inbox, time.monotonic() + 10)
    assert message is not None
    assert message.child is child
    assert message.event() == {"event": "hello", "number": 3}


def test_nothing_said_is_none_at_the_deadline(start, inbox: Inbox) -> None:
    start(ECHO)
    assert next_message(inbox, time.monotonic() + 0.05) is None


@pytest.mark.parametrize("line", ["hello", "[1]", '{"no": "event"}'])
def test_what_is_no_event_is_an_error_that_quotes_it(start, inbox: Inbox, line: str) -> None:
    start(f"print({line!r})")
    message = next_message(inbox, time.monotonic() + 10)
    assert message is not None
    with pytest.raises(ChildError, match="is no event"):
        message.event()


def test_its_end_is_a_message_and_its_last_complaint_the_reason(start, inbox: Inbox) -> None:
    child = start("import sys; print('{}'); sys.exit('no room')")
    lines = [next_message(inbox, time.monotonic() + 10).line for _ in range(2)]
    assert lines == [b"{}\n", None]
    assert child.ending() == "ended: no room"
    assert child.wait(0) == 1


def test_a_signal_that_killed_it_is_the_reason(start) -> None:
    child = start("import os; os.kill(os.getpid(), 9)")
    assert child.wait(10) == -9
    assert child.ending() == "was killed by SIGKILL"


def test_sending_to_one_that_is_gone_is_no_error(start) -> None:
    child = start("")
    assert child.wait(10) == 0
    for _ in range(3):
        child.send({"event": "x" * 100_000})


def test_closing_stdin_ends_it_in_order(start) -> None:
    child = start(ECHO)
    assert child.end() == 0
    assert not _exists(child.pid)


@pytest.mark.slow
def test_one_that_does_not_listen_is_ended_by_force_with_what_it_started(start, inbox: Inbox) -> None:
    child = start(
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(grandchild.pid, flush=True)\n"
        "time.sleep(60)"
    )
    message = next_message(inbox, time.monotonic() + 10)
    assert child.end(timeout_s=0.1) is None
    assert not _exists(child.pid)
    assert _wait_until_gone(int(message.line))


def test_a_log_is_kept_and_bounded(start, tmp_path: Path) -> None:
    child = start("import sys\nfor i in range(20_000): print('complaint', i, file=sys.stderr)")
    assert child.wait(30) == 0
    log = (tmp_path / "0.log").read_bytes()
    assert log.startswith(b"complaint 0\n")
    assert len(log) == LOG_BYTES_MAX
    assert child.last_complaint == "complaint 19999"


def test_no_log_where_nothing_was_said(start, tmp_path: Path) -> None:
    assert start(ECHO).end() == 0
    assert list(tmp_path.iterdir()) == []


def test_cpu_time_is_that_of_the_process(start, inbox: Inbox) -> None:
    child = start(
        "import sys, time\nwhile time.process_time() < 0.3: pass\nprint(flush=True); sys.stdin.read()"
    )
    assert next_message(inbox, time.monotonic() + 30) is not None
    used_ns = child.cpu_ns()
    assert used_ns >= 300_000_000
    time.sleep(0.2)
    assert child.cpu_ns() - used_ns < 100_000_000  # it sleeps
    child.end()
    assert cpu_ns(child.pid) == 0


@pytest.mark.slow
@linux
def test_a_foreign_command_dies_with_the_process_that_started_it() -> None:
    """The parent is killed as nothing can prepare for; its child neither reads stdin nor knows of us."""
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    start = (
        "import subprocess, sys, time\n"
        "from bench.measure.process import dying_with_us\n"
        f"subprocess.Popen(dying_with_us([sys.executable, '-c', {code!r}], [0]))\n"
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert os.sched_getaffinity(pid) == {0}
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert _wait_until_gone(pid)
