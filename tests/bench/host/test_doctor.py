"""What is said about this machine, and about one that is too small."""

import os
import subprocess
import sys
import time

import msgspec
import pytest

from bench.errors import Exit, UserError
from bench.host import cpu_times, limits
from bench.host.doctor import findings
from bench.host.environment import environment, system, versions


def test_every_finding_that_is_not_good_has_a_cause_and_a_next_step() -> None:
    found = findings(connections=10**6)
    by_name = {one.check: one for one in found}
    of_system = {"linux": {"steal"}, "windows": {"ports"}, "windows-wine": {"ports", "system"}}[system()]
    assert by_name.keys() >= {"native library", "CPUs", "descriptors", "load"} | of_system
    for one in found:
        assert one.fact
        assert one.good or (one.cause and one.next_step)


@pytest.mark.slow
def test_a_busy_process_is_seen_and_named() -> None:
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        (load,) = (one for one in findings(connections=1) if one.check == "load")
    finally:
        burner.kill()
        burner.wait()
    assert not load.good
    if system() != "windows-wine":  # where a process is told its own CPU time for any other's
        assert str(burner.pid) in load.cause


@pytest.mark.windows("Wine")
def test_wine_is_said_to_rank_nothing() -> None:
    found = [one for one in findings(connections=1) if one.check == "system"]
    assert [one.good for one in found] == ([False] if system() == "windows-wine" else [])
    assert all("ranks nothing" in one.fact for one in found)


@pytest.mark.linux("Windows has no limit of descriptors")
def test_connections_that_do_not_fit_are_refused_with_the_number_that_would() -> None:
    limits.check_connections(900, 1000)
    limits.check_connections(10**6, None)
    with pytest.raises(UserError, match="936 would fit") as raised:
        limits.check_connections(937, 1000)
    assert raised.value.exit_code == Exit.USAGE
    assert "ulimit -Hn 1001" in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 2


def test_the_machine_holds_some_connections() -> None:
    assert limits.connections_at_once() >= 1


def test_cpu_times_grow_with_what_this_process_uses() -> None:
    before = cpu_times.read()
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    spent = cpu_times.read().since(before)
    assert spent.busy_s >= 0.15  # the system counts in ticks of 10 ms
    assert spent.total_s > spent.busy_s - 1e-6  # sums of the same numbers in another order


def test_the_environment_can_be_stored_and_names_neither_user_nor_path() -> None:
    text = msgspec.json.encode([environment(), versions()]).decode()
    assert versions()["python"] in text
    assert os.path.expanduser("~") + "/" not in text  # noqa: PTH111 - as a string
    assert os.getcwd() not in text  # noqa: PTH109 - as a string
