"""A server that stalls in a quarter of its slices: no median sees it; the totals do, and the cell says so."""

import sys
from collections.abc import Callable

import msgspec
import pytest

from bench.analysis import frames
from bench.analysis.ratios import ratios
from bench.measure.block import Measured
from bench.plan.contender import Contender
from bench.records.schema import Load, Record

REPEATS = 4
# A pause of its clients begins a new burst, which is a slice. In every fourth, if it is to stall at all, it
# sleeps through the window, which begins after a ramp of 20 ms.
SERVER = """
import select, socket, sys, time
stalls = STALLS
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
connections, bursts, began, last, stalled = [listener], 0, 0.0, 0.0, 0
while True:
    for one in select.select(connections, [], [])[0]:
        if one is listener:
            connections.append(listener.accept()[0])
            continue
        data = one.recv(4096)
        now = time.perf_counter()
        if now - last > 0.02:
            bursts, began = bursts + 1, now
        if stalls and bursts % 4 == 0 and stalled != bursts and now - began > 0.021:
            stalled = bursts
            time.sleep(0.02)
        last = time.perf_counter()
        if data:
            one.sendall(data)
        else:
            connections.remove(one)
            one.close()
"""


def contender(name: str, *, stalls: bool) -> Contender:
    code = SERVER.replace("STALLS", str(stalls))
    return Contender(name=name, command=[sys.executable, "-c", code, "{host}", "{port}"])


@pytest.mark.linux("whose sleeps are exact to the millisecond")
@pytest.mark.slow
def test_a_stall_in_a_quarter_of_the_slices_is_uneven(measured: Callable[..., Measured]) -> None:
    records: list[Record] = []
    for repeat in range(1, REPEATS + 1):
        stalling, steady = contender("stalling", stalls=True), contender("steady", stalls=False)
        block = measured(stalling, steady, rounds=24, load=Load(connections=4))
        records += [msgspec.structs.replace(one, repeat=repeat) for one in block.records]
    assert {one.status for one in records} == {"measured"}
    table = ratios(frames.cells(records, run="r"), frames.slices(records, run="r"), "steady")
    row = table[(table["contender"] == "stalling") & (table["quantity"] == "rate_per_s")].iloc[0]
    assert row["totals_ratio"] < 0.9
    assert row["ratio"] > row["totals_ratio"] + 0.05
    assert row["uneven"]
