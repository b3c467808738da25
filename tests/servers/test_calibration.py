"""What a call costs by both ways: the same call, in turns, and a slower binding shows."""

import itertools
import json
import os
import subprocess
import sys

import pytest

from servers import calibration
from servers.calibration import Call, measure


def test_it_says_both_costs_of_each_call_in_one_line():
    done = subprocess.run(
        [sys.executable, "-P", "-m", "servers.calibration"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    (line,) = done.stdout.splitlines()
    said = json.loads(line)
    assert said["event"] == "calibrated"
    cheap, *waiting = said["calls"]
    assert cheap["arguments"] == 0
    assert [call["arguments"] for call in waiting] in ([4], [4, 7], [5])
    for call in said["calls"]:
        assert call["batches"] == calibration.BATCHES
        for way in ("module", "ctypes"):
            assert 0 < call[way]["p25_ns"] <= call[way]["p50_ns"] <= call[way]["p75_ns"]


def test_a_slowed_binding_shows():
    statements = {"by_module": "call()", "by_ctypes": "[call() for _ in range(20)]"}
    found = measure(Call("getpid", 0, **statements, names={"call": os.getpid}))
    assert found["ctypes"]["p50_ns"] > 3 * found["module"]["p50_ns"]


def test_both_ways_take_turns():
    made = []
    names = {"module": lambda: made.append("module"), "binding": lambda: made.append("ctypes")}
    call = Call("none", 0, by_module="module()", by_ctypes="binding()", names=names)
    measure(call, batches=5, batch_s=1e-5)
    turns = [way for way, _ in itertools.groupby(made)]
    assert turns == ["module", "ctypes"] * 6  # to find out how many calls are a batch, then each batch


@pytest.mark.linux("the call of the epoll model")
def test_the_waits_are_the_same_call():
    """Both find nothing ready, and both find the same socket ready."""
    import contextlib
    import socket

    with contextlib.ExitStack() as stack:
        _, *waiting = calibration._on_linux(stack)
        assert [eval(call.statements[1], call.names) for call in waiting] == [0] * len(waiting)
        assert [eval(call.statements[0], call.names) for call in waiting] == [[]] * len(waiting)
        one, other = (stack.enter_context(end) for end in socket.socketpair())
        waiting[0].names["poll"].__self__.register(one)
        other.send(b"x")
        assert [eval(call.statements[1], call.names) for call in waiting] == [1] * len(waiting)
        assert [len(eval(call.statements[0], call.names)) for call in waiting] == [1] * len(waiting)


@pytest.mark.windows("the call of the model iocp")
def test_the_waits_of_a_port_are_the_same_call():
    """Both take a packet that is there, and say so when there is none."""
    import contextlib

    from servers.ffi import win32

    with contextlib.ExitStack() as stack:
        _, waiting = calibration._on_windows(stack)
        names, (by_module, by_ctypes) = waiting.names, waiting.statements
        assert eval(by_module, names) is None
        assert eval(by_ctypes, names) == 0
        for _ in range(2):  # with an address: asyncio's module takes a packet without one for a failure
            win32.check(win32.PostQueuedCompletionStatus(names["port"], 3, 5, names["data"]))
        assert eval(by_module, names)[1:3] == (3, 5)
        assert eval(by_ctypes, names) == 1
        assert [one.value for one in names["room"]][:2] == [3, 5]
