"""`serve`, `load` and `client`: the parts by hand, talking to each other."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

Cli = Callable[..., subprocess.CompletedProcess[str]]
Begin = Callable[..., "subprocess.Popen[str]"]


@pytest.mark.linux("sends SIGINT to a process")
@pytest.mark.parametrize("model", ["epoll", "epoll:c"])
def test_serve_says_where_it_listens_and_what_it_served(begin: Begin, model: str) -> None:
    server = begin("serve", model, "--backlog", "64")
    line = server.stdout.readline()
    host, port = line.split("listens on ")[1].split(";")[0].split(":")
    for _ in range(3):
        with socket.create_connection((host, int(port)), 5) as connection:
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
    server.send_signal(signal.SIGINT)
    rest, complaints = server.communicate(timeout=20)
    assert rest.startswith("3 connections accepted, at most ")
    assert complaints == ""
    assert server.returncode == 0


@pytest.mark.windows("ends children by a job")
def test_a_server_ends_with_the_command_that_started_it(begin: Begin, model: str) -> None:
    server = begin("serve", model)
    address = server.stdout.readline().split("listens on ")[1].split(";")[0]
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), 5) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
    server.kill()
    server.wait(20)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, int(port)), 0.5).close()
        except OSError:
            return
        time.sleep(0.1)
    pytest.fail("the server is still there")


def test_serve_on_a_port_that_is_taken(cli: Cli, served: str, model: str) -> None:
    done = cli("serve", model, "--port", served.rpartition(":")[2])
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert served.rpartition(":")[2] in done.stderr


def test_load_shows_figures_or_json(cli: Cli, served: str) -> None:
    quickly = ["--connections", "3", "--duration", "100ms", "--warmup", "10ms"]
    table = cli("load", served, *quickly)
    assert table.returncode == 0
    for part in ("requests", "3 opened", "response time p50", "response time p99.9", "none"):
        assert part in table.stdout
    result = json.loads(cli("load", served, *quickly, "--json").stdout)
    assert result["connections_opened"] == 3
    assert result["requests"] > 0
    assert result["duration_s"] == pytest.approx(0.1, rel=0.2)


@pytest.mark.slow
@pytest.mark.linux("sends SIGINT to a process")
def test_load_interrupted_shows_what_was_measured(begin: Begin, served: str) -> None:
    load = begin("load", served, "--duration", "1min", "--warmup", "10ms")
    os.set_blocking(load.stdout.fileno(), True)
    with pytest.raises(subprocess.TimeoutExpired):
        load.wait(1.5)
    load.send_signal(signal.SIGINT)
    shown, _ = load.communicate(timeout=20)
    assert load.returncode == 130
    assert "response time p50" in shown


def test_the_client_prints_each_line_once_its_whole_echo_is_back(cli: Cli, served: str) -> None:
    long = "x" * 1_000_000
    done = cli("client", served, stdin=f"hello\n{long}\nhéllo\nq\nnot sent\n")
    assert done.returncode == 0
    assert done.stdout == f"hello\n{long}\nhéllo\n"


@pytest.mark.parametrize("ending", ["Q\nmore\n", ""])
def test_the_client_ends_with_q_or_with_its_input(cli: Cli, served: str, ending: str) -> None:
    done = cli("client", served, stdin="one\n" + ending)
    assert (done.returncode, done.stdout) == (0, "one\n")


def test_a_server_that_goes_away_is_one_line(begin: Begin) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = begin("client", f"127.0.0.1:{listener.getsockname()[1]}")
        connection, _ = listener.accept()
        client.stdin.write("hello\n")
        client.stdin.flush()
        assert connection.recv(5) == b"hello"
        connection.sendall(b"hel")
        connection.close()
        _, complaints = client.communicate(timeout=20)
    assert client.returncode == 1
    assert len(complaints.splitlines()) == 1
    assert "closed the connection" in complaints


@pytest.mark.linux("has sh and true")
def test_output_that_nobody_reads_is_no_error(cli: Cli) -> None:
    command = cli("--help").args[:4]
    done = subprocess.run(
        ["sh", "-c", '"$@" | true', "sh", *command, "suites"], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert sys.executable in command


def test_load_at_a_rate_says_what_was_reached(begin: Begin, cli: Cli, model: str) -> None:
    server = begin("serve", model)
    address = server.stdout.readline().split("listens on ")[1].split(";")[0]
    options = ("--connections", "4", "--idle", "6", "--rate", "200", "--arrivals", "poisson")
    done = cli("load", address, *options, "--duration", "500ms", "--warmup", "100ms")
    assert done.returncode == 0, done.stderr
    assert "200/s, poisson;" in done.stdout
    assert "6 opened, 6 echoed again at the end" in done.stdout
    assert "errors" in done.stdout


@pytest.mark.parametrize(
    "options", [("--rate", "10", "--depth", "2"), ("--close", "reset"), ("--requests-per-connection", "0")]
)
def test_load_that_can_not_be_made(cli: Cli, options: tuple[str, ...]) -> None:
    done = cli("load", "127.0.0.1:1", *options)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) <= 2
