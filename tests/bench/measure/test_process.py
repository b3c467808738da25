"""Child processes: what they say arrives, they end when asked, and none outlives this process."""

import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bench.measure.process import (
    LOG_BYTES_MAX,
    Child,
    ChildError,
    Inbox,
    cpu_ns,
    cpu_tick_ns,
    next_message,
)
from bench.measure.sampler import sample_processes

ECHO = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"
LAUNCHER = (
    "import subprocess, sys\n"
    "code = 'import sys, time\\nwhile time.process_time() < 0.3: pass\\nprint(flush=True)'\n"
    "code += '\\nsys.stdin.read()'\n"
    "child = subprocess.Popen([sys.executable, '-c', code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
    "child.stdout.readline()\n"
    "print(child.pid, flush=True)\n"
    "sys.stdin.read()"
)


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


def _wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not psutil.pid_exists(pid)


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
    first, last = (next_message(inbox, time.monotonic() + 10).line for _ in range(2))
    assert (first.strip(), last) == (b"{}", None)
    assert child.ending() == "ended: no room"
    assert child.wait(0) == 1


@pytest.mark.linux("has signals")
def test_a_signal_that_killed_it_is_the_reason(start) -> None:
    child = start("import os; os.kill(os.getpid(), 9)")
    assert child.wait(10) == -9
    assert child.ending() == "was killed by SIGKILL"


@pytest.mark.windows("ends what crashes with a status")
def test_the_status_of_a_crash_is_the_reason(start) -> None:
    child = start("import os; os._exit(-1073741819)")  # as access violations end
    assert child.wait(20) == 0xC0000005
    assert child.ending() == "crashed with status 0xc0000005"


def test_sending_to_one_that_is_gone_is_no_error(start) -> None:
    child = start("")
    assert child.wait(10) == 0
    for _ in range(3):
        child.send({"event": "x" * 100_000})


def test_closing_stdin_ends_it_in_order(start) -> None:
    child = start(ECHO)
    assert child.end() == 0
    assert _wait_until_gone(child.pid)


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
    assert _wait_until_gone(child.pid)
    assert _wait_until_gone(int(message.line))


def test_a_log_is_kept_and_bounded(start, tmp_path: Path) -> None:
    child = start("import sys\nfor i in range(20_000): print('complaint', i, file=sys.stderr)")
    assert child.wait(30) == 0
    log = (tmp_path / "0.log").read_bytes()
    assert log.startswith(b"complaint 0" + os.linesep.encode())
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
    if cpu_tick_ns() is None:  # Wine would tell this process's own
        assert used_ns == 0
        return
    assert used_ns >= 300_000_000 - 2 * cpu_tick_ns()
    time.sleep(0.2)
    assert child.cpu_ns() - used_ns < 100_000_000  # it sleeps
    child.end()
    if sys.platform == "linux":
        assert cpu_ns(child.pid) == 0


def test_the_process_that_a_launcher_started_is_adopted_and_no_other(start, inbox: Inbox) -> None:
    """As python.exe of a virtual environment does it on Windows, and a script without `exec` on Linux."""
    launcher = start(LAUNCHER)
    own_pid = launcher.pid
    pid = int(next_message(inbox, time.monotonic() + 60).line)
    for other in (own_pid, os.getpid(), 4_000_000):  # the last as from another counting of processes
        launcher.adopt([other])
        assert launcher.pids == [own_pid]
    launcher.adopt([pid, os.getpid()])
    assert launcher.pids == [pid]
    if cpu_tick_ns() is not None:
        assert launcher.cpu_ns() >= 300_000_000 - 2 * cpu_tick_ns()
    one, both = sample_processes([pid]), sample_processes([pid, own_pid])
    assert 2**20 < one.memory_bytes < both.memory_bytes
    launcher.adopt_descendants()
    assert {own_pid, pid} <= set(launcher.pids)
    used_ns = launcher.cpu_ns()
    launcher.terminate()
    assert _wait_until_gone(pid)
    assert _wait_until_gone(own_pid)
    assert launcher.cpu_ns() >= used_ns  # what has ended keeps what it had used


def test_one_that_is_interrupted_ends_with_what_it_has(start, inbox: Inbox) -> None:
    """By a signal, by Ctrl+Break, or by the end of its stdin where there is no console to press that in."""
    child = start(
        "import signal, sys\n"
        "def stop(*_): raise SystemExit(7)\n"
        "for name in ('SIGTERM', 'SIGBREAK'):\n"
        "    if hasattr(signal, name): signal.signal(getattr(signal, name), stop)\n"
        "print(flush=True)\n"
        "sys.stdin.read()\n"
        "raise SystemExit(7)"
    )
    assert next_message(inbox, time.monotonic() + 60) is not None
    child.interrupt()
    assert child.wait(20) == 7


def test_environment_is_the_childs_own(start, inbox: Inbox, tmp_path: Path) -> None:
    code = "import os; print(os.environ.get('ONLY_HERE'))"
    environment = os.environ | {"ONLY_HERE": "yes"}
    child = Child([sys.executable, "-c", code], inbox, tmp_path / "x.log", environment=environment)
    assert next_message(inbox, time.monotonic() + 60).line.strip() == b"yes"
    child.end()


@pytest.mark.windows("keeps a job to its CPUs")
def test_cpus_are_enforced(start, inbox: Inbox, tmp_path: Path) -> None:
    code = "import psutil; print(psutil.Process().cpu_affinity())"
    child = Child([sys.executable, "-c", code], inbox, tmp_path / "x.log", cpus=[0])
    assert next_message(inbox, time.monotonic() + 60).line.strip() == b"[0]"
    child.end()


@pytest.mark.slow
@pytest.mark.windows("has Job Objects")
def test_a_child_dies_with_the_process_that_started_it() -> None:
    """The parent is killed as nothing can prepare for; its child neither reads stdin nor knows of us."""
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    start = (
        "import queue, sys, time\n"
        "from pathlib import Path\n"
        "from bench.measure.process import Child\n"
        "inbox = queue.SimpleQueue()\n"
        f"child = Child([sys.executable, '-c', {code!r}], inbox, Path('x.log'))\n"
        "print(inbox.get().line.decode(), flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", start],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as parent:
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()
    assert _wait_until_gone(pid)


@pytest.mark.slow
@pytest.mark.windows("has Job Objects")
@pytest.mark.parametrize("spared", [False, True])
def test_also_one_that_was_just_created_dies_unless_it_may_outlive_us(*, spared: bool) -> None:
    """A harness that was killed before it had put a new process into a job left that one, suspended."""
    start = (
        "import queue, subprocess, sys, time\n"
        "from pathlib import Path\n"
        "from bench.measure.process import Child, may_outlive_us\n"
        "Child([sys.executable, '-c', ''], queue.SimpleQueue(), Path('x.log')).end()\n"
        f"if {spared}: may_outlive_us()\n"
        "pipes = dict.fromkeys(('stdin', 'stdout', 'stderr'), subprocess.PIPE)\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], **pipes)\n"
        "print(other.pid, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", start],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()
    if spared:
        time.sleep(0.5)
        psutil.Process(pid).kill()  # raises where it is gone
    assert _wait_until_gone(pid)


@pytest.mark.slow
@pytest.mark.linux("kills a process with its parent")
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
