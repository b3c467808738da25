"""What a server process says, and how it ends."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

pytestmark = pytest.mark.linux("its own numbers and limits; test_process_on_windows.py has Windows'")
COMMAND = [sys.executable, "-P", "-m", "servers"]


def test_ready_says_where_and_under_what_conditions(server):
    with server("epoll", buffer_bytes=512, accepts_per_wait=1) as running:
        ready = running.ready
    somaxconn = int(Path("/proc/sys/net/core/somaxconn").read_text())
    assert ready == {
        "event": "ready",
        "model": "epoll",
        "implementation": "python",
        "host": "127.0.0.1",
        "port": ready["port"],
        "pid": running.process.pid,
        "pids": [running.process.pid],
        "options": {
            "buffer_bytes": 512,
            "backlog": min(4096, somaxconn),
            "processes": 1,
            "listeners": "reuseport",
            "threads": 1,
            "accepts_per_wait": 1,
            "trigger": "level",
            "exclusive": False,
        },
        "system": "linux",
        "interpreter": f"CPython {'.'.join(map(str, sys.version_info[:3]))}",
        "gil": True,
        "connections_max": None,
    }
    assert ready["port"] > 0


def test_a_backlog_past_the_systems_limit_is_reported_as_cut(server):
    somaxconn = int(Path("/proc/sys/net/core/somaxconn").read_text())
    with server("epoll", backlog=somaxconn + 1) as running:
        assert running.ready["options"]["backlog"] == somaxconn


def test_listens_at_the_port_asked_for(server):
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    with server("epoll", port=port) as running:
        assert running.ready["port"] == port


def test_ipv6(server, client):
    with server("epoll", host="::1") as running, closing(running.connect()) as connection:
        assert running.ready["host"] == "::1"
        assert client.exchange(connection, b"x") == b"x"


def test_list_has_a_line_for_each_model(run):
    done = run("--list")
    assert (done.returncode, done.stderr) == (0, "")
    models = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert {"threads", "select", "poll", "epoll", "selectors", "asyncio_streams", "asyncio_protocol"} <= set(
        models
    )
    for model in models.values():
        assert model.keys() == {"name", "systems", "implementations", "options", "available", "reason"}
        assert model["implementations"][0] == "python"
        assert model["available"] is (model["reason"] is None)
        for option in model["options"]:
            assert option.keys() == {"name", "type", "default", "choices", "help"}
            assert type(option["default"]).__name__ == option["type"]
            assert option["choices"] is None or option["default"] in option["choices"]
    assert models["epoll"]["implementations"] == ["python", "c"]
    assert models["epoll"]["available"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "MODEL --list is required"),
        (("nosuch",), "invalid choice: 'nosuch'"),
        (("epoll", "--port", "65536"), "65536 is not between 0 and 65535"),
        (("epoll", "--port", "-1"), "-1 is not between 0 and 65535"),
        (("epoll", "--port", "http"), "invalid integer value: 'http'"),
        (("epoll", "--buffer-bytes", "0"), "0 is not between 1 and"),
        (("epoll", "--backlog", "0"), "0 is not between 1 and"),
        (("epoll", "--cpus", "0,9999"), "there is no CPU 9999 here"),
        (("epoll", "--cpus", "all"), "argument --cpus"),
        (("epoll", "--trigger", "both"), "invalid choice: 'both'"),
        (("epoll", "--nosuch"), "unrecognized arguments: --nosuch"),
        (("threads", "--trigger", "edge"), "unrecognized arguments: --trigger edge"),
        (("selectors", "--implementation", "c"), "invalid choice: 'c'"),
        (("asyncio_streams", "--loop", "nosuch"), "invalid choice: 'nosuch'"),
    ],
)
def test_what_it_does_not_understand_is_usage(run, arguments, complaint):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("usage: python -m servers")
    assert complaint in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("model", ["iocp", "overlapped", "wsapoll", "wsaeventselect"])
def test_a_model_of_windows(run, model):
    done = run(model)
    assert (done.returncode, done.stderr) == (3, "")
    assert json.loads(done.stdout)["reason"] == f"{model} belongs to windows: run it there"


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        (("select", "--fd-set=raw"), "--fd-set python"),
        (("asyncio_streams", "--loop=proactor"), "--loop selector"),
        (("asyncio_protocol", "--loop=winloop"), "--loop selector"),
    ],
)
def test_an_option_of_windows(run, arguments, cure):
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (3, "")
    assert cure in json.loads(done.stdout)["reason"]


def test_a_port_that_is_taken(run):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        done = run("epoll", "--port", str(port))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"servers: 127.0.0.1 port {port} is taken: choose another with --port, or leave it out for a free one"
    ]


@pytest.mark.parametrize("host", ["192.0.2.1", "nosuch.invalid"])
def test_an_address_of_another_machine(run, host):
    done = run("epoll", "--host", host)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"servers: {host} is no address of this machine: choose another with --host, such as 127.0.0.1"
    ]


def test_a_privileged_port(needs):
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) < 2:
        pytest.skip("every port is open to everybody here")
    without_privileges = []
    if os.geteuid() == 0:
        needs("setpriv", shutil.which("setpriv") is not None, "apt-get install util-linux")
        without_privileges = ["setpriv", "--bounding-set=-net_bind_service"]
    command = [*without_privileges, *COMMAND, "epoll", "--port=1"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("servers: 127.0.0.1 port 1 needs privileges: choose a port from 1024 up")


@pytest.fixture
def without_library(tmp_path):
    """An environment in which `servers` is a copy that has no native library; and that copy."""
    copy = tmp_path / "servers"
    unwanted = shutil.ignore_patterns("*.so", "*.dll", "__pycache__")
    shutil.copytree(Path(__file__).parents[2] / "servers", copy, ignore=unwanted)
    return {**os.environ, "PYTHONPATH": str(tmp_path)}, copy


def test_without_its_native_library_a_server_in_c_says_how_to_build_it(run, without_library):
    environment, _ = without_library
    done = run("epoll", "--implementation", "c", env=environment)
    assert (done.returncode, done.stderr) == (3, "")
    assert json.loads(done.stdout) == {
        "event": "unavailable",
        "reason": "libservers.so isn't built: run python build_native.py",
    }


def test_a_native_library_that_cannot_be_loaded(run, without_library):
    environment, copy = without_library
    (copy / "libservers.so").write_bytes(b"of another machine")
    done = run("epoll", "--implementation", "c", env=environment)
    assert (done.returncode, done.stderr) == (3, "")
    reason = json.loads(done.stdout)["reason"]
    assert reason.startswith("libservers.so can't be loaded")
    assert reason.endswith(": run python build_native.py")


def test_an_event_loop_that_is_not_installed(tmp_path):
    """`-S` leaves out site-packages, where uvloop would be."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-m", "servers", "asyncio_streams", "--loop=uvloop"],
        env={**os.environ, "PYTHONPATH": str(root)},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert json.loads(done.stdout) == {
        "event": "unavailable",
        "reason": "uvloop isn't installed: pip install uvloop, or uv run --extra libraries",
    }


