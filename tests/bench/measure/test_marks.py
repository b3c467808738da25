"""Each mark just inside and just outside of its limit."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from bench.measure.marks import marks, wine_mark
from bench.records.schema import (
    Client,
    Latency,
    Load,
    LoadResult,
    OpenLoop,
    RequestsPerConnection,
    Samples,
    Slice,
)

BUSY = Samples(server_busy=1.0, foreign_cpu_share=0.0, steal_share=0.0, server_waiting_cpu_share=0.0)


@pytest.fixture
def result() -> Callable[..., LoadResult]:
    """A call that makes a result that earns no mark, but for what it is given."""

    def make(
        *,
        busy: float = 0.5,
        requests_min: int = 1,
        count: int = 1000,
        law: float | None = 1.0,
        censored: float = 0.0,
        **errors: int,
    ) -> LoadResult:
        latency = Latency(count=count, histogram="")
        return LoadResult(
            requests=count, bytes_sent=0, bytes_received=0, duration_s=1.0, rate_per_s=float(count),
            errors=errors, connections_opened=1, connections_open_min=1, longest_silence_ns=0, fairness=1.0,
            requests_per_connection=RequestsPerConnection(min=requests_min, p1=1, p50=5, max=9),
            response_time=latency, connect_time=latency, first_echo_time=latency,
            client=Client(
                cpu_user_s=0.0, cpu_system_s=0.0, cpu_ns_per_request=None, busy=busy, wait="sleep"
            ),
            checks={"littles_law_ratio": law, "censored_share": censored},
        )  # fmt: skip

    return make


def _codes(load: Load, result: LoadResult, **samples: Any) -> set[str]:
    given = Samples(**{**{key: getattr(BUSY, key) for key in BUSY.__struct_fields__}, **samples})
    return {str(mark["code"]) for mark in marks(load, result, given, cpus=2)}


TEN = Load(connections=10)


def test_nothing_wrong_no_mark(result: Callable[..., LoadResult]) -> None:
    assert _codes(TEN, result()) == set()


def test_generator_bound(result: Callable[..., LoadResult]) -> None:
    assert _codes(TEN, result(busy=0.96), server_busy=0.94) == {"generator-bound"}
    assert (
        _codes(TEN, result(busy=0.96), server_busy=0.96) == set()
    )  # both are: the server was the limit, too
    assert _codes(TEN, result(busy=0.94), server_busy=0.94) == set()


def test_wake_bound(result: Callable[..., LoadResult]) -> None:
    idle = result(busy=0.89)
    assert _codes(TEN, idle, server_busy=0.89) == {"wake-bound"}
    assert _codes(TEN, idle, server_busy=0.91) == set()
    assert _codes(TEN, result(busy=0.91), server_busy=0.5) == set()
    assert _codes(Load(connections=9), idle, server_busy=0.5) == set()
    assert _codes(Load(connections=5, depth=2), idle, server_busy=0.5) == {"wake-bound"}
    assert _codes(Load(connections=1), idle) == {"wake-bound"}
    assert _codes(Load(connections=1, wait="spin"), idle) == set()


def test_marks_of_the_result(result: Callable[..., LoadResult]) -> None:
    assert _codes(TEN, result(requests_min=0)) == {"starved"}
    assert _codes(TEN, result(law=0.94)) == _codes(TEN, result(law=1.06)) == {"littles-law"}
    assert _codes(TEN, result(law=1.04)) == _codes(TEN, result(law=None)) == set()
    assert _codes(TEN, result(censored=0.011)) == {"censored"}
    assert _codes(TEN, result(censored=0.009)) == set()
    assert _codes(TEN, result(count=999)) == {"too-few-samples"}
    assert _codes(TEN, result(reset=1)) == {"errors"}


def test_marks_of_the_machine(result: Callable[..., LoadResult]) -> None:
    assert _codes(TEN, result(), foreign_cpu_share=0.06) == {"foreign-load"}
    assert _codes(TEN, result(), foreign_cpu_share=0.04) == set()
    assert _codes(TEN, result(), steal_share=0.02) == {"steal"}
    assert _codes(TEN, result(), server_waiting_cpu_share=0.02) == {"restless"}


def test_what_ran_under_wine_is_marked_whoever_of_the_two_did() -> None:
    mark = [{"code": "windows-wine"}]
    assert wine_mark({"linux", "windows-wine"}) == wine_mark({"windows-wine"}) == mark
    assert wine_mark({"linux"}) == wine_mark({"windows"}) == []


def test_a_mark_has_the_figures_that_show_it(result: Callable[..., LoadResult]) -> None:
    (mark,) = marks(TEN, result(reset=3, closed=1), BUSY, cpus=2)
    assert mark == {"code": "errors", "reset": 3, "closed": 1}


def _offered(made: LoadResult, *, late_ns: int = 0, reached: float = 1.0) -> LoadResult:
    """`made` as an open loop's, with a p99 of 1 ms."""
    loop = OpenLoop(
        rate_per_s=1000.0, arrivals="poisson", due=1000, given_up=0, reached=reached,
        lateness_p50_ns=late_ns, lateness_p99_ns=late_ns, lateness_max_ns=late_ns,
    )  # fmt: skip
    times = msgspec.structs.replace(made.response_time, p99_ns=1_000_000)
    return msgspec.structs.replace(made, open_loop=loop, response_time=times)


OFFERED = Load(connections=10, offered_per_s=1000.0)


def test_late(result: Callable[..., LoadResult]) -> None:
    assert _codes(OFFERED, _offered(result(), late_ns=100_001)) == {"late"}
    assert _codes(OFFERED, _offered(result(), late_ns=99_999)) == set()


def test_rate_not_reached(result: Callable[..., LoadResult]) -> None:
    assert _codes(OFFERED, _offered(result(), reached=0.994)) == {"rate-not-reached"}
    assert _codes(OFFERED, _offered(result(), reached=0.996)) == set()


def test_a_few_requests_are_off_by_those_in_flight_at_the_ends(result: Callable[..., LoadResult]) -> None:
    """Forty were due in two slices, with one in flight as a rule: six more or less happen by chance."""
    one = Slice(
        round=1, requests=20, duration_s=1.0, rate_per_s=20.0, p50_ns=50_000_000, p99_ns=None,
        in_flight_mean=1.0, connections_served=8, cpu_s=0.0, requests_total=20, span_s=1.0,
    )  # fmt: skip

    def few(reached: float, law: float = 1.0) -> set[str]:
        made = _offered(result(count=40, law=law), reached=reached)
        assert made.open_loop is not None
        loop = msgspec.structs.replace(made.open_loop, due=40)
        made = msgspec.structs.replace(made, open_loop=loop, slices=[one, one])
        return _codes(OFFERED, made) - {"too-few-samples"}

    assert few(reached=0.86) == few(reached=1.0, law=1.19) == set()
    assert few(reached=0.84) == {"rate-not-reached"}
    assert few(reached=1.0, law=1.21) == {"littles-law"}


def test_an_open_loop_waits_for_its_schedule(result: Callable[..., LoadResult]) -> None:
    """Neither side is busy at a low rate, and a connection may get none of a few requests."""
    assert _codes(OFFERED, _offered(result(busy=0.1)), server_busy=0.1) == set()
    few = Load(connections=100, offered_per_s=1000.0)
    assert _codes(few, _offered(result(requests_min=0))) == set()
    assert _codes(OFFERED, _offered(result(requests_min=0))) == {"starved"}
