"""A block with real processes: what is recorded, and what becomes of contenders that fail."""

import threading
from collections.abc import Callable

import msgspec
import psutil
import pytest

from bench.host.environment import system
from bench.measure.block import RAMP_RESPONSES, SLICE_RESPONSES, Measured, measure
from bench.measure.setup import Conditions, Waiting
from bench.plan.cells import Block
from bench.plan.contender import Contender
from bench.records.schema import Load, Record

Measure = Callable[..., Measured]
HANGS_UP = """
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
while True: listener.accept()[0].close()
"""


def _children() -> set[int]:
    """Processes that this one started and that are still there."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


def _by_name(measured: Measured) -> dict[str, Record]:
    return {record.cell.contender: record for record in measured.records}


def test_what_a_contender_leaves(measured: Measure, plain: Contender, conditions: Conditions) -> None:
    done = measured(plain, Contender(name="threads", model="threads", implementation="python"))
    record = _by_name(done)["plain"]
    assert record.status == "measured"
    assert (record.block, record.repeat, record.cell.experiment) == ("b", 1, "e")
    assert record.cpus == conditions.cpus
    assert record.load is not None
    assert [one.round for one in record.load.slices] == [1, 2, 3]  # the warm-up round is discarded
    assert all(one.requests > 0 for one in record.load.slices)
    started, completed = record.load.response_time.count, sum(one.requests for one in record.load.slices)
    assert abs(started - completed) <= 3 * 3  # at a slice's edge each connection may be between two
    assert record.load.errors == {}
    assert record.server is not None
    assert record.server.stopped is not None
    assert record.server.stopped.connections_accepted >= 3
    assert record.samples.server_memory_bytes > 2**20
    assert _by_name(done)["threads"].samples.server_threads > 3
    assert record.started_at == _by_name(done)["threads"].started_at


@pytest.mark.linux("tells CPU times exactly, and descriptors")
def test_what_a_server_takes_is_recorded(measured: Measure, plain: Contender) -> None:
    record = _by_name(measured(plain, Contender(name="threads", model="threads", implementation="python")))[
        "plain"
    ]
    assert all(one.server_cpu_s > 0 for one in record.load.slices)
    samples = record.samples
    assert samples.server_cpu_s == pytest.approx(sum(one.server_cpu_s for one in record.load.slices))
    assert samples.server_cpu_ns_per_request > 0
    assert 0 < samples.server_busy < 2
    assert samples.server_descriptors > 3
    assert samples.server_waiting_cpu_share < 0.5
    assert samples.server_private_bytes is None


@pytest.mark.windows("counts CPU time in clock interrupts; Wine tells nobody's but one's own")
def test_what_a_server_takes_is_recorded_on_windows(measured: Measure, plain: Contender) -> None:
    (record,) = measured(plain).records
    assert {one.server_cpu_s for one in record.load.slices} == {None}
    samples = record.samples
    is_wine = system() == "windows-wine"
    for told in (samples.server_cpu_s, samples.server_descriptors, samples.server_private_bytes):
        assert (told is None) == is_wine
    assert [mark["code"] for mark in record.warnings][:1] == (["windows-wine"] if is_wine else [])


def test_slices_are_the_same_for_all_and_long_enough_for_the_slowest(
    measured: Measure, plain: Contender, command: Callable[[str], Contender]
) -> None:
    slow = command(
        "import socket, sys, threading, time\n"
        "def echo(connection):\n"
        "    while data := connection.recv(4096):\n"
        "        time.sleep(0.02)\n"
        "        connection.sendall(data)\n"
        "listener = socket.create_server((sys.argv[1], int(sys.argv[2])))\n"
        "while True:\n"
        "    threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()\n"
    )
    done = measured(plain, slow, rounds=1)
    assert done.sizes.slice_s >= SLICE_RESPONSES * 0.02
    assert done.sizes.ramp_s >= RAMP_RESPONSES * 0.02
    for record in done.records:
        assert (record.slice_s, record.ramp_s) == done.sizes
        assert all(one.duration_s == pytest.approx(done.sizes.slice_s, rel=0.1) for one in record.load.slices)
    warmup_s = 3 * (0.01 + 0.02)  # the slow one shows it twice
    waits_s = 3 * 0.02 * 2  # of the slow one: for the last response under load, and after that
    assert warmup_s + 2 * sum(done.sizes) <= done.slices_s <= warmup_s + 2 * sum(done.sizes) + waits_s + 0.1


@pytest.mark.slow
def test_one_that_answers_in_longer_than_a_slice_is_measured_in_longer_ones(
    measured: Measure, command: Callable[[str], Contender]
) -> None:
    """Ramp and slice are over before its first answer, so no request of the warm-up starts in the slice."""
    slow = command(
        "import socket, sys, threading, time\n"
        "def echo(connection):\n"
        "    while data := connection.recv(4096):\n"
        "        time.sleep(0.1)\n"
        "        connection.sendall(data)\n"
        "listener = socket.create_server((sys.argv[1], int(sys.argv[2])))\n"
        "while True:\n"
        "    threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()\n"
    )
    done = measured(slow, rounds=1)
    (record,) = done.records
    assert done.sizes.slice_s >= SLICE_RESPONSES * 0.1
    assert record.load.response_time.p50_ns >= 100_000_000
    assert record.load.response_time.count >= 3 * (SLICE_RESPONSES - 1)


@pytest.mark.slow
def test_one_that_starves_connections_does_not_keep_the_load_for_long(
    measured: Measure, command: Callable[[str], Contender]
) -> None:
    """One request in 200 of the first seven waits until the last connection hasn't sent for 50 ms."""
    starving = command(
        "import random, select, socket, sys, time\n"
        "listener = socket.create_server((sys.argv[1], int(sys.argv[2])))\n"
        "connections, starved, last_at = [listener], set(), 0\n"
        "while True:\n"
        "    for one in select.select(connections, [], [], 0.01)[0]:\n"
        "        if one is listener:\n"
        "            connections.append(listener.accept()[0])\n"
        "            continue\n"
        "        if one is connections[-1]:\n"
        "            last_at = time.monotonic()\n"
        "        elif one in starved or random.random() < 0.005:\n"
        "            starved.add(one)\n"
        "            if time.monotonic() - last_at < 0.05:\n"
        "                continue\n"
        "        starved.discard(one)\n"
        "        if data := one.recv(4096):\n"
        "            one.sendall(data)\n"
        "        else:\n"
        "            connections.remove(one)\n"
        "            one.close()\n"
    )
    (record,) = measured(starving, rounds=30, load=Load(connections=8)).records
    assert record.status == "measured"
    assert all(one.span_s < 1 for one in record.load.slices)
    assert sum(one.censored for one in record.load.slices) > 0


