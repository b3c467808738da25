"""Priority: raised for as long as it is asked for, for all that is started meanwhile, and never by force."""

import os
import subprocess
import sys

import pytest

from bench.host.priority import HIGHEST, Priority, best, raised

pytestmark = pytest.mark.linux("setpriority")
NICE = [sys.executable, "-c", "import os; print(os.getpriority(os.PRIO_PROCESS, 0))"]


def own() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


def of_a_child() -> int:
    return int(subprocess.run(NICE, capture_output=True, text=True, check=True).stdout)


def test_children_have_it_and_it_ends() -> None:
    before = own()
    with raised(Priority.HIGH) as reached:
        assert reached is best()
        assert own() == of_a_child() == (HIGHEST if reached is Priority.HIGH else before)
    assert own() == of_a_child() == before


def test_it_ends_where_something_fails() -> None:
    before = own()
    with pytest.raises(ZeroDivisionError), raised(Priority.HIGH):
        _ = 1 / 0
    assert own() == before


def test_what_is_not_asked_for_stays() -> None:
    before = own()
    with raised(Priority.NORMAL) as reached:
        assert reached is Priority.NORMAL
        assert own() == before


def test_where_it_is_not_permitted_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setpriority", refused)
    assert best() is Priority.NORMAL
    with raised(Priority.HIGH) as reached:
        assert reached is Priority.NORMAL
