"""Idle crowds: connections that echo once, are silent and watched, and echo once more."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

SHORT = ("--duration-s", "0.4", "--warmup-s", "0.1")
Result = Callable[..., dict[str, Any]]


class Recorder:
    """An echo server that notes the order of connections and how many messages each sent."""

    def __init__(self, *, close_after: dict[int, float] | None = None) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.messages: list[int] = []
        self._close_after = close_after or {}
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        port: int = self.listener.getsockname()[1]
        return port

    def _accept(self) -> None:
        while True:
            try:
                connection = self.listener.accept()[0]
            except OSError:
                return
            self.messages.append(0)
            threading.Thread(
                target=self._echo, args=(len(self.messages) - 1, connection), daemon=True
            ).start()

    def _echo(self, number: int, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            if number in self._close_after:
                connection.settimeout(self._close_after[number])
            try:
                while data := connection.recv(4096):
                    self.messages[number] += 1
                    connection.sendall(data)
            except OSError:
                pass


def test_each_echoes_once_before_and_once_after(result: Result) -> None:
    server = Recorder()
    r = result(server.port, "--connections", "5", "--idle", "60", *SHORT)
    assert r["errors"] == {}
    assert r["idle"] == {"connections": 60, "opened": 60, "open": 60, "echoed_again": 60}
    assert r["connections_opened"] == 5
    of_all = server.messages[1:]  # without the probe
    assert sorted(of_all)[:60] == [2] * 60
    active = [place for place, count in enumerate(of_all) if count > 2]
    assert len(active) == 5
    # At random places: by chance the five come first once in eight million times.
    assert active != [0, 1, 2, 3, 4]
    assert max(active) > 10
    assert r["requests"] <= sum(of_all) - 120


def test_other_seeds_are_other_places(result: Result) -> None:
    places = []
    for seed in ("1", "2"):
        server = Recorder()
        result(server.port, "--connections", "3", "--idle", "40", "--seed", seed, *SHORT)
        places.append([place for place, count in enumerate(server.messages[1:]) if count > 2])
    assert places[0] != places[1]


def test_one_that_the_server_closes_is_an_error(result: Result) -> None:
    """The server is tired of whoever is silent for 0.2 s."""
    server = Recorder(close_after=dict.fromkeys(range(60), 0.2))
    r = result(server.port, "--connections", "1", "--idle", "30", "--duration-s", "0.8", "--warmup-s", "0")
    lost = r["errors"]["closed"]
    assert lost >= 29  # the active one isn't silent
    assert r["idle"]["open"] == r["idle"]["echoed_again"] == 30 - lost


def test_in_slices(slices: Callable[..., Any]) -> None:
    server = Recorder()
    generator = slices(server.port, "--connections", "2", "--idle", "20")
    assert generator.slice(1)["requests"] > 0
    assert generator.slice(2)["connections_served"] == 2
    before = sorted(server.messages[1:])[:20]
    assert before == [1] * 20
    assert generator.end()["idle"]["echoed_again"] == 20


def test_a_server_that_is_gone_does_not_hang_it() -> None:
    server = subprocess.Popen(
        [sys.executable, "-P", "-m", "servers", "threads"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    port = json.loads(server.stdout.readline())["port"]
    generator = subprocess.Popen(
        [
            *(
                sys.executable,
                "-P",
                "-m",
                "loadgen",
                f"127.0.0.1:{port}",
                "--connections",
                "2",
                "--idle",
                "50",
            ),
            *("--duration-s", "20", "--warmup-s", "0", "--progress", "--response-timeout-s", "1"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert generator.stdout is not None
    generator.stdout.readline()
    server.kill()
    server.communicate()
    died = time.monotonic()
    r = json.loads(generator.communicate(timeout=30)[0].splitlines()[-1])
    assert time.monotonic() - died < 5
    assert sum(r["errors"].values()) == 52
    assert r["idle"]["open"] == r["idle"]["echoed_again"] == 0
    assert r["duration_s"] < 10


def test_one_that_no_longer_answers_is_an_error(result: Result) -> None:
    """The server echoes the first message of each alone, but for one connection's."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        favourite: list[int] = []

        def echo(number: int, connection: socket.socket) -> None:
            with connection:
                seen = 0
                while data := connection.recv(4096):
                    seen += 1
                    if seen > 2 and not favourite:
                        favourite.append(number)
                    if seen == 1 or favourite == [number] or not favourite:
                        connection.sendall(data)

        def accept() -> None:
            for number in range(12):
                connection = listener.accept()[0]
                threading.Thread(target=echo, args=(number, connection), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        r = result(
            *(listener.getsockname()[1], "--connections", "1", "--idle", "10", "--response-timeout-s", "0.5"),
            *SHORT,
        )
    assert r["idle"]["echoed_again"] == 0
    assert r["errors"] == {"response_timeout": 10}