def test_a_foreign_server_is_measured_like_ours(
    measured: Measure, plain: Contender, command: Callable[[], Contender]
) -> None:
    record = _by_name(measured(plain, command()))["mine"]
    assert record.status == "measured"
    assert record.load is not None
    assert record.load.requests > 0
    assert record.cell.model is None
    assert record.server is None
    assert _children() == set()


@pytest.mark.linux("has fork")
def test_the_processes_that_a_foreign_server_starts_are_counted(
    measured: Measure, command: Callable[[str], Contender]
) -> None:
    """One for each connection does all the work, and is gone when its connection is."""
    forking = command(
        "import os, signal, socket, sys\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "listener = socket.create_server((sys.argv[1], int(sys.argv[2])))\n"
        "while True:\n"
        "    connection, _ = listener.accept()\n"
        "    if not os.fork():\n"
        "        while data := connection.recv(4096): connection.sendall(data)\n"
        "        os._exit(0)\n"
        "    connection.close()\n"
    )
    samples = _by_name(measured(forking, load=Load(connections=5)))["mine"].samples
    assert samples.server_threads >= 1 + 5
    assert samples.server_cpu_s > 0
    assert samples.server_cpu_ns_per_request > 0


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys; sys.exit('no licence')", "the server ended: no licence"),
        ("import os; os._exit(7)", "the server ended with exit code 7"),
        (
            HANGS_UP,
            "does not echo",
        ),
    ],
)
def test_one_that_fails_is_recorded_and_the_others_go_on(
    measured: Measure, plain: Contender, command: Callable[[str], Contender], code: str, reason: str
) -> None:
    records = _by_name(measured(command(code), plain))
    assert records["mine"].status == "failed"
    assert reason in records["mine"].reason
    assert records["mine"].load is None
    assert records["plain"].status == "measured"
    assert len(records["plain"].load.slices) == 3
    assert _children() == set()


def test_a_server_that_dies_in_the_middle_fails_alone(
    measured: Measure, plain: Contender, command: Callable[[str], Contender]
) -> None:
    mortal = command(
        "import os, socket, sys, threading\n"
        "served = 0\n"
        "def echo(connection):\n"
        "    global served\n"
        "    while data := connection.recv(4096):\n"
        "        served += 1\n"
        "        if served > 20: os._exit(3)\n"
        "        connection.sendall(data)\n"
        "listener = socket.create_server((sys.argv[1], int(sys.argv[2])))\n"
        "while True:\n"
        "    threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()\n"
    )
    records = _by_name(measured(mortal, plain))
    assert records["mine"].status == "failed"
    assert "exit code 3" in records["mine"].reason
    assert records["plain"].status == "measured"
    assert len(records["plain"].load.slices) == 3