def test_runs_on_the_cpus_asked_for(server):
    cpu = min(os.sched_getaffinity(0))
    with server("epoll", cpus=cpu) as running:
        assert os.sched_getaffinity(running.process.pid) == {cpu}


def test_allows_itself_all_the_descriptors_it_may_have(process):
    few = ["sh", "-c", 'ulimit -Sn 256; exec "$@"', "sh"]
    with process([*few, *COMMAND, "epoll"]) as running:
        limits = Path(f"/proc/{running.process.pid}/limits").read_text()
    soft, hard = next(line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files"))
    assert soft == hard


@pytest.mark.parametrize("implementation", ["python", "c"])
def test_nobody_reads_its_stdout_any_more(implementation):
    """It serves on, and stops in order without a traceback."""
    process = subprocess.Popen(
        [*COMMAND, "epoll", "--implementation", implementation],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stderr is not None
        assert b"ready" in process.stdout.readline()
        process.stdout.close()
        process.stdin.close()
        assert process.wait(timeout=30) == 0
        assert process.stderr.read() == b""


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_starts_leaves_no_traceback(signal_number):
    """Sent as soon as the interpreter runs its first module, which it tells on stderr (-v)."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-v", "-m", "servers", "asyncio_streams"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("import 'servers.arguments'"):
                break
        process.send_signal(signal_number)
        rest = process.stderr.read()
        assert process.wait(timeout=30) in {-signal_number, 0}
    assert "Traceback" not in rest


def test_stops_at_once_when_stdin_is_closed_from_the_start():
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *COMMAND, "epoll"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == ["ready", "stopped"]
