"""Idle crowds: connections that echo once, are silent and watched, and echo once more."""

import socket
import threading
from collections.abc import Callable
from typing import Any

SHORT = ("--duration-s", "0.4", "--warmup-s", "0.1")
Result = Callable[..., dict[str, Any]]


def test_each_echoes_once_before_and_once_after(counting_server: Callable[..., Any], result: Result) -> None:
    server = counting_server()
    r = result(server.port, "--connections", "5", "--idle", "60", *SHORT)
    assert r["errors"] == {}
    assert r["idle"] == {"connections": 60, "opened": 60, "open": 60, "echoed_again": 60}
    assert r["connections_opened"] == 5
    of_all = server.reads[1:]  # without the probe
    assert sorted(of_all)[:60] == [2] * 60
    active = [place for place, count in enumerate(of_all) if count > 2]
    assert len(active) == 5
    # At random places: by chance the five come first once in eight million times.
    assert active != [0, 1, 2, 3, 4]
    assert max(active) > 10
    assert r["requests"] <= sum(of_all) - 120


def test_other_seeds_are_other_places(counting_server: Callable[..., Any], result: Result) -> None:
    places = []
    for seed in ("1", "2"):
        server = counting_server()
        result(server.port, "--connections", "3", "--idle", "40", "--seed", seed, *SHORT)
        places.append([place for place, count in enumerate(server.reads[1:]) if count > 2])
    assert places[0] != places[1]


def test_one_that_the_server_closes_is_an_error(counting_server: Callable[..., Any], result: Result) -> None:
    """The server is tired of whoever is silent for 0.2 s."""
    server = counting_server(closes_after_s=dict.fromkeys(range(60), 0.2))
    r = result(server.port, "--connections", "1", "--idle", "30", "--duration-s", "0.8", "--warmup-s", "0")
    lost = r["errors"]["closed"]
    assert lost >= 29  # the active one isn't silent
    assert r["idle"]["open"] == r["idle"]["echoed_again"] == 30 - lost


def test_in_slices(counting_server: Callable[..., Any], slices: Callable[..., Any]) -> None:
    server = counting_server()
    generator = slices(server.port, "--connections", "2", "--idle", "20")
    assert generator.slice(1)["requests"] > 0
    assert generator.slice(2)["connections_served"] == 2
    before = sorted(server.reads[1:])[:20]
    assert before == [1] * 20
    assert generator.end()["idle"]["echoed_again"] == 20


def test_a_server_that_is_gone_does_not_hang_it(result_after_death: Callable[..., Any]) -> None:
    load = ("--connections", "2", "--idle", "50", "--response-timeout-s", "1")
    r, took_s = result_after_death(*load, "--duration-s", "20", "--warmup-s", "0")
    assert took_s < 5
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