def test_what_cannot_run_here_is_recorded_with_the_reason(measured: Measure, plain: Contender) -> None:
    other = Contender(name="other", model="x", implementation="python", unavailable="it belongs to Windows")
    record = _by_name(measured(plain, other))["other"]
    assert (record.status, record.reason) == ("unavailable", "it belongs to Windows")
    assert record.load is None


@pytest.mark.linux("its select holds FD_SETSIZE of them")
@pytest.mark.slow
def test_more_connections_than_a_model_can_hold_are_refused(measured: Measure, plain: Contender) -> None:
    select = Contender(name="select", model="select", implementation="python")
    records = _by_name(measured(select, plain, load=Load(connections=1100)))
    assert records["select"].status == "refused"
    assert "at once" in records["select"].reason
    assert records["plain"].load.connections_opened == 1100


@pytest.mark.linux("tells CPU times of other processes under Wine, too")
def test_one_that_uses_cpu_time_while_it_waits_is_found(
    measured: Measure, plain: Contender, command: Callable[[str], Contender]
) -> None:
    restless = command(
        "import socket, sys, threading\n"
        "def burn():\n"
        "    while True: pass\n"
        "threading.Thread(target=burn, daemon=True).start()\n"
        "def echo(connection):\n"
        "    while data := connection.recv(4096):\n"
        "        connection.sendall(data)\n"
        "listener = socket.create_server((sys.argv[1], int(sys.argv[2])))\n"
        "while True:\n"
        "    threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()\n"
    )
    done = measured(plain, restless, load=Load(connections=1))
    assert done.restless == {"mine"}
    assert _by_name(done)["mine"].samples.server_waiting_cpu_share > 0.01


def test_a_clock_interrupt_or_two_make_nobody_restless() -> None:
    """A process that wakes up for a moment is charged a whole tick where times come in ticks."""
    tick_ns = 15_625_000
    for ticks, share in ((1, 0.0), (2, 0.0), (3, 3 * tick_ns / 1e9)):
        waiting = Waiting(tick_ns)
        waiting.slice_ended(0, 0, 0)
        waiting.slice_begins(10**9, ticks * tick_ns, 0)
        assert waiting.server_share == waiting.share == share
    untold = Waiting(None)
    untold.slice_ended(0, 0, 0)
    untold.slice_begins(10**9, 0, 0)
    assert untold.server_share is None


def test_waiting_time_is_what_lies_between_own_slices() -> None:
    waiting = Waiting()
    waiting.slice_begins(0, 0, 0)
    waiting.slice_ended(100, 50, 60)
    assert waiting.server_share is None
    waiting.slice_begins(1100, 60, 90)
    waiting.slice_ended(1200, 120, 150)
    assert waiting.server_share == pytest.approx(0.01)
    assert waiting.share == pytest.approx(0.03)


@pytest.mark.slow
def test_the_order_is_fresh_in_each_round_and_the_same_for_a_seed(
    conditions: Conditions, plain: Contender, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.measure import block as module

    asked: list[tuple[str, ...]] = []
    ask = module._Conversation.ask

    def noting(self, setup, sizes, round_number):
        if round_number > len(asked):
            asked.append(())
        if round_number > 0:
            asked[-1] += (setup.contender.name,)
        return ask(self, setup, sizes, round_number)

    monkeypatch.setattr(module._Conversation, "ask", noting)
    contenders = [msgspec.structs.replace(plain, name=name) for name in "abc"]
    block = Block(
        name="b", experiment="e", load=Load(), contenders=contenders, repeats=1, rounds=5, slice_s=0.001
    )
    orders = []
    for _ in range(2):
        asked.clear()
        measure(block, 1, conditions, lambda _: None)
        orders.append(list(asked))
    assert orders[0] == orders[1]
    assert len(orders[0]) == 5
    assert all(sorted(one) == ["a", "b", "c"] for one in orders[0])
    assert len(set(orders[0])) > 1


def test_nothing_is_left_when_it_is_interrupted(conditions: Conditions, plain: Contender) -> None:
    block = Block(
        name="b", experiment="e", load=Load(), contenders=[plain], repeats=1, rounds=5, slice_s=0.01
    )

    def interrupt(round_number: int) -> None:
        if round_number == 2:
            assert len(_children()) == 2
            raise KeyboardInterrupt

    threads_before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        measure(block, 1, conditions, interrupt)
    assert _children() == set()
    assert threading.active_count() == threads_before
