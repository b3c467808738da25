"""The chapter's completion routines, driven by the generator of Linux: a busy server may never accept."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.linux("drives a server under Wine"), pytest.mark.slow]
ROOT = Path(__file__).parents[2]
LOAD_S = 5
GENERATOR = [sys.executable, "-P", "-m", "loadgen"]


@pytest.mark.parametrize("implementation", ["python", "c"])
@pytest.mark.parametrize("routines_per_wait", [0, 64])
def test_a_new_client_of_a_busy_overlapped_server(wine_python, routines_per_wait, implementation):
    """Without a limit it waits for the end of the load; with one it is served within a second."""
    options = [f"--routines-per-wait={routines_per_wait}", "--accept-poll-ms=10"]
    options += [f"--implementation={implementation}"]
    pipe = subprocess.PIPE
    server = subprocess.Popen(
        [wine_python, "-P", "-m", "servers", "overlapped", *options],
        stdin=pipe,
        stdout=pipe,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"Z:{ROOT}"},
    )
    with server, contextlib.ExitStack() as stack:
        stack.callback(server.kill)
        port = json.loads(server.stdout.readline())["port"]
        generator = subprocess.Popen(
            [*GENERATOR, f"127.0.0.1:{port}", "--connections=100", f"--duration-s={LOAD_S}"],
            stdout=pipe,
            cwd=ROOT,
        )
        stack.callback(generator.wait)
        time.sleep(1.5)  # all are connected, and the load is on
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
        waited_s = time.monotonic() - began
        result = json.loads(generator.communicate()[0])
        assert result["errors"] == {}
        server.stdin.close()
        assert json.loads(server.stdout.read())["errors"] == {}
    assert waited_s > 1 if routines_per_wait == 0 else waited_s < 1
