"""What a server process says on Windows, and what it calls what goes wrong: number, name, what to do."""

import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from servers.ffi import win32
from servers.libraries.trio import NO_WAY_TO_WAIT

pytestmark = pytest.mark.windows("says it in its own numbers")
COMMAND = [sys.executable, "-P", "-m", "servers"]
WINE = win32.wine_version() is not None


def test_ready_says_where_and_under_what_conditions(server):
    with server("iocp", concurrency=1) as running:
        ready = running.ready
    assert ready["system"] == ("windows-wine" if WINE else "windows")
    assert ready["options"] == {
        "buffer_bytes": 4096,
        "backlog": 4096,
        "processes": 1,
        "listeners": "shared",
        "threads": len(win32.affinity()),  # 0 stands for all, and what it came to is recorded
        "concurrency": 1,
        "accept": "thread",
        "accept_poll_ms": 100,
        "accepts_per_wait": 0,
        "batch": 1,
        "skip_on_success": False,
        "zero_byte_receive": False,
    }


def test_a_backlog_is_what_the_system_makes_of_it(server):
    with server("wsapoll", backlog=5) as few, server("wsapoll", backlog=100_000) as many:
        assert few.ready["options"]["backlog"] == 200
        assert many.ready["options"]["backlog"] == 65535


def test_every_windows_model_is_available(run):
    models = {line["name"]: line for line in map(json.loads, run("--list").stdout.splitlines())}
    windows = {name for name, model in models.items() if "windows" in model["systems"]}
    libraries = {"anyio", "gevent", "tornado", "trio", "twisted"}
    system = {"iocp", "overlapped", "select", "wsapoll", "wsaeventselect", "threads", "selectors"}
    assert windows == system | libraries | {"asyncio_streams", "asyncio_protocol", "asyncio_sockets"}
    absent = {name: models[name]["reason"] for name in windows if not models[name]["available"]}
    if WINE:  # where the libraries are installed
        assert absent.items() <= {"trio": NO_WAY_TO_WAIT}.items()
    else:
        assert absent.keys() <= libraries
        assert all("isn't installed: pip install" in reason for reason in absent.values())
    assert models["epoll"]["reason"] == "epoll belongs to linux: run it there"


def test_these_have_a_twin_in_c(run):
    models = map(json.loads, run("--list").stdout.splitlines())
    twins = {model["name"] for model in models if model["available"] and "c" in model["implementations"]}
    assert twins == {"threads", "select", "wsapoll", "overlapped", "iocp"}


@pytest.mark.parametrize("bytes_of_another", [None, b"of another machine"])
def test_a_native_library_that_is_missing_or_no_library(tmp_path, bytes_of_another):
    unwanted = shutil.ignore_patterns("*.so", "*.dll", "__pycache__")
    shutil.copytree(Path(__file__).parents[2] / "servers", tmp_path / "servers", ignore=unwanted)
    if bytes_of_another:
        (tmp_path / "servers" / "libservers.dll").write_bytes(bytes_of_another)
    done = subprocess.run(
        [*COMMAND, "iocp", "--implementation=c"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (3, "")
    reason = json.loads(done.stdout)["reason"]
    assert reason.startswith("libservers.dll " + ("can't be loaded" if bytes_of_another else "isn't built"))
    assert reason.endswith(": run python build_native.py")


def test_a_model_of_linux(run):
    done = run("epoll")
    assert (done.returncode, done.stderr) == (3, "")
    assert json.loads(done.stdout)["reason"] == "epoll belongs to linux: run it there"


@pytest.mark.parametrize("loop", ["uvloop"])
def test_an_event_loop_of_linux(run, loop):
    done = run("asyncio_protocol", "--loop", loop)
    assert done.returncode == 3
    assert json.loads(done.stdout)["reason"] == "uvloop doesn't run on Windows: use --loop winloop"


def test_a_port_that_is_taken(run):
    with closing(socket.socket()) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("iocp", "--port", str(port))
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    # Windows may call a port that is another's alone either.
    assert "10048 WSAEADDRINUSE" in line or (not WINE and "10013 WSAEACCES" in line)
    assert "choose another with --port" in line


def test_a_reserved_port_is_told_from_a_taken_one():
    """Ranges that Windows reserves can't be made here; the error can."""
    from servers.contract import Options
    from servers.process import why_not_listening

    line = why_not_listening(win32.error(10013), Options(host="127.0.0.1", port=50000))
    assert line.startswith("127.0.0.1 port 50000 is reserved by Windows, or another program's alone")
    assert "(10013 WSAEACCES)" in line
    assert "excludedportrange" in line


def test_an_address_of_another_machine(run):
    done = run("overlapped", "--host", "192.0.2.1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip() == (
        "servers: 192.0.2.1 is no address of this machine (10049 WSAEADDRNOTAVAIL): "
        "choose another with --host, such as 127.0.0.1"
    )


def test_runs_on_the_cpus_asked_for(server):
    cpu = min(win32.affinity())
    with server("iocp", cpus=cpu) as running:
        assert running.ready["options"]["threads"] == 1


def test_winsock_that_does_not_start(tmp_path):
    """Python starts it when it imports its socket module."""
    (tmp_path / "_socket.py").write_text("raise ImportError('WSAStartup failed: network not ready')")
    path = os.pathsep.join([str(tmp_path), str(Path.cwd())])
    done = subprocess.run(
        [*COMMAND, "iocp"],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (3, "")
    reason = json.loads(done.stdout)["reason"]
    assert reason.startswith("WSAStartup failed: network not ready (10091 WSASYSNOTREADY")
    assert "netsh winsock reset" in reason


def test_a_missing_entry_point():
    code = (
        "import sys; from servers.ffi import win32; win32.MISSING['WSAPoll'] = 'ws2_32'\n"
        "from servers.process import main; sys.argv = ['servers', 'wsapoll']; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (3, "")
    reason = json.loads(done.stdout)["reason"]
    assert reason == "ws2_32.dll has no WSAPoll: it takes Windows 10 or newer"
