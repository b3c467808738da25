"""Blocks of real servers and generators, small enough to take a fraction of a second each."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.host.placement import Placement, allowed_cpus, cores, place
from bench.measure.block import Measured, measure
from bench.measure.setup import Conditions
from bench.plan.cells import Block
from bench.plan.contender import Contender
from bench.records.schema import Load

PLAIN = Contender(name="plain", model="iocp" if sys.platform == "win32" else "epoll", implementation="python")

ECHO_SERVER = """
import socket, sys, threading
def echo(connection):
    while data := connection.recv(4096):
        connection.sendall(data)
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("a line that is no event", flush=True)
while True:
    connection, _ = listener.accept()
    threading.Thread(target=echo, args=(connection,), daemon=True).start()
"""


@pytest.fixture
def plain() -> Contender:
    """The plainest contender of this system."""
    return PLAIN


@pytest.fixture
def command(tmp_path: Path) -> Callable[[str], Contender]:
    """A call that makes a contender of Python code; it gets host and port as arguments."""

    def make(code: str = ECHO_SERVER) -> Contender:
        file = tmp_path / "server.py"
        file.write_text(code)
        return Contender(name="mine", command=[sys.executable, str(file), "{host}", "{port}"])

    return make


@pytest.fixture
def conditions(tmp_path: Path) -> Conditions:
    """Logs in a folder of the test, CPUs as a run has them."""
    placed = place(Placement.SPLIT, cores(allowed_cpus()))
    return Conditions(cpus=placed, cpu_count=os.cpu_count() or 1, seed=1, logs=tmp_path)


@pytest.fixture
def measured(conditions: Conditions) -> Callable[..., Measured]:
    """A call that measures contenders in one block of three short rounds."""

    def run(*contenders: Contender, load: Load | None = None, rounds: int = 3) -> Measured:
        block = Block(
            name="b",
            experiment="e",
            load=load or Load(connections=3),
            contenders=list(contenders),
            repeats=1,
            rounds=rounds,
            slice_s=0.01,
        )
        return measure(block, 1, conditions, lambda _: None)

    return run
